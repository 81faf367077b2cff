# SPDX-License-Identifier: Apache-2.0
"""Reads the journal, field by field: an entry of this service has two hundred, of which four are wanted."""

from collections.abc import Iterator

# Not systemd.journal, whose reader gives whole entries only.
from systemd._reader import _Reader


class Entries:
    """Those that have all of ``matches`` (``NAME=value``)."""

    def __init__(self, *matches: str) -> None:
        self._reader = _Reader()
        for match in matches:
            self._reader.add_match(match)

    def forward(self) -> Iterator["Entry"]:
        """The oldest first."""
        self._reader.seek_head()
        while self._reader._next():
            yield Entry(self._reader)

    def last(self) -> "Entry | None":
        """The newest."""
        self._reader.seek_tail()
        return Entry(self._reader) if self._reader._previous() else None


class Entry:
    """The one that the reader is at."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def raw(self, name: str) -> bytes:
        """Raises KeyError."""
        value: bytes = self._reader._get(name)
        return value

    def text(self, name: str) -> str:
        """Raises KeyError."""
        return self.raw(name).decode(errors="replace")

    def number(self, name: str) -> int:
        """Raises KeyError, ValueError."""
        return int(self.raw(name))

    def received_usec(self) -> int:
        """When journald took it, by CLOCK_MONOTONIC."""
        return int(self._reader._get_monotonic()[0])
