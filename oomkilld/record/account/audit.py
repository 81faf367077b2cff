# SPDX-License-Identifier: Apache-2.0
"""Compares what was seen with the kernel's own count of kills: what is missing is known, whatever the reason."""

import time
from collections.abc import Callable

from oomkilld.host.clock import Clock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.account.gap import Gap, Rest
from oomkilld.record.capture.source import Tally
from oomkilld.record.state.ledger import Books
from oomkilld.schema import BEFORE_FIRST_START, NOT_RUNNING, RING_FULL, STOPPED, UNCONFIRMED
from oomkilld.text import counted

# The kernel counts a kill right before it tells of it; on a machine out of memory much may come in between.
TOLD_AFTER_NS = 10**9
# There is less time for that at the end.
LAST_TOLD_AFTER_NS = 10**8
# While others are killed, what is under way could be taken for missing: at one time, hardly at each of so many.
TIMES = 4


class _Asked(NamedTuple):
    """The kernel's count since the books were begun, what had been seen before it was read, and when that was.

    ``least``: by how many the one was above the other at least, of several times when both were read.
    """

    counted: int
    expected: int
    at_ns: int
    least: int
    times: int = 1


class Audit:
    """``kernel_count`` reads /proc/vmstat's oom_kill, None: not to be had.

    What is not seen at the start was before it.
    """

    def __init__(
        self,
        books: Books,
        tally: Tally,
        kernel_count: Callable[[], int | None],
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self._books = books
        self._tally = tally
        self._kernel_count = kernel_count
        self._clock = clock
        self._warn = warn
        self._surplus = 0  # found by the last comparison
        self.not_seen_here = 0  # by this source, in this run, though the kernel's log has them
        self._before = 0
        self._balanced_ns = 0  # when all that the kernel had counted was known, the last time (monotonic)
        self._gap = Gap()
        self._rest = Rest()
        self._open = False  # something is, or was, to be looked for: see close()
        self._later = 0  # of ``unsent``, what is to be looked for after that
        self._counts_too = books.baseline is not None and kernel_count() is not None
        if not self._counts_too:
            books.commit(books.totals.with_unsent_stopped(books.totals.unsent))
        self._asked: _Asked | None = None
        self._due_ns = 0
        self._ask()
        if self._asked is None:
            # There is no entry that they do not know of, and nothing to be looked for.
            books.commit(books.totals._replace(compared=1, unsent=0))
        # So many at most were before this source was there; others, seen meanwhile, hide them for a while.
        self._before = max(0, self._asked.counted - self._asked.expected - self._lost()) if self._asked else 0

    @property
    def gap(self) -> int:
        """How many were found to be missing and are to be looked for; then see close()."""
        return self._gap.less(self._recalled()).kills

    def to_look_for(self) -> int:
        """With those of the gap the ones that the kernel has counted since: their lines are read, too."""
        return max(self.gap, self._above())

    @property
    def since_ns(self) -> int:
        """None of those to be looked for was before that (monotonic)."""
        return 0 if self._gap.before or self._books.totals.unsent else self._balanced_ns

    @property
    def next_check_ns(self) -> int | None:
        """When to check again (monotonic); None: at the next tick."""
        return None if self._asked is None else self._due_ns

    @property
    def seen_until_ns(self) -> int | None:
        """See Tally."""
        return self._tally.seen_until_ns

    @property
    def seen_here(self) -> int:
        """Kills that this source saw."""
        return self._tally.seen().kills

    def repeats(self) -> int:
        """Kills that are no entry of their own, since the books were begun."""
        totals = self._books.totals
        return totals.earlier_repeats + self._tally.seen().repeats + totals.recalled_repeats

    def recalled(self) -> int:
        """Entries made from the kernel's log since the books were begun."""
        return self._books.totals.recalled

    def missed(self) -> dict[str, int]:
        """Kills of which no record came, by reason, so far as known."""
        totals = self._books.totals
        return {
            RING_FULL: totals.ring_full if self._counts_too else self._lost(),
            STOPPED: totals.stopped,
            NOT_RUNNING: totals.not_running - totals.not_running_first,
            BEFORE_FIRST_START: totals.not_running_first,
            self._tally.not_seen_reason: totals.not_seen - totals.unconfirmed,
            UNCONFIRMED: totals.unconfirmed,
        }

    def check(self) -> None:
        """Compare. What is missing is missing only if it was not seen some time after it was counted, either."""
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
        # What was seen since then may have been counted since then, and hide as many.
        if until_ns is None and asked.least > max(0, missing):
            asked = asked._replace(least=min(asked.least, self._above()), times=asked.times + 1)
            if asked.least > max(0, missing) and asked.times < TIMES:
                self._asked = asked
                self._due_ns = now_ns + TOLD_AFTER_NS
                return
            missing = max(missing, asked.least)
        self._settle(asked, missing)

    def close(self, *, more: bool = False, whole: bool = False) -> None:
        """It was looked into: what has no entry now is missing, unless there is ``more`` to be found.

        ``whole``: in a log of which nothing is lost.
        """
        gap, left = self._gap, self._gap.less(self._recalled())
        self.not_seen_here += gap.since - left.since
        in_vain = left.since > 0 and left.kills == gap.kills
        self._rest.looked(self._clock.monotonic_ns(), in_vain=in_vain)
        self._open = more and left.kills > 0
        self._gap = left if self._open else Gap()
        still = self._gap
        before = left.before - still.before
        unsent = min(before, self._books.totals.unsent)
        totals = self._books.totals.with_unsent_stopped(unsent)
        # The log loses its oldest lines first.
        first = min(before - unsent, totals.before_first)
        self._books.commit(
            totals._replace(
                unsent=totals.unsent if self._open else min(totals.unsent, self._later),
                not_running=totals.not_running + before - unsent,
                not_running_first=totals.not_running_first + first,
                # Others that were seen meanwhile may hide some: those are looked for at the next tick.
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
        """In the books: what the source counted so far. What it had no room for is asked for at once."""
        kills, repeats, lost = self._tally.seen()
        self._books.commit(self._books.totals._replace(kills=kills, repeats=repeats, lost=lost))
        if self._asked is None and not self._open and self._lost():
            self._ask()

    def look_for(self, absent: int) -> None:
        """So many kills that count as recorded by runs before this one have no entry: they are ``unsent``."""
        if not self._counts_too:
            self._books.commit(self._books.totals.with_unsent_stopped(absent))
            return
        self._before += absent
        if self._open:
            self._later += absent
        elif self._asked is None:
            self._ask()

    def begin_to_end(self) -> None:
        """Read the kernel's count for the last time; after it the source is emptied.

        What is being looked for is left to the next start.
        """
        if self._asked is None and not self._open:
            self._ask()

    def end(self) -> None:
        """Compare for the last time. What is told later still is known to the next start."""
        if self._asked is not None:
            waited_ns = self._clock.monotonic_ns() - self._asked.at_ns
            time.sleep(max(0, LAST_TOLD_AFTER_NS - waited_ns) / 10**9)
            self._settle(self._asked, self._asked.counted - self._expected())
            if self._open and not self._gap.before:
                self.close()  # there is no time to look for them
            # Else there may be entries of them: it is left to the next run, which has the time to look.
        self.keep()

    def _ask(self) -> None:
        if not self._counts_too:
            return
        now_ns = self._clock.monotonic_ns()
        expected, lost = self._expected(), self._lost()
        if not (above := self._above()):
            self._surplus = self._before = 0
            totals = self._books.totals
            self._balanced_ns = now_ns
            self._books.commit(totals._replace(lost_looked_for=totals.lost_looked_for + lost, before_first=0))
            return
        self._asked = _Asked(expected + above, expected, now_ns, above)
        self._due_ns = now_ns + TOLD_AFTER_NS

    def _above(self) -> int:
        """By how many the kernel's count is above what is known of; 0 where it tells none."""
        expected = self._expected()
        count, baseline = self._kernel_count(), self._books.baseline
        return 0 if count is None or baseline is None else count - baseline - expected

    def _expected(self) -> int:
        """What the kernel should have counted since the books were begun, if no more is missing than is known."""
        totals, seen = self._books.totals, self._tally.seen()
        recorded = totals.earlier_kills + seen.kills - totals.earlier_lost - seen.lost + self._recalled()
        return recorded + totals.ring_full + totals.not_running + totals.not_seen - totals.surplus

    def _lost(self) -> int:
        """Kills that were seen, for which there was no room, and that were not looked for."""
        totals = self._books.totals
        return totals.earlier_lost + self._tally.seen().lost - totals.lost_looked_for

    def _recalled(self) -> int:
        """Of the kernel's count."""
        return self._books.totals.recalled + self._books.totals.recalled_repeats

    def _settle(self, asked: _Asked, missing: int) -> None:
        self._asked = None
        if missing > 0:
            before = min(missing, self._before)
            self._before -= before
            lost = min(missing - before, self._lost())
            self._gap = Gap(before, lost, missing - before - lost, self._recalled())
            self._open = True
        # A count that falls for a moment (a CPU goes offline) means nothing.
        surplus, self._surplus = self._surplus, max(0, asked.expected - asked.counted)
        if (confirmed := min(surplus, self._surplus)) > 0:
            totals = self._books.totals
            self._books.commit(totals._replace(surplus=totals.surplus + confirmed))
            self._surplus = 0
            seen = counted(confirmed, "kill was seen", "kills were seen")
            self._warn(f"{seen} that the kernel did not count, ignoring")
