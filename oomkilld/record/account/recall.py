# SPDX-License-Identifier: Apache-2.0
"""Searches the kernel log for kills that have no entry, and sends entries of those it finds.

A separate process searches (lookup/unrecorded.py), because log and journal may take long to read, and much memory.
Kills that are seen are recorded meanwhile. The process first reads the log, then waits until every kill seen by then is
stored, and only then reads the journal. So it mistakes no kill whose entry is still on its way for a missing one.
"""

import marshal
from collections.abc import Callable, Sequence

from oomkilld.host.childprocess import Child
from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import Any, NamedTuple
from oomkilld.record.account.foundkills import FoundKills
from oomkilld.record.deliver.delivery import Delivery
from oomkilld.record.deliver.sink import JournalRefused
from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.inquiry import AGAIN_NS, Looks, Process
from oomkilld.record.lookup.protocol import ALIVE, KILL, LOG_IS_READ
from oomkilld.record.state.ledger import Ledger

# Since the process's last message. Most kills per search: they are in memory until their entries are stored.
DEADLINE_NS = 60 * 10**9
AT_MOST = 512
_RETRY_NS = 250 * 10**6
_BATCH = 64


class Progress(NamedTuple):
    """How far the recording of seen kills has come.

    ``drained_ns``: all kills seen until then (monotonic) are sent; None: the source was never empty. ``position``: all
    records before it are sent. ``stored``: all records before it are stored; None: not known yet for those of earlier
    runs. ``entries``, ``repeats``: totals since the ledger was begun.
    """

    drained_ns: int | None
    position: int
    stored: int | None
    entries: int
    repeats: int


class Means(NamedTuple):
    """``start``, with a number of kills and the earliest time (monotonic): starts the process; raises OSError.

    ``found`` makes the source that takes the kills. ``deliver``, with this source and the kernel's names of
    constraints, makes its delivery.
    """

    start: Callable[[int, int], Process]
    found: Callable[[], FoundKills]
    deliver: Callable[[FoundKills, Sequence[str]], Delivery]


class Recalled(NamedTuple):
    """The search is over, or failed. ``more``: the log has more of these kills, so another search is worthwhile.

    ``whole``: the log has none left, and has lost no line that could report one.
    """

    more: bool
    whole: bool = False


class Recall:
    """One search at a time. ``fileno()`` becomes readable when ``check()`` is needed before ``due_ns``."""

    def __init__(self, means: Means, ledger: Ledger, clock: KernelClock, warn: Callable[[str], None]) -> None:
        self._means = means
        self._ledger = ledger
        self._clock = clock
        self._warn = warn
        self.busy = False
        self._wanted = self._since_ns = self._attempts = 0
        self._again_ns: int | None = None
        self._looker: Child[Process] = Child()
        self._log_read_ns: int | None = None
        self._gone_on = False
        self._then: Progress | None = None  # once every kill seen until the log was read is sent
        self._deadline_ns = self._retry_ns = 0
        self._looks = Looks()  # when to check again whether these are stored
        self._found = means.found()
        self._without_entry = 0
        self._whole = False
        self._delivery: Delivery | None = None

    def fileno(self) -> int:
        return self._looker.fileno()

    @property
    def due_ns(self) -> int | None:
        """When to call check() at the latest (monotonic); None: no deadline, wait for ``fileno()`` and the tracker."""
        if self._again_ns is not None:
            return self._again_ns
        if self._looker.now is not None:
            if self._log_read_ns is None or self._gone_on:
                return self._deadline_ns
            return self._looks.due_ns
        if self._delivery is None:
            return None
        return self._retry_ns or None

    def begin(self, kills: int, since_ns: int = 0) -> None:
        """Search for ``kills`` kills, none of which happened before ``since_ns`` (monotonic)."""
        self.busy = True
        self._wanted, self._since_ns, self._attempts = kills, since_ns, 0
        self._try()

    def check(self, progress: Progress) -> Recalled | None:
        """Advance the search. Returns its result when it is over; None: it still runs, or there is none."""
        self._looker.reap()
        if self._again_ns is not None and self._clock.monotonic_ns() >= self._again_ns:
            self._try()
        if self._looker.now is not None:
            self._listen(self._looker.now, progress)
        if not self.busy or self._again_ns is not None or self._looker.now is not None:
            return None
        if self._delivery is not None and not self._give(self._delivery):
            return None
        if self._delivery is not None:
            self._ledger.commit(self._ledger.totals._replace(compared=1))
        self.busy, self._delivery = False, None
        entries = self._found.counts.entries
        more = entries > 0 and len(self._found.kills) < self._without_entry
        return Recalled(more, whole=self._whole and entries == self._without_entry)

    def end(self) -> None:
        self.busy = False
        self._looker.end()

    def _try(self) -> None:
        self._attempts += 1
        self._again_ns = self._log_read_ns = self._then = None
        self._gone_on = self._whole = False
        self._found, self._delivery, self._without_entry = self._means.found(), None, 0
        self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS
        try:
            self._looker.become(self._means.start(self._wanted, self._since_ns))
        except OSError as error:
            self._fail(f"no process could be started: {error.strerror}")

    def _listen(self, looker: Process, progress: Progress) -> None:
        """Take all messages that have arrived."""
        try:
            while self._looker.now is not None:
                self._let_go_on(looker, progress)
                self._take(looker.receive())
        except BlockingIOError:
            due = self._log_read_ns is None or self._gone_on
            if due and self._clock.monotonic_ns() >= self._deadline_ns:
                self._fail(f"no answer within {DEADLINE_NS // 10**9} s")

    def _let_go_on(self, looker: Process, progress: Progress) -> None:
        if self._log_read_ns is None or self._gone_on:
            return
        self._looks.looked(self._clock.monotonic_ns())
        # The log may have the line of a kill that was not drained before the log was read.
        drained = progress.drained_ns is not None and progress.drained_ns >= self._log_read_ns
        if progress.stored is None:
            return
        if self._then is None and drained:
            self._then = progress
        if self._then is not None and progress.stored >= self._then.position:
            looker.go_on()
            self._gone_on = True
            self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS

    def _take(self, message: bytes) -> None:
        if not message:
            self._fail("the process ended early")
        elif message == ALIVE:
            # Reading a long log or journal may take longer than the deadline.
            self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS
        elif message == LOG_IS_READ:
            self._log_read_ns = self._clock.monotonic_ns()
            self._looks = Looks()
        else:
            try:
                self._take_told(*marshal.loads(message))
            except (ValueError, TypeError, EOFError) as error:
                # The process may run a newer version: it loads its program from disk at each start.
                self._fail(f"it sent an unknown message ({error})")

    def _take_told(self, kind: str, values: Sequence[Any], *counts: int) -> None:
        """Take a message of kind KILL or END. Raises ValueError, TypeError: it is neither."""
        if kind == KILL:
            (repeats,) = counts
            self._found.kills.append((KillRecord._make(values), repeats))
            return
        without_entry, known, known_repeats, whole = counts
        self._without_entry, self._whole = without_entry, bool(whole)
        self._add_known(known, known_repeats)
        if self._found.kills:
            self._delivery = self._means.deliver(self._found, values)
        self._looker.drop()

    def _add_known(self, known: int, repeats: int) -> None:
        """Count entries that the journal has and the ledger does not know: their kills are not missing."""
        totals = self._ledger.totals
        if not totals.compared and self._then is not None:
            left = self._wanted - sum(1 + more for _kill, more in self._found.kills)
            kills = max(0, min(known - self._then.entries, left))
            repeats = max(0, min(repeats - self._then.repeats, left - kills)) if kills else 0
            totals = totals._replace(
                recalled=totals.recalled + kills, recalled_repeats=totals.recalled_repeats + repeats
            )
        # If the service is killed right after it sends one of these, the ledger will not know that entry.
        self._ledger.commit(totals._replace(compared=0 if self._found.kills else 1))

    def _fail(self, why: str) -> None:
        self._looker.drop()
        self._found = self._means.found()
        what = f"Failed to search the kernel log for missed kills: {why}"
        if self._attempts <= len(AGAIN_NS):
            self._warn(f"{what}, retrying")
            self._again_ns = self._clock.monotonic_ns() + AGAIN_NS[self._attempts - 1]
        else:
            self._warn(f"{what}, ignoring")

    def _give(self, delivery: Delivery) -> bool:
        """Send a batch of the found kills. Returns whether all entries are stored."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._retry_ns:
            return False
        try:
            more = delivery.drain(_BATCH) or delivery.waiting
        except JournalRefused:
            more = True
        self._retry_ns = now_ns + _RETRY_NS if more else 0
        return self._found.consumer_position == len(self._found.kills)
