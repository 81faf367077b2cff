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
# Slots of 8 bytes: the entry's number and 1 more (0: none), its source, what it is, where it ends, and its id.
_ENTRY = 6
_BYTES = KEPT * _ENTRY * 8
_UNCOUNTED = 1 << 32
_NAME = "sent"


class SentEntry(NamedTuple):
    """``kill_id``: 16 bytes. ``source``: Totals.source of the record, 0: it was found in the kernel's log.

    ``repeats``: of the kernel's count of kills, how many more are this one; None: a process that was spared.
    ``end``: where its record ends in the source. ``counted``: the ledger has it; see uncount().
    """

    kill_id: bytes
    source: int
    repeats: int | None = 0
    end: int = 0
    counted: bool = True


class SentIds:
    """``memory``: the file's. Entries are numbered in the order in which they are sent, since the ledger was begun."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._slots = memoryview(memory).cast("Q")

    def keep(self, number: int, entry: SentEntry) -> None:
        """That entry is about to be sent."""
        at = number % KEPT * _ENTRY
        kind = (0 if entry.repeats is None else entry.repeats + 1) | (0 if entry.counted else _UNCOUNTED)
        self._slots[at + 1 : at + _ENTRY] = array("Q", [entry.source, kind, entry.end, *array("Q", entry.kill_id)])
        self._slots[at] = number + 1

    def was_being_sent(self, number: int) -> bool:
        """Whether the entry with that number, the next one, was about to be sent when the run before ended.

        Of one that was found in the kernel's log nothing else will show that it is not counted.
        """
        at = number % KEPT * _ENTRY
        if self._slots[at] != number + 1:
            return False
        if not self._slots[at + 1]:
            self._slots[at + 2] |= _UNCOUNTED
        return True

    def uncount(self, source: int, end: int) -> None:
        """Of that source, which has gone, the ledger has no entry of a record that ends behind ``end``."""
        for at in range(0, KEPT * _ENTRY, _ENTRY):
            if self._slots[at] and self._slots[at + 1] == source and self._slots[at + 3] > end:
                self._slots[at + 2] |= _UNCOUNTED

    def between(self, first: int, end: int) -> Iterator[SentEntry]:
        """Of the entries from ``first`` to before ``end`` those that are kept."""
        for number in range(max(first, end - KEPT), end):
            at = number % KEPT * _ENTRY
            if self._slots[at] == number + 1:
                source, kind, end = self._slots[at + 1 : at + 4]
                repeats = kind & ~_UNCOUNTED
                kill_id = self._slots[at + 4 : at + _ENTRY].tobytes()
                yield SentEntry(kill_id, source, repeats - 1 if repeats else None, end, not kind & _UNCOUNTED)


def open_sent_ids(directory: Directory) -> SentIds:
    """Those of the run before, and of this one. The lock must be held. Raises OSError."""
    return SentIds(open_kept(directory, _NAME, _BYTES))


def sent_ids_in_memory() -> SentIds:
    """New ones, which end with this process."""
    return SentIds(mmap.mmap(-1, _BYTES))
