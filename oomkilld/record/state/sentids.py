# SPDX-License-Identifier: Apache-2.0
"""The ids of the entries sent last, in /run/oomkilld/sent: they outlive the service."""

import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.state.statefile import open_kept
from oomkilld.service.notefile import Directory

# Far more than journald receives before the first of them counts as stored.
KEPT = 2048
# Slots of 8 bytes: the entry's number and 1 more (0: none), its source, what it is, where it ends, and its id.
_ENTRY = 6
_BYTES = KEPT * _ENTRY * 8
_NAME = "sent"


class SentEntry(NamedTuple):
    """``kill_id``: 16 bytes. ``source``: Totals.source of the record; 0: it was found in the kernel log.

    ``repeats``: of the kernel's count of kills, how many more are this one; None: a process that was spared.
    ``end``: where its record ends in the source.
    """

    kill_id: bytes
    source: int
    repeats: int | None = 0
    end: int = 0


class Kinds(NamedTuple):
    """Entries of kills, of processes that were spared, and of kills found in the log with the repeats of these."""

    kills: int
    spared: int
    logged: int
    repeats: int

    @classmethod
    def of(cls, entries: Sequence[SentEntry]) -> "Kinds":
        logged = [entry for entry in entries if not entry.source]
        spared = sum(entry.repeats is None for entry in entries)
        repeats = sum(entry.repeats or 0 for entry in logged)
        return cls(len(entries) - len(logged) - spared, spared, len(logged), repeats)


def each_once(entries: Iterable[SentEntry]) -> list[SentEntry]:
    """Of an entry that was sent twice the last one."""
    return list({entry.kill_id: entry for entry in entries}.values())


class SentIds:
    """``memory``: the file, mapped. Entries are numbered from 0 in the order of sending, since the ledger was begun."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._slots = memoryview(memory).cast("Q")

    def keep(self, number: int, entry: SentEntry) -> None:
        """Save an entry before it is sent, in place of the one KEPT numbers before."""
        at = number % KEPT * _ENTRY
        kind = 0 if entry.repeats is None else entry.repeats + 1
        self._slots[at + 1 : at + _ENTRY] = array("Q", [entry.source, kind, entry.end, *array("Q", entry.kill_id)])
        self._slots[at] = number + 1

    def between(self, first: int, end: int) -> Iterator[SentEntry]:
        """The saved entries with numbers from ``first`` to below ``end``; overwritten ones are left out."""
        for number in range(max(first, end - KEPT), end):
            at = number % KEPT * _ENTRY
            if self._slots[at] == number + 1:
                source, kind, end = self._slots[at + 1 : at + 4]
                kill_id = self._slots[at + 4 : at + _ENTRY].tobytes()
                yield SentEntry(kill_id, source, kind - 1 if kind else None, end)


def open_sent_ids(directory: Directory) -> SentIds:
    """Open the file, with the previous runs' ids. The lock must be held. Raises OSError."""
    return SentIds(open_kept(directory, _NAME, _BYTES))


def sent_ids_in_memory() -> SentIds:
    """An empty table that ends with this process."""
    return SentIds(mmap.mmap(-1, _BYTES))
