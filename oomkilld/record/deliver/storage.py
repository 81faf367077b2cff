# SPDX-License-Identifier: Apache-2.0
"""Notices that journald stores nothing, as with Storage=none: it reads entries, but its files do not change.

journald does not report this, and its configuration files may have changed since it read them. After each write,
journald sets the file's length and so its modification time (journal_file_post_change()).
"""

import os
from collections.abc import Callable
from contextlib import suppress

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import Incarnation, Sink

# Where journald stores, with Storage=volatile and persistent. Entries sent by root go to system.journal.
_DIRECTORIES = ("run/log/journal", "var/log/journal")
_FILE = "system.journal"
_MACHINE_ID = "etc/machine-id"
TROUBLE = "journald stores nothing"

_Files = tuple[tuple[int, int] | None, ...]


class Files(NamedTuple):
    """The journal's files of this machine below ``root``."""

    root: str = "/"

    def state(self) -> _Files:
        """Inode and modification time of each file, None for a missing one: changes with every stored entry."""
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


class Storage:
    """``before``: the files' state before the first entry was sent. Call ``look()`` every few seconds."""

    def __init__(self, sink: Sink, files: Files, before: _Files, warn: Callable[[str], None]) -> None:
        self._sink = sink
        self._files = files
        self._before = before
        self._warn = warn
        self._incarnation: Incarnation = sink.incarnation()
        self._mark: int | None = None  # the sink's, after an entry was sent since the last change; None: none was yet
        self._read = False  # whether journald had read up to the mark at the previous look
        self._entries = 0  # entries sent before the last change
        self.trouble = ""

    def look(self) -> None:
        """Compare the files. An entry that was read by the previous look is stored by this one, or never."""
        incarnation, now = self._sink.incarnation(), self._files.state()
        if incarnation != self._incarnation or now != self._before:
            self._incarnation, self._before, self._mark, self._read = incarnation, now, None, False
            self._entries = self._sink.entries
            self.trouble = ""
            return
        if self._read and not self.trouble and now:
            self.trouble = TROUBLE
            self._warn(f"{TROUBLE}, so kills get no entry; see Storage= and MaxLevelStore= in journald.conf")
        if self._mark is None and self._sink.entries > self._entries:
            self._mark = self._sink.mark()
        self._read = self._mark is not None and self._sink.has_read(self._mark)
