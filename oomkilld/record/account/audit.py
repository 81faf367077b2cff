# SPDX-License-Identifier: Apache-2.0
"""Compares the kills that were seen with the kernel's own count, and so detects every missing kill.

The kills that the kernel counted and nobody saw are the gap. The loop lets Recall (recall.py) search the kernel log
for them. Then it calls count_missing(), and the kills that still have no entry count as missing, by reason.
"""

import time
from collections.abc import Callable

from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.account.gap import Gap, Rest
from oomkilld.record.capture.source import Tally
from oomkilld.record.state.ledger import Ledger
from oomkilld.schema import BEFORE_FIRST_START, NOT_RUNNING, RING_FULL, STOPPED, UNCONFIRMED
from oomkilld.text import counted

# The kernel counts a kill right before it reports it. On a machine out of memory, much may happen in between.
TOLD_AFTER_NS = 10**9
# The wait at the end of the service.
LAST_TOLD_AFTER_NS = 10**8
# During other kills, one comparison may take a kill that is only late for a missing one; this many in a row hardly do.
TIMES = 4


class _Asked(NamedTuple):
    """A comparison under way: the kernel's count since the ledger was begun, and the expected count, read at ``at_ns``.

    ``least``: the smallest difference of the two among ``times`` readings.
    """

    counted: int
    expected: int
    at_ns: int
    least: int
    times: int = 1


class Audit:
    """``kernel_count`` reads oom_kill of /proc/vmstat; None: this kernel has no such count.

    Kills missing at the first comparison happened before the source was there.
    """

    def __init__(
        self,
        ledger: Ledger,
        tally: Tally,
        kernel_count: Callable[[], int | None],
        clock: KernelClock,
        warn: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._tally = tally
        self._kernel_count = kernel_count
        self._clock = clock
        self._warn = warn
        self._surplus = 0  # found by the last comparison
        self.not_seen_here = 0  # kills that this source did not see in this run, but that the kernel log has
        self._before = 0  # upper limit of missing kills from before this source that are not in the gap yet
        self._balanced_ns = 0  # when the kernel's count and the expected one were last equal (monotonic)
        self._gap = Gap()
        self._rest = Rest()
        self._open = False  # the gap is being searched for, until count_missing()
        self._later = 0  # kills to search for after the present search
        self._counts_too = ledger.baseline is not None and kernel_count() is not None
        if not self._counts_too:
            ledger.commit(ledger.totals.with_unsent_stopped(ledger.totals.unsent))
        self._asked: _Asked | None = None
        self._due_ns = 0
        self._ask()
        if self._asked is None:
            # The counts balance, so the ledger knows every entry, and there is nothing to search for.
            ledger.commit(ledger.totals._replace(compared=1, unsent=0))
        # At most this many happened before this source was there. Kills seen meanwhile may hide some for a while.
        self._before = max(0, self._asked.counted - self._asked.expected - self._lost()) if self._asked else 0

    @property
    def gap(self) -> int:
        """Number of missing kills to search for; call count_missing() after the search."""
        return self._gap.less(self._recalled()).kills

    def to_look_for(self) -> int:
        """The gap, or more if the kernel has counted more kills since: their lines are in the log, too."""
        return max(self.gap, self._above())

    @property
    def since_ns(self) -> int:
        """The earliest time at which the kills to search for can have happened (monotonic)."""
        return 0 if self._gap.before or self._ledger.totals.unsent else self._balanced_ns

    @property
    def due_ns(self) -> int | None:
        """When to check again (monotonic); None: at the next tick."""
        return None if self._asked is None else self._due_ns

    @property
    def seen_until_ns(self) -> int | None:
        return self._tally.seen_until_ns

    @property
    def seen_here(self) -> int:
        return self._tally.seen().kills

    def repeats(self) -> int:
        """Number of repeats, which have no entry of their own, since the ledger was begun."""
        totals = self._ledger.totals
        return totals.earlier_repeats + self._tally.seen().repeats + totals.recalled_repeats

    def recalled(self) -> int:
        return self._ledger.totals.recalled

    def missed(self) -> dict[str, int]:
        """Numbers of kills without an entry that are known so far, by reason; without rejected records."""
        totals = self._ledger.totals
        return {
            RING_FULL: totals.ring_full if self._counts_too else self._lost(),
            STOPPED: totals.stopped,
            NOT_RUNNING: totals.not_running - totals.not_running_first,
            BEFORE_FIRST_START: totals.not_running_first,
            self._tally.not_seen_reason: totals.not_seen - totals.unconfirmed,
            UNCONFIRMED: totals.unconfirmed,
        }

    def check(self) -> None:
        """Compare the counts. A kill is missing only if it is still not seen TOLD_AFTER_NS after it was counted."""
        if self._open:
            return
        now_ns = self._clock.monotonic_ns()
        if self._asked is None:
            if now_ns >= self._rest.until_ns or self._above() <= 0:
                self._ask()
            return
        until_ns = self._tally.seen_until_ns
        if (now_ns if until_ns is None else until_ns) < self._asked.at_ns + TOLD_AFTER_NS:
            self._due_ns = now_ns + TOLD_AFTER_NS
            return
        asked = self._asked
        missing = asked.counted - self._expected()
        # Kills seen since the count was read may also have been counted since, and hide as many missing ones.
        if until_ns is None and asked.least > max(0, missing):
            asked = asked._replace(least=min(asked.least, self._above()), times=asked.times + 1)
            if asked.least > max(0, missing) and asked.times < TIMES:
                self._asked = asked
                self._due_ns = now_ns + TOLD_AFTER_NS
                return
            missing = max(missing, asked.least)
        self._divide_gap(asked, missing)

    def count_missing(self, *, more: bool = False, whole: bool = False) -> None:
        """The search is over: kills of the gap that still have no entry are missing.

        ``more``: the log has more of them, so search again first. ``whole``: the log has lost no line since then.
        """
        gap, left = self._gap, self._gap.less(self._recalled())
        self.not_seen_here += gap.since - left.since
        in_vain = left.since > 0 and left.kills == gap.kills
        self._rest.looked(self._clock.monotonic_ns(), in_vain=in_vain)
        self._open = more and left.kills > 0
        self._gap = left if self._open else Gap()
        still = self._gap
        before = left.before - still.before
        unsent = min(before, self._ledger.totals.unsent)
        totals = self._ledger.totals.with_unsent_stopped(unsent)
        # The log loses its oldest lines first, so kills that it lacks are rather from before the first start.
        first = min(before - unsent, totals.before_first)
        self._ledger.commit(
            totals._replace(
                unsent=totals.unsent if self._open else min(totals.unsent, self._later),
                not_running=totals.not_running + before - unsent,
                not_running_first=totals.not_running_first + first,
                # Kills seen meanwhile may hide some: the comparison at the next tick finds those.
                before_first=totals.before_first if self._open else min(totals.before_first, self._before),
                ring_full=totals.ring_full + left.lost - still.lost,
                lost_looked_for=totals.lost_looked_for + gap.lost - still.lost,
                not_seen=totals.not_seen + left.since - still.since,
                unconfirmed=totals.unconfirmed + (left.since - still.since if whole else 0),
            )
        )
        if self._later and not self._open:
            self._later = 0
            self._ask()

    def keep(self) -> None:
        """Save the source's counters to the ledger. Start a comparison at once if it lost a kill."""
        kills, repeats, lost = self._tally.seen()
        self._ledger.commit(self._ledger.totals._replace(kills=kills, repeats=repeats, lost=lost))
        if self._asked is None and not self._open and self._lost():
            self._ask()

    def look_for(self, absent: int) -> None:
        """``absent`` kills of earlier runs have no entry, though the ledger counted them: search for them, too."""
        if not self._counts_too:
            self._ledger.commit(self._ledger.totals.with_unsent_stopped(absent))
            return
        self._before += absent
        if self._open:
            self._later += absent
        elif self._asked is None:
            self._ask()

    def begin_to_end(self) -> None:
        """Read the kernel's count for the last time, before the source is drained.

        During a search it does nothing: the next run searches again.
        """
        if self._asked is None and not self._open:
            self._ask()

    def end(self) -> None:
        """Compare for the last time. The next run notices kills that are reported even later."""
        if self._asked is not None:
            waited_ns = self._clock.monotonic_ns() - self._asked.at_ns
            time.sleep(max(0, LAST_TOLD_AFTER_NS - waited_ns) / 10**9)
            self._divide_gap(self._asked, self._asked.counted - self._expected())
            if self._open and not self._gap.before:
                self.count_missing()  # there is no time for a search
            # Otherwise some may have entries: the next run has the time for the search.
        self.keep()

    def _ask(self) -> None:
        if not self._counts_too:
            return
        now_ns = self._clock.monotonic_ns()
        expected, lost = self._expected(), self._lost()
        if not (above := self._above()):
            self._surplus = self._before = 0
            totals = self._ledger.totals
            self._balanced_ns = now_ns
            self._ledger.commit(totals._replace(lost_looked_for=totals.lost_looked_for + lost, before_first=0))
            return
        self._asked = _Asked(expected + above, expected, now_ns, above)
        self._due_ns = now_ns + TOLD_AFTER_NS

    def _above(self) -> int:
        """The kernel's count less the expected one; 0 if the kernel has no such count."""
        expected = self._expected()
        count, baseline = self._kernel_count(), self._ledger.baseline
        return 0 if count is None or baseline is None else count - baseline - expected

    def _expected(self) -> int:
        """What the kernel should have counted since the ledger was begun, if nothing else is missing."""
        totals, seen = self._ledger.totals, self._tally.seen()
        recorded = totals.earlier_kills + seen.kills - totals.earlier_lost - seen.lost + self._recalled()
        return recorded + totals.ring_full + totals.not_running + totals.not_seen - totals.surplus

    def _lost(self) -> int:
        """Kills that a source saw and had no room for, and that were not searched for yet."""
        totals = self._ledger.totals
        return totals.earlier_lost + self._tally.seen().lost - totals.lost_looked_for

    def _recalled(self) -> int:
        return self._ledger.totals.recalled + self._ledger.totals.recalled_repeats

    def _divide_gap(self, asked: _Asked, missing: int) -> None:
        self._asked = None
        if missing > 0:
            before = min(missing, self._before)
            self._before -= before
            lost = min(missing - before, self._lost())
            self._gap = Gap(before, lost, missing - before - lost, self._recalled())
            self._open = True
        # Only a surplus in two comparisons counts: the kernel's count falls for a moment when a CPU goes offline.
        surplus, self._surplus = self._surplus, max(0, asked.expected - asked.counted)
        if (confirmed := min(surplus, self._surplus)) > 0:
            totals = self._ledger.totals
            self._ledger.commit(totals._replace(surplus=totals.surplus + confirmed))
            self._surplus = 0
            more = counted(confirmed, "more kill", "more kills")
            self._warn(
                f"the service saw {more} than the kernel counted (oom_kill in /proc/vmstat), keeping all entries"
            )
