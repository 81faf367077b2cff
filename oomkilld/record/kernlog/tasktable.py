# SPDX-License-Identifier: Apache-2.0
"""The task list of a report, dump_tasks() in mm/oom_kill.c: the processes that the kernel chose from.

    [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name

Each process has one row, with the id of the thread that has its memory. Later kernels (6.9) have more columns.
"""

import heapq
from array import array
from collections.abc import Mapping, Sequence

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import Candidate
from oomkilld.recordlayout import EXEMPT, MOST_CANDIDATES

# Processes kept of one report; they take 655 kB.
MAX_ROWS = 16384
_FEW = (b"uid", b"tgid", b"total_vm", b"rss", b"pgtables_bytes", b"swapents", b"oom_score_adj")
_MORE = (*_FEW[:4], b"rss_anon", b"rss_file", b"rss_shmem", *_FEW[4:])
_KEPT = 5  # numbers kept per row
_DIGITS = 19  # more than any number in the list has


class Task(NamedTuple):
    """A process; swap in pages."""

    pid: int
    swap_pages: int


class Candidates(NamedTuple):
    """All processes of the list; see the members of KillRecord with these names."""

    number: int
    exempt: int
    pages: int
    largest: tuple[Candidate, ...]  # in descending order


class TaskTable:
    """Needs each line of a report."""

    def __init__(self, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._columns: Sequence[bytes] | None = None
        self._rows = array("q")  # per row: thread, process, user, hash of the name, swap
        self._number = self._exempt = self._pages = 0
        self._largest: list[tuple[int, int, Candidate]] = []  # a heap: pages, and earlier rows before later ones
        self._is_whole = False

    def take(self, text: bytes) -> None:
        """Read a line; one that is no row changes nothing."""
        first, bracket, rest = text.partition(b"]")
        first = first.removeprefix(b"[").strip()
        if not bracket or not text.startswith(b"["):
            return
        if first == b"pid":
            self._is_whole = self._columns is None and not self._rows and {*_FEW} <= {*_columns(rest.split())}
            self._columns = _columns(rest.split())
        elif first.isdigit():
            self._add(int(first), rest, _likely_columns(rest) if self._columns is None else self._columns)

    def _add(self, tid: int, rest: bytes, columns: Sequence[bytes]) -> None:
        # One space follows the last number. Then comes the name, which may itself begin with spaces.
        *words, last = rest.split(None, max(0, len(columns) - 1)) or [b""]
        number, _space, name = last.partition(b" ")
        numbers = [*words, number]
        if len(numbers) != len(columns) or not all(map(_is_number, numbers)):
            self._is_whole = False
            return
        row = dict(zip(columns, map(int, numbers), strict=True))
        if len(self._rows) < MAX_ROWS * _KEPT:
            self._rows.extend((tid, row[b"tgid"], row[b"uid"], hash(name), row[b"swapents"]))
        if self._is_whole:
            self._count(row, name)

    def _count(self, row: Mapping[bytes, int], name: bytes) -> None:
        """Count a candidate."""
        self._number += 1
        self._exempt += row[b"oom_score_adj"] == EXEMPT
        # As oom_badness() counts them.
        pages = row[b"rss"] + row[b"swapents"] + row[b"pgtables_bytes"] // self._page_bytes
        self._pages += pages
        each = pages, -self._number, (pages, row[b"tgid"], name, row[b"oom_score_adj"])
        if len(self._largest) < MOST_CANDIDATES:
            heapq.heappush(self._largest, each)
        elif each > self._largest[0]:
            heapq.heapreplace(self._largest, each)

    def candidates(self) -> Candidates | None:
        """None: no list was printed, or a part of it is missing."""
        if not self._is_whole:
            return None
        largest = tuple(candidate for _pages, _at, candidate in sorted(self._largest, reverse=True))
        return Candidates(self._number, self._exempt, self._pages, largest)

    def task(self, tid: int, comm: bytes, uid: int | None) -> Task | None:
        """The process of the thread with this id, name and user, if it is listed; ``uid`` None: any user."""
        try:
            at = self._rows[::_KEPT].index(tid) * _KEPT
        except ValueError:
            return None
        _tid, pid, of_uid, name, swap_pages = self._rows[at : at + _KEPT]
        return Task(pid, swap_pages) if name == hash(comm) and uid in (None, of_uid) else None


def _columns(words: Sequence[bytes]) -> Sequence[bytes]:
    """Column names from the header row; empty if they are not the known ones."""
    *columns, last = words or [b""]
    return columns if last == b"name" and {b"uid", b"tgid", b"swapents"} <= set(columns) else ()


def _likely_columns(rest: bytes) -> Sequence[bytes]:
    """The columns by the count of numbers, if the header row is missing. Empty if the name may begin with a number."""
    words = rest.split()
    numbers = next((at for at, word in enumerate(words) if not _is_number(word)), len(words))
    return {len(_FEW): _FEW, len(_MORE): _MORE}.get(numbers, ())


def _is_number(word: bytes) -> bool:
    return word.removeprefix(b"-").isdigit() and len(word) < _DIGITS
