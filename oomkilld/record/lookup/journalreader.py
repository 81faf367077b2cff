# SPDX-License-Identifier: Apache-2.0
"""Reads the journal field by field: an entry of this service has over a hundred fields, and a look-up needs few."""

from collections.abc import Iterable, Iterator

# Not systemd.journal, whose reader returns whole entries only.
from systemd._reader import LOCAL_ONLY, SYSTEM, _Reader


class Entries:
    """Entries of the system journal that have all of ``matches`` (``NAME=value``), and all of one of ``either``."""

    def __init__(self, *matches: str, either: Iterable[Iterable[str]] = ()) -> None:
        # Without the journals of users: they have their own files, which may be older than all others that are left.
        self._reader = _Reader(LOCAL_ONLY | SYSTEM)
        for match in matches:
            self._reader.add_match(match)
        self._reader.add_conjunction()
        for matches_too in either:
            for match in matches_too:
                self._reader.add_match(match)
            self._reader.add_disjunction()

    def forward(self, boot: str = "", since_usec: int = 0) -> Iterator["Entry"]:
        """Oldest first; ``since_usec``: those that journald received since then in that boot (CLOCK_MONOTONIC)."""
        if since_usec > 0:
            self._reader.seek_monotonic(since_usec, boot)
        else:
            self._reader.seek_head()
        while self._reader._next():
            yield Entry(self._reader)

    def backward(self) -> Iterator["Entry"]:
        """Newest first."""
        self._reader.seek_tail()
        while self._reader._previous():
            yield Entry(self._reader)


class Entry:
    """The entry at the reader's position."""

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
        """When journald received it (CLOCK_MONOTONIC)."""
        return int(self._reader._get_monotonic()[0])
