# SPDX-License-Identifier: Apache-2.0
"""Notices that journald stores nothing, as with Storage=none: its files do not change, though it reads what is sent.

It does not tell, and its settings may be others by now than those that it has read. Whenever it
has stored something, it sets the length of the file, and by that its time of change (journal_file_post_change()).
"""

import os
from collections.abc import Callable
from contextlib import suppress

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.deliver.sink import Incarnation, Sink

# Where it stores, with Storage=volatile and persistent. What is root's is in the first of its files.
_DIRECTORIES = ("run/log/journal", "var/log/journal")
_FILE = "system.journal"
_MACHINE_ID = "etc/machine-id"
TROUBLE = "journald stores nothing"

_Files = tuple[tuple[int, int] | None, ...]


class Files(NamedTuple):
    """The journal's files of this machine below ``root``."""

    root: str = "/"

    def state(self) -> _Files:
        """Of each another one once something was stored in it."""
        try:
            with open(os.path.join(self.root, _MACHINE_ID)) as file:
                machine = file.read(100).strip()
        except OSError:
            return ()
        return tuple(self._state_of(os.path.join(each, machine, _FILE)) for each in _DIRECTORIES)

    def _state_of(self, path: str) -> tuple[int, int] | None:
        with suppress(OSError, ValueError):
            found = os.stat(os.path.join(self.root, path))
            return found.st_ino, found.st_mtime_ns
        return None


class _Counting(Sink, Protocol):
    """See journal.Journal."""

    @property
    def entries(self) -> int:
        """How many were sent. Of what else is sent nothing is stored."""


class Storage:
    """``before``: the files, before the first entry was sent. To be looked at now and then, seconds apart."""

    def __init__(self, sink: _Counting, files: Files, before: _Files, warn: Callable[[str], None]) -> None:
        self._sink = sink
        self._files = files
        self._before = before
        self._warn = warn
        self._incarnation: Incarnation = sink.incarnation()
        self._mark: int | None = None  # of the first entry that was sent since; None: there was none yet
        self._read = False  # that one
        self._entries = 0  # that were sent by then
        self.trouble = ""

    def look(self) -> None:
        """What was read when one looked before is stored by now, or it never is."""
        incarnation, now = self._sink.incarnation(), self._files.state()
        if incarnation != self._incarnation or now != self._before:
            self._incarnation, self._before, self._mark, self._read = incarnation, now, None, False
            self._entries = self._sink.entries
            self.trouble = ""
            return
        if self._read and not self.trouble and now:
            self.trouble = TROUBLE
            self._warn(
                f"{TROUBLE}: no kill has an entry while that is so; see Storage= and MaxLevelStore= in journald.conf"
            )
        if self._mark is None and self._sink.entries > self._entries:
            self._mark = self._sink.mark()
        self._read = self._mark is not None and self._sink.has_read(self._mark)
