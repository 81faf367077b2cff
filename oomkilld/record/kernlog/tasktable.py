# SPDX-License-Identifier: Apache-2.0
"""The tasks that the kernel lists in a report, dump_tasks() in mm/oom_kill.c: whose thread it was, and its swap.

    [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name

Of each process one row, with the number of the thread that has its memory. Later kernels (6.9) have more columns.
"""

from array import array
from collections.abc import Sequence

from oomkilld.lighttyping import NamedTuple

# So many processes are kept of one report: half a megabyte.
MAX_ROWS = 16384
_FEW = (b"uid", b"tgid", b"total_vm", b"rss", b"pgtables_bytes", b"swapents", b"oom_score_adj")
_MORE = (*_FEW[:4], b"rss_anon", b"rss_file", b"rss_shmem", *_FEW[4:])
_KEPT = 5  # numbers of a row
_DIGITS = 19  # more than any number there has


class Task(NamedTuple):
    """A process; in pages."""

    pid: int
    swap_pages: int


class TaskTable:
    """Must be given each line of a report."""

    def __init__(self) -> None:
        self._columns: Sequence[bytes] | None = None
        self._rows = array("q")  # of each: thread, process, user, hash of the name, swap

    def take(self, text: bytes) -> None:
        """Any other line changes nothing."""
        first, bracket, rest = text.partition(b"]")
        first = first.removeprefix(b"[").strip()
        if not bracket or not text.startswith(b"["):
            return
        if first == b"pid":
            self._columns = _columns(rest.split())
        elif first.isdigit() and len(self._rows) < MAX_ROWS * _KEPT:
            self._add(int(first), rest, _likely_columns(rest) if self._columns is None else self._columns)

    def _add(self, tid: int, rest: bytes, columns: Sequence[bytes]) -> None:
        # Behind the last number there is a space and then the name, which may begin with spaces, too.
        *words, last = rest.split(None, max(0, len(columns) - 1)) or [b""]
        number, _space, name = last.partition(b" ")
        numbers = [*words, number]
        if len(numbers) == len(columns) and all(map(_is_number, numbers)):
            row = dict(zip(columns, map(int, numbers), strict=True))
            self._rows.extend((tid, row[b"tgid"], row[b"uid"], hash(name), row[b"swapents"]))

    def task(self, tid: int, comm: bytes, uid: int | None) -> Task | None:
        """Of the thread with that number, name and user, if it is listed; ``uid`` None: any."""
        try:
            at = self._rows[::_KEPT].index(tid) * _KEPT
        except ValueError:
            return None
        _tid, pid, of_uid, name, swap_pages = self._rows[at : at + _KEPT]
        return Task(pid, swap_pages) if name == hash(comm) and uid in (None, of_uid) else None


def _columns(words: Sequence[bytes]) -> Sequence[bytes]:
    """By the row with their names; none, if it is not known what they are."""
    *columns, last = words or [b""]
    return columns if last == b"name" and {b"uid", b"tgid", b"swapents"} <= set(columns) else ()


def _likely_columns(rest: bytes) -> Sequence[bytes]:
    """Where that row was not seen: by how many numbers there are. None, if the name may have begun with one."""
    words = rest.split()
    numbers = next((at for at, word in enumerate(words) if not _is_number(word)), len(words))
    return {len(_FEW): _FEW, len(_MORE): _MORE}.get(numbers, ())


def _is_number(word: bytes) -> bool:
    """One that a row has room for."""
    return word.removeprefix(b"-").isdigit() and len(word) < _DIGITS
