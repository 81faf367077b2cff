# SPDX-License-Identifier: Apache-2.0
"""A place in the journal: moves over the entries that match."""

import errno
import os
import re
from collections.abc import Sequence
from functools import lru_cache

# Not systemd.journal: it converts each field by its name, and imports ten times as much.
from systemd._reader import _Reader

from oomkilld.lighttyping import Any

# As journald accepts them. A receiver and a file may hold others: with control characters, or with the names of what
# the journal itself says about an entry.
_NAME = re.compile(r"(?!__)[A-Z_][A-Z0-9_]{0,63}")


class Reader:
    """``files``: whose entries are read as one journal. Each method may raise OSError."""

    def __init__(self, files: Sequence[str]) -> None:
        self._reader = _Reader(flags=0, files=[*files])

    def require(self, *alternatives: Sequence[tuple[str, str]]) -> None:
        """Find only entries that have all fields of one of the alternatives; given again: also one of those.

        Of several values of one field in an alternative, any is enough.
        """
        self._reader.add_conjunction()
        for fields in alternatives:
            for name, value in fields:
                self._reader.add_match(f"{name}={value}".encode(errors="surrogateescape"))
            self._reader.add_disjunction()

    def forget(self) -> None:
        """Find every entry again."""
        self._reader.flush_matches()

    def to_begin(self) -> None:
        """Go before the first entry."""
        self._reader.seek_head()

    def to_end(self) -> None:
        """Go behind the last entry."""
        self._reader.seek_tail()

    def to_time(self, usec: int) -> None:
        """Go before the first entry that was received then or later."""
        self._reader.seek_realtime(usec)

    def to_cursor(self, cursor: str) -> None:
        """Go before this entry, or where it would be."""
        self._reader.seek_cursor(cursor)

    def next(self) -> bool:
        """Move to the next entry; whether there is one."""
        return bool(self._reader._next())

    def previous(self) -> bool:
        """Move to the entry before; whether there is one."""
        return bool(self._reader._previous())

    def fields(self) -> dict[str, Any]:
        """All of this entry: bytes, or a list of them if a name is there twice; without those that are no names.

        All at once: each call of _get() searches the entry anew, and sixteen of them took three times as long.
        """
        try:
            fields: dict[str, Any] = {n: value for n, value in self._reader._get_all().items() if _is_name(n)}
        except UnicodeDecodeError:  # of a name
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)) from None
        return fields

    def field(self, name: str) -> bytes | None:
        """One field of this entry; None: absent."""
        try:
            return bytes(self._reader._get(name))
        except KeyError:
            return None

    def received_usec(self) -> int:
        """When journald received this entry, by the wall clock."""
        return int(self._reader._get_realtime())

    def cursor(self) -> str:
        """The name of this entry in the whole journal."""
        return str(self._reader._get_cursor())

    def is_at(self, cursor: str) -> bool:
        """Whether this entry has that name."""
        return bool(self._reader.test_cursor(cursor))

    def values(self, name: str) -> list[str]:
        """All values of a field in the journal."""
        return [value.decode(errors="replace") for value in self._reader.query_unique(name)]

    def wait(self, usec: int) -> None:
        """Wait until the files change, or at most that long."""
        self._reader.wait(usec)


@lru_cache(4096)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None
