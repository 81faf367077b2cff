# SPDX-License-Identifier: Apache-2.0
"""Notices that journald stores nothing, as with Storage=none: its files do not change, though it reads what is sent.

It does not tell, and its settings may be others by now than those that it has read. Whenever it
has stored something, it sets the length of the file, and by that its time of change (journal_file_post_change()).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from oomkilld.record.sink import Incarnation, Sink

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


class Storage:
    """``before``: the files, before the first entry was sent. To be looked at now and then, seconds apart."""

    def __init__(self, sink: Sink, files: Files, before: _Files, warn: Callable[[str], None]) -> None:
        self._sink = sink
        self._files = files
        self._before = before
        self._warn = warn
        self._incarnation: Incarnation = sink.incarnation()
        self._mark: int | None = None  # of what was sent since; None: not known yet
        self._sent = -1  # by then
        self.trouble = ""

    def look(self) -> None:
        """What was read when one looked before is stored by now, or it never is."""
        incarnation, now = self._sink.incarnation(), self._files.state()
        if incarnation != self._incarnation or now != self._before:
            self._incarnation, self._before, self._mark = incarnation, now, None
            self._sent = self._sink.mark() or 0
            self.trouble = ""
            return
        if self._mark is not None and self._sink.has_read(self._mark) and not self.trouble and now:
            self.trouble = TROUBLE
            self._warn(
                f"{TROUBLE}: no kill has an entry while that is so; see Storage= and MaxLevelStore= in journald.conf"
            )
        if self._mark is None and (mark := self._sink.mark()) is not None and mark > self._sent:
            self._mark = mark
