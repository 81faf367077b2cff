# SPDX-License-Identifier: Apache-2.0
"""The task list of a report, dump_tasks() in mm/oom_kill.c: finds the process of a thread, and its swap.

    [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name

Each process has one row, with the id of the thread that has its memory. Later kernels (6.9) have more columns.
"""

from array import array
from collections.abc import Sequence

from oomkilld.lighttyping import NamedTuple

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


class TaskTable:
    """Needs each line of a report."""

    def __init__(self) -> None:
        self._columns: Sequence[bytes] | None = None
        self._rows = array("q")  # per row: thread, process, user, hash of the name, swap

    def take(self, text: bytes) -> None:
        """Read a line; one that is no row changes nothing."""
        first, bracket, rest = text.partition(b"]")
        first = first.removeprefix(b"[").strip()
        if not bracket or not text.startswith(b"["):
            return
        if first == b"pid":
            self._columns = _columns(rest.split())
        elif first.isdigit() and len(self._rows) < MAX_ROWS * _KEPT:
            self._add(int(first), rest, _likely_columns(rest) if self._columns is None else self._columns)

    def _add(self, tid: int, rest: bytes, columns: Sequence[bytes]) -> None:
        # One space follows the last number. Then comes the name, which may itself begin with spaces.
        *words, last = rest.split(None, max(0, len(columns) - 1)) or [b""]
        number, _space, name = last.partition(b" ")
        numbers = [*words, number]
        if len(numbers) == len(columns) and all(map(_is_number, numbers)):
            row = dict(zip(columns, map(int, numbers), strict=True))
            self._rows.extend((tid, row[b"tgid"], row[b"uid"], hash(name), row[b"swapents"]))

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
