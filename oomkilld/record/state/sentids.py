# SPDX-License-Identifier: Apache-2.0
"""Ids of the entries sent last, kept where they outlive the service: /run/oomkilld/sent."""

import mmap
from array import array
from collections.abc import Iterator

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.state.statefile import open_kept
from oomkilld.service.notefile import Directory

# Far more than journald is given within the time after which an entry counts as stored.
KEPT = 2048
# Slots of 8 bytes: the entry's number and 1 more (0: none), its source, what it is, and its id.
_ENTRY = 5
_BYTES = KEPT * _ENTRY * 8
_AHEAD = 1 << 32
_NAME = "sent"


class SentEntry(NamedTuple):
    """``kill_id``: 16 bytes. ``source``: Totals.source of the record, 0: it was found in the kernel's log.

    ``repeats``: of the kernel's count of kills, how many more are this one; None: a process that was spared.
    ``ahead``: it is not counted yet, see ahead.py.
    """

    kill_id: bytes
    source: int
    repeats: int | None = 0
    ahead: bool = False


class SentIds:
    """``memory``: the file's. Entries are numbered in the order in which they are sent, since the ledger was begun."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._slots = memoryview(memory).cast("Q")

    def keep(self, number: int, entry: SentEntry) -> None:
        """That entry is about to be sent."""
        at = number % KEPT * _ENTRY
        kind = (0 if entry.repeats is None else entry.repeats + 1) | (_AHEAD if entry.ahead else 0)
        self._slots[at + 1 : at + _ENTRY] = array("Q", [entry.source, kind, *array("Q", entry.kill_id)])
        self._slots[at] = number + 1

    def counted(self, number: int) -> None:
        """That entry, which was sent ahead, is counted now."""
        at = number % KEPT * _ENTRY
        if self._slots[at] == number + 1:
            self._slots[at + 2] &= ~_AHEAD

    def between(self, first: int, end: int) -> Iterator[SentEntry]:
        """Of the entries from ``first`` to before ``end`` those that are kept."""
        for number in range(max(first, end - KEPT), end):
            at = number % KEPT * _ENTRY
            if self._slots[at] == number + 1:
                source, kind = self._slots[at + 1 : at + 3]
                repeats = kind & ~_AHEAD
                kill_id = self._slots[at + 3 : at + _ENTRY].tobytes()
                yield SentEntry(kill_id, source, repeats - 1 if repeats else None, bool(kind & _AHEAD))


def open_sent_ids(directory: Directory) -> SentIds:
    """Those of the run before, and of this one. The lock must be held. Raises OSError."""
    return SentIds(open_kept(directory, _NAME, _BYTES))


def sent_ids_in_memory() -> SentIds:
    """New ones, which end with this process."""
    return SentIds(mmap.mmap(-1, _BYTES))
