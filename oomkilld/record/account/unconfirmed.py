# SPDX-License-Identifier: Apache-2.0
"""Finds out whether the entries that were sent last before their source had gone are stored.

While a source is there, it holds the kill of each entry until that is stored, and what journald lost is sent again;
see delivery.py. When the next run begins with another one, because the service was stopped, or its program is a new
one, or the source is the kernel's log, only the entries' ids are left. Those that the journal has not are
looked for in the kernel's log, as what was not sent at all is: see audit.py.
"""

from collections.abc import Callable

from oomkilld.host.childprocess import Child
from oomkilld.host.clock import MonotonicClock
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.account.inquiry import AGAIN_NS, MORE, CannotTell, Looker, Looks, StoredIds
from oomkilld.record.deliver.sink import STORED_AFTER_NS
from oomkilld.record.state.ledger import Books
from oomkilld.record.state.sentids import SentIds
from oomkilld.text import counted

# To read so many entries of the journal.
DEADLINE_NS = 60 * 10**9
# So many that are older tell whether the journal reaches back: one alone may have been lost, too.
_BEFORE = 16


class Queue(Protocol):
    """See journal.Journal."""

    def mark(self) -> int | None:
        """Stands for all that was sent by now, by this run and before; None: that is not to be told yet."""

    def has_read(self, mark: int) -> bool:
        """Whether nothing of that waits to be read any more."""


class EarlierRuns:
    """Whether the journal has by now what runs before this one have sent: else it never will.

    journald reads in the order in which it was sent to, and then needs some time; or dies, and loses it.
    """

    def __init__(self, queue: Queue, clock: MonotonicClock) -> None:
        self._queue = queue
        self._clock = clock
        self._mark: int | None = None
        self._read_ns: int | None = None
        self._settled = False
        self._looks = Looks()

    @property
    def next_look_ns(self) -> int:
        """When to ask again (monotonic)."""
        return self._looks.next_ns if self._read_ns is None else self._read_ns + STORED_AFTER_NS

    def settled(self) -> bool:
        """Once it is, for good. To be asked again and again: when it was read is when that is seen here."""
        if self._settled:
            return True
        now_ns = self._clock.monotonic_ns()
        if self._read_ns is None:
            if self._mark is None:
                self._mark = self._queue.mark()
            if self._mark is not None and self._queue.has_read(self._mark):
                self._read_ns = now_ns
            else:
                self._looks.looked(now_ns)
        self._settled = self._read_ns is not None and now_ns >= self._read_ns + STORED_AFTER_NS
        return self._settled


class Evidence(NamedTuple):
    """``start`` makes the process that tells the ids of so many of the newest entries, and may raise OSError."""

    sent: SentIds
    start: Callable[[int], Looker]


class Doubt:
    """``fileno()`` becomes readable when ``check()`` is needed before ``deadline_ns``."""

    def __init__(
        self,
        evidence: Evidence,
        earlier_runs: EarlierRuns,
        books: Books,
        clock: MonotonicClock,
        warn: Callable[[str], None],
    ) -> None:
        sent, self._start = evidence
        self._earlier_runs = earlier_runs
        self._books = books
        self._clock = clock
        self._warn = warn
        self._looker: Child[Looker] = Child()
        self._stored = StoredIds()
        self._attempts = 0
        self._again_ns = self._give_up_ns = 0
        # Now, for this run's take their places.
        first, end = books.totals.doubtful_from, books.totals.doubtful_to
        self._ids = list(sent.between(first, end)) if books.totals.doubtful else []
        self._ids_before = list(sent.between(max(0, first - _BEFORE), first))
        if unknown := books.totals.doubtful - len(self._ids):
            are = counted(unknown, "entry of an earlier run is", "entries of an earlier run are")
            warn(f"whether {are} stored cannot be found out, ignoring")
            if not self._ids:
                books.commit(books.totals.without_doubt(0))

    @property
    def settled(self) -> bool:
        """Whether all that earlier runs have sent is in the journal by now, but for what is known to be lost."""
        return self._earlier_runs.settled() and not self._books.totals.doubtful

    def fileno(self) -> int:
        """To wait for the process."""
        return self._looker.fileno()

    @property
    def deadline_ns(self) -> int | None:
        """When to check again (monotonic); None: when something has come, or never."""
        if not self._books.totals.doubtful:
            return None
        if self._looker.now is not None:
            return self._give_up_ns
        return max(self._again_ns, self._earlier_runs.next_look_ns)

    def check(self) -> int:
        """Go on. How many entries turned out not to be stored."""
        self._looker.reap()
        if not self._earlier_runs.settled() or not (doubtful := self._books.totals.doubtful):
            return 0
        try:
            if self._looker.now is None and self._clock.monotonic_ns() >= self._again_ns:
                self._ask()
            if self._looker.now is None:
                return 0
            self._stored.take(self._looker.now)
        except BlockingIOError:
            if self._clock.monotonic_ns() >= self._give_up_ns:
                self._fail(f"it took longer than {DEADLINE_NS // 10**9} s")
            return 0
        except CannotTell as error:
            self._fail(str(error))
            return 0
        self._looker.drop()
        absent = self._absent()
        self._books.commit(self._books.totals.without_doubt(absent))
        if absent:
            are = counted(absent, "entry of an earlier run is", "entries of an earlier run are")
            self._warn(f"{are} not in the journal, of the last {doubtful}")
        return absent

    def _absent(self) -> int:
        """Of a journal that has none of them, nor of those before them, all that is so old may have been removed."""
        absent = sum(kill_id not in self._stored for kill_id in self._ids)
        older = self._ids_before
        reaches_back = absent < len(self._ids) or not older or any(kill_id in self._stored for kill_id in older)
        if not reaches_back:
            last = counted(absent, "entry", "entries")
            self._warn(f"the journal has nothing as old as the last {last} of an earlier run, taken for stored")
        return absent if reaches_back else 0

    def end(self) -> None:
        """What is still in doubt is left to the next run."""
        self._looker.end()

    def _ask(self) -> None:
        totals = self._books.totals
        self._attempts += 1
        self._stored = StoredIds()
        self._give_up_ns = self._clock.monotonic_ns() + DEADLINE_NS
        try:
            newer = totals.sent_entries - totals.doubtful_from + totals.sent_spared
            self._looker.become(self._start(newer + MORE))
        except OSError as error:
            self._fail(f"no process for it can be started: {error.strerror}")

    def _fail(self, why: str) -> None:
        self._looker.drop()
        what = f"whether the last entries of an earlier run are stored cannot be found out: {why}"
        if self._attempts <= len(AGAIN_NS):
            self._warn(f"{what}, trying again")
            self._again_ns = self._clock.monotonic_ns() + AGAIN_NS[self._attempts - 1]
        else:
            self._warn(f"{what}, taking them for stored")
            self._books.commit(self._books.totals.without_doubt(0))
