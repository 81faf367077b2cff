# SPDX-License-Identifier: Apache-2.0
"""The kernel's own count against the kills seen: every missing kill is detected, reported once, across restarts."""

from itertools import pairwise

import pytest

from oomkilld.record.account.audit import LAST_TOLD_AFTER_NS, TIMES, TOLD_AFTER_NS, Audit
from oomkilld.record.account.gap import LAST_REST_NS
from oomkilld.record.account.missed import MissedNotice
from oomkilld.record.capture.source import Seen
from oomkilld.record.deliver.sink import STORED_AFTER_NS
from oomkilld.record.deliver.tracker import FIRST_LOOK_NS, StoreTracker
from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.state.ledger import Totals
from tests.unit.fakes import FakeClock, FakeJournal, FakeLedger, FakeTally
from tests.unit.test_assemble import GROUP, killed_line
from tests.unit.test_log import Lines, source_of

TICK_NS = 12 * 10**9


class Scene:
    """An audit, the kernel's ``count``, and a source whose counters saw() sets."""

    def __init__(self, count: int | None = 100, baseline: int | None = 100, totals: Totals | None = None) -> None:
        self.clock = FakeClock()
        self.tally = FakeTally()
        self.ledger = FakeLedger(baseline=baseline)
        self.ledger.totals = totals or Totals()
        self.count = count
        self.warnings: list[str] = []
        self.audit = self.start()

    def start(self) -> Audit:
        return Audit(self.ledger, self.tally, lambda: self.count, self.clock, self.warnings.append)

    def saw(self, kills: int, repeats: int = 0, lost: int = 0) -> None:
        self.tally.counts = Seen(kills, repeats, lost)

    def turn(self, after_ns: int = 0, *, whole: bool = False) -> dict[str, int]:
        """Check ``after_ns`` later, and end a search that finds nothing. Returns what is missing then, by reason."""
        self.turn_without_closing(after_ns)
        self.audit.count_missing(whole=whole)
        return {reason: count for reason, count in self.audit.missed().items() if count}

    def turn_without_closing(self, after_ns: int) -> None:
        self.clock.now_ns += after_ns
        self.audit.check()

    def settle(self) -> dict[str, int]:
        self.turn(TICK_NS)
        return self.turn(TOLD_AFTER_NS)


def test_equal_counts_need_no_second_comparison() -> None:
    scene = Scene()
    assert scene.turn(TICK_NS) == {}
    scene.count = 103
    scene.saw(3, 1)
    assert scene.turn(TICK_NS) == {}
    assert scene.audit.due_ns is None
    assert scene.audit.repeats() == 1


def test_a_kill_that_is_counted_and_still_not_seen_later_is_missing_once() -> None:
    scene = Scene()
    scene.count = 102
    scene.saw(1)
    assert scene.turn(TICK_NS) == {}
    assert scene.audit.due_ns == scene.clock.now_ns + TOLD_AFTER_NS
    assert scene.turn(TOLD_AFTER_NS - 1) == {}
    assert scene.turn(1) == {"not-seen": 1}
    assert scene.audit.due_ns is None
    assert scene.settle() == {"not-seen": 1}
    scene.count = 103
    assert scene.settle() == {"not-seen": 2}


def test_an_unconfirmed_count_is_not_held_against_the_probe() -> None:
    scene = Scene()
    for minute in range(1, 4):
        scene.count = 100 + 2000 * minute
        scene.turn(TICK_NS)
        assert scene.turn(TOLD_AFTER_NS, whole=True) == {"unconfirmed": 2000 * minute}
        assert scene.audit.not_seen_here == 0


def test_kills_are_unconfirmed_only_if_the_log_is_whole() -> None:
    scene = Scene()
    scene.count = 102
    scene.turn(TICK_NS)
    assert scene.turn(TOLD_AFTER_NS, whole=True) == {"unconfirmed": 2}
    scene.count = 105
    assert scene.settle() == {"not-seen": 3, "unconfirmed": 2}
    # The next run keeps the reasons.
    scene.audit.keep()
    scene.tally = FakeTally()
    scene.ledger.totals = scene.ledger.totals.with_source(1)
    scene.audit = scene.start()
    assert scene.settle() == {"not-seen": 3, "unconfirmed": 2}
    # Kills before the source was there have their own reason in any case.
    scene = Scene(count=105)
    assert scene.turn(TOLD_AFTER_NS, whole=True) == {"not-running": 5}


def looks_while_it_rises(scene: Scene, ticks: int, *, every: int = 1, found: int = 0) -> list[int]:
    """The times of the searches in seconds; each finds ``found`` kills."""
    began_ns, looks = scene.clock.now_ns, []
    for tick in range(ticks):
        scene.count = (scene.count or 0) + int(tick % every == 0)
        scene.turn_without_closing(TICK_NS - TOLD_AFTER_NS)
        scene.turn_without_closing(TOLD_AFTER_NS)
        if scene.audit.gap:
            looks.append((scene.clock.now_ns - began_ns) // 10**9)
            scene.ledger.totals = scene.ledger.totals._replace(recalled=scene.ledger.totals.recalled + found)
            scene.audit.count_missing(whole=True)
    return looks


def test_searches_become_rare_when_a_wrong_count_rises_for_ever() -> None:
    scene = Scene()
    looks = looks_while_it_rises(scene, 600)
    assert [behind - before for before, behind in pairwise(looks)][:6] == [24, 36, 60, 108, 204, 312]
    assert looks[-1] - looks[-2] == 312
    told = scene.audit.missed()["unconfirmed"]
    assert 0 <= (scene.count or 0) - 100 - told < 312 // 12
    # At the end all are reported.
    scene.audit.begin_to_end()
    scene.clock.now_ns += LAST_TOLD_AFTER_NS
    scene.audit.end()
    assert sum(scene.audit.missed().values()) == (scene.count or 0) - 100


def test_a_successful_search_and_a_long_pause_both_end_the_rest() -> None:
    scene = Scene()
    assert len(looks_while_it_rises(scene, 20)) == 5
    # A successful search ends the rest.
    scene.clock.now_ns += LAST_REST_NS
    assert looks_while_it_rises(scene, 8, found=1) == [12, 24, 36, 48, 60, 72, 84, 96]
    scene = Scene()
    assert looks_while_it_rises(scene, 120, every=30) == [12, 372, 732, 1092]
    # A kill that the source lost starts a comparison at once.
    scene = Scene()
    looks_while_it_rises(scene, 20)
    scene.count = (scene.count or 0) + 1
    scene.saw(1, lost=1)
    scene.audit.keep()
    assert scene.audit.due_ns is not None


def test_missing_kills_happened_after_the_counts_were_last_equal() -> None:
    scene = Scene(count=102)
    scene.turn_without_closing(TOLD_AFTER_NS)
    assert (scene.audit.gap, scene.audit.since_ns) == (2, 0)
    scene.audit.count_missing()
    scene.turn(TICK_NS)
    balanced_ns = scene.clock.now_ns
    for count in (103, 104):
        scene.count = count
        scene.turn(TICK_NS)
        scene.turn_without_closing(TOLD_AFTER_NS)
        # The kill that was reported as missing may have hidden another one.
        assert (scene.audit.gap, scene.audit.since_ns) == (1, balanced_ns)
        scene.audit.count_missing()
    # A lost entry of an earlier run may be of any time.
    scene.ledger.totals = scene.ledger.totals._replace(earlier_kills=-1, unsent=1)
    scene.audit.look_for(1)
    scene.turn_without_closing(TOLD_AFTER_NS)
    assert (scene.audit.gap, scene.audit.since_ns) == (1, 0)


def test_a_kill_that_is_seen_shortly_after_it_was_counted_is_not_missing() -> None:
    scene = Scene()
    scene.count = 101
    assert scene.turn(TICK_NS) == {}
    # Other kills happen meanwhile.
    scene.saw(4)
    assert scene.turn(TOLD_AFTER_NS) == {}
    scene.count = 104
    assert scene.settle() == {}
    assert scene.warnings == []


def test_a_steady_stream_of_kills_does_not_hide_a_missing_one_for_long() -> None:
    scene = Scene()
    scene.count = 102
    assert scene.turn(TICK_NS) == {}
    for number in range(1, TIMES):
        assert scene.audit.not_seen_here == 0
        scene.count += 5
        scene.saw(5 * number)
        scene.turn(TOLD_AFTER_NS)
    assert scene.audit.missed()["not-seen"] == 2
    assert scene.audit.due_ns is None
    assert scene.settle() == {"not-seen": 2}


def test_kills_that_are_under_way_at_some_comparisons_are_not_missing() -> None:
    scene = Scene()
    scene.count = 101
    scene.turn(TICK_NS)
    for number, under_way in enumerate((1, 0, 1, 1, 0, 1, 1, 1, 0), 1):
        scene.saw(5 * number)
        scene.count = 100 + 5 * number + under_way
        assert scene.turn(TOLD_AFTER_NS) == {}


def test_kills_counted_before_the_start_have_another_reason() -> None:
    scene = Scene(count=105)
    assert scene.audit.due_ns == TOLD_AFTER_NS
    # One kill was counted and not seen yet when the count was read.
    scene.saw(1)
    assert scene.turn(TOLD_AFTER_NS) == {"not-running": 4}
    assert scene.audit.not_seen_here == 0
    assert scene.turn(TICK_NS) == {"not-running": 4}
    scene.count = 107
    scene.saw(2)
    assert scene.settle() == {"not-running": 4, "not-seen": 1}


@pytest.mark.parametrize(
    ("found", "missing"),
    [(0, {"before-first-start": 5}), (2, {"before-first-start": 3}), (5, {})],
)
def test_kills_before_the_first_start_in_a_boot_have_their_own_reason(found: int, missing: dict[str, int]) -> None:
    scene = Scene(count=105, totals=Totals(before_first=5))
    scene.turn_without_closing(TOLD_AFTER_NS)
    scene.ledger.totals = scene.ledger.totals._replace(recalled=found)
    assert scene.turn() == missing
    # ``not_running`` includes them, as at any other start.
    assert scene.ledger.totals.not_running == 5 - found
    # Later kills have the usual reason.
    scene.count = 107
    scene.audit = scene.start()
    assert scene.settle() == missing | {"not-running": 2}


def test_a_first_run_that_ends_before_the_search_leaves_the_distinction_to_the_next() -> None:
    scene = Scene(count=105, totals=Totals(before_first=5))
    scene.turn_without_closing(TOLD_AFTER_NS)
    scene.audit.begin_to_end()
    scene.audit.end()
    scene.count = 107
    scene.audit = scene.start()
    assert scene.settle() == {"before-first-start": 5, "not-running": 2}


@pytest.mark.parametrize("seen", [2, 5, 7])
def test_kills_right_after_a_first_start_do_not_turn_earlier_ones_into_unseen_ones(seen: int) -> None:
    scene = Scene(count=105, totals=Totals(before_first=5))
    scene.tally.seen_until_ns = 1 << 62
    scene.count = 105 + seen
    scene.saw(seen)
    assert scene.turn(TOLD_AFTER_NS) == ({"before-first-start": 5 - seen} if seen < 5 else {})
    assert scene.settle() == {"before-first-start": 5}
    scene.count += 1
    assert scene.settle() == {"before-first-start": 5, "not-seen": 1}
    scene.count += 1
    scene.saw(seen + 1)
    scene.audit = scene.start()
    assert scene.settle() == {"before-first-start": 5, "not-seen": 1}
    scene.count += 1
    scene.audit = scene.start()
    assert scene.settle() == {"before-first-start": 5, "not-seen": 1, "not-running": 1}


def test_after_a_balanced_first_start_later_kills_have_the_usual_reason() -> None:
    scene = Scene(totals=Totals(before_first=5))
    scene.count = 102
    scene.audit = scene.start()
    assert scene.settle() == {"not-running": 2}


def test_kills_seen_meanwhile_do_not_turn_one_before_the_start_into_an_unseen_one() -> None:
    scene = Scene(count=101)
    for kills in (1, 2, 3):
        scene.saw(kills)
        scene.turn(TOLD_AFTER_NS)
        scene.count = 101 + kills
        scene.turn(TICK_NS)
    assert scene.turn(TOLD_AFTER_NS) == {"not-running": 1}
    assert scene.audit.not_seen_here == 0


# An earlier source saw 8 kills: it lost 3, and 5 waited in it, see Totals.with_source.
LET_GO = Totals(earlier_kills=3, earlier_lost=3, unsent=5)


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (0, {"stopped": 5, "ring-full": 3}),
        (4, {"stopped": 1, "ring-full": 3}),
        (5, {"ring-full": 3}),
        (6, {"ring-full": 2}),
        (8, {}),
    ],
)
def test_unsent_kills_of_a_source_that_is_gone_are_searched_for(found: int, missing: dict[str, int]) -> None:
    scene = Scene(count=108, totals=LET_GO)
    scene.turn_without_closing(TOLD_AFTER_NS)
    assert scene.audit.gap == 8
    scene.ledger.totals = scene.ledger.totals._replace(recalled=found)
    assert scene.turn() == missing
    assert scene.audit.gap == 0
    assert scene.settle() == missing
    # In the next run, with another source, two more are missing.
    scene.ledger.totals = scene.ledger.totals.with_source(9)
    scene.count = 110
    scene.audit = scene.start()
    assert scene.settle() == missing | {"not-running": 2}


def test_an_unfinished_search_for_unsent_kills_is_left_to_the_next_run() -> None:
    scene = Scene(count=108, totals=LET_GO)
    scene.turn_without_closing(TOLD_AFTER_NS)
    scene.audit.begin_to_end()
    scene.audit.end()
    scene.audit = scene.start()
    scene.turn_without_closing(TOLD_AFTER_NS)
    assert scene.audit.gap == 8
    assert scene.turn() == {"stopped": 5, "ring-full": 3}


def test_a_run_that_ends_before_its_search_leaves_earlier_kills_to_the_next() -> None:
    """So far, these kills are only not known to be recorded."""
    totals = Totals(earlier_kills=3, unsent=2)
    scene = Scene(count=107, totals=totals)
    for _ in range(2):
        scene.audit.begin_to_end()
        scene.clock.now_ns += LAST_TOLD_AFTER_NS
        scene.audit.end()
        assert scene.audit.gap == 4
        assert set(scene.audit.missed().values()) == {0}
        assert (scene.ledger.totals.unsent, scene.ledger.totals.earlier_kills) == (2, 3)
        scene.audit = scene.start()
    assert scene.settle() == {"stopped": 2, "not-running": 2}


def test_a_gap_with_earlier_kills_is_left_to_the_next_run_as_a_whole() -> None:
    """The log does not show which of its kills fill which part of the gap."""
    scene = Scene(count=102, totals=Totals(earlier_kills=1, earlier_lost=1))
    scene.audit.begin_to_end()
    scene.clock.now_ns += LAST_TOLD_AFTER_NS
    scene.audit.end()
    assert scene.audit.gap == 2
    assert set(scene.audit.missed().values()) == {0}
    scene.audit = scene.start()
    assert scene.settle() == {"ring-full": 1, "not-running": 1}


def test_unsent_kills_hidden_by_others_at_the_end_stay_unsent() -> None:
    scene = Scene(count=101, totals=Totals(unsent=1))
    scene.saw(1)
    scene.audit.begin_to_end()
    scene.clock.now_ns += LAST_TOLD_AFTER_NS
    scene.audit.end()
    assert scene.ledger.totals.unsent == 1


def test_unsent_kills_that_one_search_does_not_find_may_be_found_by_the_next() -> None:
    scene = Scene(count=105, totals=Totals(unsent=5))
    scene.turn_without_closing(TOLD_AFTER_NS)
    scene.ledger.totals = scene.ledger.totals._replace(recalled=3)
    scene.audit.count_missing(more=True)
    assert scene.audit.gap == 2
    assert scene.audit.missed()["stopped"] == 0
    assert scene.turn() == {"stopped": 2}


def test_unsent_kills_and_earlier_ones_have_different_reasons() -> None:
    scene = Scene(count=107, totals=Totals(unsent=5))
    assert scene.settle() == {"stopped": 5, "not-running": 2}


@pytest.mark.parametrize(("count", "baseline"), [(None, None), (None, 100), (100, None)])
def test_unsent_kills_that_cannot_be_searched_for_are_missing_at_once(count: int | None, baseline: int | None) -> None:
    scene = Scene(count, baseline, Totals(unsent=5))
    assert scene.audit.missed()["stopped"] == 5
    assert scene.start().missed()["stopped"] == 5


def test_kills_whose_entries_were_lost_are_searched_for_at_once() -> None:
    scene = Scene(count=110, totals=Totals(earlier_kills=10, entries=10, compared=1))
    assert scene.audit.due_ns is None
    scene.ledger.totals = scene.ledger.totals.without_entries(3, 0)
    scene.audit.look_for(3)
    assert scene.audit.due_ns == TOLD_AFTER_NS
    scene.turn_without_closing(TOLD_AFTER_NS)
    assert scene.audit.gap == 3
    scene.ledger.totals = scene.ledger.totals._replace(recalled=2)
    assert scene.turn() == {"stopped": 1}
    assert scene.audit.not_seen_here == 0
    assert scene.settle() == {"stopped": 1}
    # The next run does not count them as recorded, either.
    scene.ledger.totals = scene.ledger.totals.with_source(9)
    scene.audit = scene.start()
    assert scene.settle() == {"stopped": 1}


def test_what_turns_out_not_to_be_stored_while_others_are_compared_is_no_less_from_before() -> None:
    scene = Scene(count=112, totals=Totals(earlier_kills=10, entries=10))
    assert scene.audit.due_ns is not None
    scene.ledger.totals = scene.ledger.totals.without_entries(3, 0)
    scene.audit.look_for(3)
    assert scene.settle() == {"stopped": 3, "not-running": 2}
    assert scene.audit.not_seen_here == 0


@pytest.mark.parametrize(
    ("totals", "count", "found", "missing"),
    [
        (Totals(earlier_kills=10, entries=10), 112, 2, {"stopped": 3}),
        (Totals(earlier_kills=10, entries=10), 112, 0, {"stopped": 3, "not-running": 2}),
        (Totals(earlier_kills=10, entries=10, unsent=5), 115, 0, {"stopped": 8}),
        (Totals(earlier_kills=10, entries=10, unsent=5), 115, 5, {"stopped": 3}),
    ],
)
def test_kills_whose_entries_were_lost_during_a_search_get_the_next_one(
    totals: Totals, count: int, found: int, missing: dict[str, int]
) -> None:
    scene = Scene(count=count, totals=totals)
    scene.turn_without_closing(TOLD_AFTER_NS)
    assert scene.audit.gap == count - 110
    scene.ledger.totals = scene.ledger.totals.without_entries(3, 0)
    scene.audit.look_for(3)
    scene.ledger.totals = scene.ledger.totals._replace(recalled=found)
    scene.audit.count_missing()
    # At once, not only at the next tick.
    assert scene.audit.due_ns == scene.clock.now_ns + TOLD_AFTER_NS
    assert scene.turn(TOLD_AFTER_NS) == missing
    assert scene.audit.not_seen_here == 0


@pytest.mark.parametrize(("count", "baseline"), [(None, None), (None, 100), (100, None)])
def test_kills_whose_entries_were_lost_and_that_cannot_be_searched_for_are_missing(
    count: int | None, baseline: int | None
) -> None:
    scene = Scene(count, baseline, Totals(earlier_kills=10, entries=10))
    scene.ledger.totals = scene.ledger.totals.without_entries(3, 0)
    scene.audit.look_for(3)
    assert scene.audit.missed()["stopped"] == 3
    assert scene.ledger.totals.unsent == 0


def test_unsent_kills_that_the_kernel_did_not_count_are_forgotten() -> None:
    scene = Scene(totals=Totals(unsent=5))
    scene.count = 102
    scene.audit = scene.start()
    assert scene.settle() == {"not-running": 2}


def test_the_next_run_continues_the_ledger() -> None:
    scene = Scene()
    scene.count = 106
    scene.saw(5, repeats=2, lost=1)
    scene.settle()
    scene.audit.end()
    assert scene.ledger.totals == Totals(
        kills=5, repeats=2, lost=1, not_seen=1, ring_full=1, lost_looked_for=1, compared=1
    )
    # Another source, and two kills in between.
    scene.ledger.totals = scene.ledger.totals._replace(entries=2).with_source(1)
    scene.count = 108
    scene.saw(0)
    scene.audit = scene.start()
    assert scene.turn(TOLD_AFTER_NS) == {"ring-full": 1, "not-seen": 1, "not-running": 2}
    assert scene.audit.repeats() == 2
    # The same source: it counted them.
    scene.audit.end()
    scene.count = 109
    scene.saw(1)
    scene.audit = scene.start()
    assert scene.settle() == {"ring-full": 1, "not-seen": 1, "not-running": 2}


@pytest.mark.parametrize(("count", "baseline"), [(None, 100), (100, None)])
def test_without_a_kernel_count_only_lost_kills_are_missing(count: int | None, baseline: int | None) -> None:
    scene = Scene(count, baseline)
    scene.saw(3)
    assert scene.settle() == {}
    assert scene.warnings == []
    # The source's own counter of lost kills needs no kernel count.
    scene.saw(3, lost=1)
    scene.audit.keep()
    assert scene.settle() == {"ring-full": 1}


def test_a_count_that_falls_for_a_moment_means_nothing() -> None:
    scene = Scene(count=103)
    scene.saw(3)
    scene.count = 101
    scene.settle()
    scene.count = 103
    scene.settle()
    assert scene.settle() == {}
    assert scene.warnings == []
    assert scene.ledger.totals.surplus == 0


def test_a_surplus_is_logged_and_hides_no_missing_kill() -> None:
    scene = Scene()
    scene.saw(2)
    scene.count = 101
    scene.settle()
    assert scene.warnings == []
    scene.settle()
    assert scene.warnings == [
        "the service saw 1 more kill than the kernel counted (oom_kill in /proc/vmstat), keeping all entries"
    ]
    # It is logged once, and needs no further comparison.
    assert scene.turn(TICK_NS) == {}
    assert scene.audit.due_ns is None
    scene.count = 102
    assert scene.settle() == {"not-seen": 1}
    assert len(scene.warnings) == 1


def test_at_the_end_there_is_less_time() -> None:
    scene = Scene()
    scene.count = 104
    scene.audit.begin_to_end()
    scene.saw(3)
    scene.clock.now_ns += LAST_TOLD_AFTER_NS
    scene.audit.end()
    assert scene.ledger.totals == Totals(kills=3, not_seen=1, compared=1)


def find(scene: Scene, kills: int, repeats: int = 0) -> None:
    """A search finds ``kills`` more in the kernel log, with ``repeats``."""
    totals = scene.ledger.totals
    scene.ledger.commit(
        totals._replace(recalled=totals.recalled + kills, recalled_repeats=totals.recalled_repeats + repeats)
    )


class TestGap:
    """The kernel log is searched before a kill counts as missing."""

    def scene(self, before: int) -> Scene:
        """A gap of ``before`` kills before the start."""
        scene = Scene(count=100 + before)
        scene.clock.now_ns += TOLD_AFTER_NS
        scene.audit.check()
        return scene

    def test_a_gap_is_known_at_once_and_missing_only_after_the_search(self) -> None:
        scene = self.scene(before=5)
        assert scene.audit.gap == 5
        assert not any(scene.audit.missed().values())
        # No comparison runs meanwhile.
        scene.audit.check()
        assert (scene.audit.gap, scene.audit.due_ns) == (5, None)
        find(scene, 2, repeats=1)
        assert scene.audit.gap == 2
        scene.audit.count_missing()
        assert scene.audit.gap == 0
        assert scene.audit.missed()["not-running"] == 2
        assert (scene.audit.recalled(), scene.audit.repeats()) == (2, 1)
        assert scene.audit.not_seen_here == 0
        assert scene.settle() == {"not-running": 2}

    def test_what_is_left_of_more_is_looked_for_again(self) -> None:
        scene = self.scene(before=5)
        find(scene, 3)
        scene.audit.count_missing(more=True)
        assert scene.audit.gap == 2
        assert not any(scene.audit.missed().values())
        find(scene, 1)
        scene.audit.count_missing()
        assert scene.audit.missed()["not-running"] == 1
        assert scene.audit.recalled() == 4

    def test_only_kills_found_in_the_log_are_held_against_the_source(self) -> None:
        scene = Scene()
        scene.count = 103
        scene.clock.now_ns += TICK_NS
        scene.audit.check()
        scene.clock.now_ns += TOLD_AFTER_NS
        scene.audit.check()
        assert scene.audit.gap == 3
        find(scene, 1)
        scene.audit.count_missing(more=True)
        assert scene.audit.not_seen_here == 1
        find(scene, 1)
        scene.audit.count_missing()
        assert scene.audit.not_seen_here == 2
        assert scene.audit.missed()["not-seen"] == 1

    def test_kills_found_count_first_for_those_before_the_start(self) -> None:
        scene = Scene(count=102)
        scene.count = 103
        scene.clock.now_ns += TOLD_AFTER_NS
        scene.audit.check()
        assert scene.audit.gap == 2  # the third one was counted after the count was read
        find(scene, 1)
        scene.audit.count_missing()
        assert scene.audit.missed()["not-running"] == 1
        assert scene.settle() == {"not-running": 1, "not-seen": 1}

    def test_no_comparison_runs_during_a_search_because_found_kills_may_be_lost_again(self) -> None:
        scene = self.scene(before=5)
        find(scene, 5)
        assert scene.audit.gap == 0
        scene.count = 106
        scene.turn_without_closing(TICK_NS)
        assert scene.audit.due_ns is None
        find(scene, -5)
        assert scene.audit.gap == 5
        scene.turn_without_closing(TICK_NS)
        assert scene.audit.due_ns is None
        find(scene, 5)
        scene.audit.begin_to_end()
        scene.audit.end()
        assert scene.ledger.totals == Totals(recalled=5)

    def test_a_gap_that_is_found_completely_ends_the_search(self) -> None:
        scene = self.scene(before=5)
        find(scene, 5)
        scene.audit.count_missing(more=True)
        scene.count = 106
        scene.turn_without_closing(TICK_NS)
        assert scene.audit.due_ns is not None

    def test_an_unfinished_search_is_left_to_the_next_run(self) -> None:
        scene = self.scene(before=5)
        find(scene, 2)
        scene.audit.begin_to_end()
        scene.audit.end()
        assert scene.ledger.totals == Totals(recalled=2)
        scene.audit = scene.start()
        scene.turn(TOLD_AFTER_NS)
        assert scene.audit.missed()["not-running"] == 3


class TestLost:
    """Kills for which the ring had no room: the source counted them, but has no record."""

    def scene(self, totals: Totals | None = None) -> Scene:
        """The source has lost two kills, and the audit has not noticed yet."""
        scene = Scene(totals=totals)
        scene.count = 105
        scene.saw(5, lost=2)
        return scene

    def test_lost_kills_are_searched_for_without_waiting_for_a_tick(self) -> None:
        scene = self.scene()
        assert scene.audit.due_ns is None
        scene.audit.keep()
        assert scene.audit.due_ns == TOLD_AFTER_NS
        scene.turn_without_closing(TOLD_AFTER_NS)
        assert scene.audit.gap == 2
        assert not any(scene.audit.missed().values())
        # The search is not started twice.
        scene.audit.keep()
        assert scene.audit.due_ns is None

    @pytest.mark.parametrize(("found", "missing"), [(2, {}), (1, {"ring-full": 1}), (0, {"ring-full": 2})])
    def test_lost_kills_not_in_the_log_are_missing_and_not_held_against_the_probe(
        self, found: int, missing: dict[str, int]
    ) -> None:
        scene = self.scene()
        scene.audit.keep()
        scene.turn_without_closing(TOLD_AFTER_NS)
        find(scene, found)
        assert scene.turn() == missing
        assert scene.audit.not_seen_here == 0
        # They are not searched for again.
        scene.audit.keep()
        assert scene.audit.due_ns is None
        assert scene.settle() == missing
        scene.count = 106
        assert scene.settle() == {**missing, "not-seen": 1}

    def test_what_is_left_of_more_is_looked_for_again(self) -> None:
        scene = self.scene()
        scene.audit.keep()
        scene.turn_without_closing(TOLD_AFTER_NS)
        find(scene, 1)
        scene.audit.count_missing(more=True)
        assert scene.audit.gap == 1
        scene.audit.keep()
        assert scene.turn() == {"ring-full": 1}
        assert scene.audit.due_ns is None

    def test_kills_lost_by_the_previous_run_keep_their_reason(self) -> None:
        scene = self.scene(Totals(kills=4, lost=1, entries=3).with_source(1))
        scene.count = 112
        scene.audit = scene.start()
        assert scene.turn(TOLD_AFTER_NS) == {"ring-full": 3, "not-running": 3}
        assert scene.audit.not_seen_here == 0

    def test_after_a_crash_before_close_the_next_run_does_not_search_for_found_kills(self) -> None:
        scene = self.scene()
        scene.audit.keep()
        scene.turn_without_closing(TOLD_AFTER_NS)
        find(scene, 2)
        scene.audit = scene.start()
        scene.audit.keep()
        assert scene.audit.due_ns is None
        scene.count = 106
        assert scene.settle() == {"not-seen": 1}

    def test_a_kill_lost_while_the_count_is_read_is_still_searched_for(self) -> None:
        scene = Scene()

        def counted() -> int:
            before = scene.count or 0
            if scene.clock.now_ns:
                scene.count = 101
                scene.saw(1, lost=1)
            return before

        scene.audit = Audit(scene.ledger, scene.tally, counted, scene.clock, scene.warnings.append)
        scene.clock.now_ns = TICK_NS
        scene.audit.check()
        scene.audit.keep()
        scene.clock.now_ns += TOLD_AFTER_NS
        scene.audit.check()
        scene.audit.count_missing()
        assert scene.audit.missed()["ring-full"] == 1
        assert scene.audit.not_seen_here == 0

    def test_a_search_includes_kills_counted_since_the_gap_was_found(self) -> None:
        scene = self.scene()
        scene.audit.keep()
        scene.turn_without_closing(TOLD_AFTER_NS)
        scene.count = 108
        assert (scene.audit.gap, scene.audit.to_look_for()) == (2, 5)
        find(scene, 5)
        scene.saw(8, lost=5)
        assert scene.turn() == {}
        scene.audit.keep()
        assert scene.audit.due_ns is None
        assert scene.audit.not_seen_here == 0

    def test_at_the_end_lost_kills_are_missing(self) -> None:
        scene = self.scene()
        scene.audit.keep()
        scene.audit.begin_to_end()
        scene.clock.now_ns += LAST_TOLD_AFTER_NS
        scene.audit.end()
        assert scene.audit.missed()["ring-full"] == 2


class LogScene:
    """An audit at level kmsg: the source is the kernel log."""

    def __init__(self, *texts: bytes) -> None:
        self.clock = FakeClock()
        self.lines = Lines(*texts)
        self.source = source_of(self.lines, self.clock)
        self.count = 100
        self.warnings: list[str] = []
        self.audit = Audit(FakeLedger(baseline=100), self.source, lambda: self.count, self.clock, self.warnings.append)
        self.position = 0

    def turn(self, after_ns: int = 0) -> int:
        """Drain, then check, as the loop does. Returns the number of missing kills."""
        self.clock.now_ns += after_ns
        while item := self.source.peek(self.position):
            self.position = item.end
        self.audit.check()
        self.audit.count_missing()
        return self.audit.missed()[self.source.not_seen_reason]


def test_kills_without_a_line_are_missing_once_the_log_was_read_after_they_were_counted() -> None:
    scene = LogScene(killed_line(1), GROUP, killed_line(1))
    scene.count = 102
    assert scene.turn() == 0
    assert scene.audit.due_ns is None
    assert scene.audit.repeats() == 1
    scene.count = 105
    assert scene.turn() == 0
    scene.lines.add(killed_line(7))  # counted right before it is printed
    assert scene.turn(TOLD_AFTER_NS) == 2
    assert scene.turn(TICK_NS) == 2


def test_lost_log_lines_are_another_reason_than_kills_never_logged() -> None:
    scene = LogScene(killed_line(1))
    scene.count = 102
    assert scene.turn() == 0
    assert scene.turn(TOLD_AFTER_NS) == 1
    assert scene.source.not_seen_reason == "not-seen"
    scene.lines.waiting.append(Line(10**9, killed_line(7), after_gap=True))
    scene.count = 105
    scene.turn(TICK_NS)
    assert scene.turn(TOLD_AFTER_NS) == 3
    assert scene.source.not_seen_reason == "log-overwritten"


def test_kills_whose_lines_are_not_read_yet_are_not_missing() -> None:
    scene = LogScene()
    scene.turn()
    scene.count = 101
    assert scene.turn() == 0
    # journald refuses entries, so the log is not read.
    scene.lines.add(killed_line(7))
    scene.clock.now_ns += 60 * 10**9
    scene.audit.check()
    assert scene.audit.missed()["not-seen"] == 0
    assert scene.audit.due_ns == scene.clock.now_ns + TOLD_AFTER_NS
    assert scene.turn(TOLD_AFTER_NS) == 0


class NoticeScene:
    """A MissedNotice with a fake journal, ledger and clock."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.journal = FakeJournal(self.events)
        self.ledger = FakeLedger()
        self.clock = FakeClock()
        self.notice = self.start()

    def start(self) -> MissedNotice:
        self.tracker = StoreTracker(self.journal, self.clock)
        return MissedNotice(self.journal, self.tracker, self.ledger, missed)

    def report(self, **totals: int) -> bool:
        return self.notice.report({reason.replace("_", "-"): total for reason, total in totals.items()})

    def store(self) -> None:
        """Let enough time pass for journald to store everything."""
        self.after(TICK_NS)

    def after(self, ns: int) -> None:
        end_ns = self.clock.now_ns + ns
        while (due := self.tracker.due_ns) is not None and due <= end_ns:
            self.clock.now_ns = max(due, self.clock.now_ns + 1)
            self.tracker.settle()
            self.notice.note_stored()
        self.clock.now_ns = end_ns


def missed(count: int, total: int, reason: str) -> list[bytes]:
    return [b"%d of %d missed, %s" % (count, total, reason.encode())]


def test_only_one_entry_counts_each_missed_kill() -> None:
    scene = NoticeScene()
    assert scene.report(ring_full=0, record_rejected=0)
    scene.report(ring_full=3, record_rejected=0)
    scene.report(ring_full=3, record_rejected=0)
    scene.store()
    scene.report(ring_full=5, record_rejected=1)
    scene.store()
    # The next run does not report them again.
    scene.notice = scene.start()
    scene.report(ring_full=6, record_rejected=1, not_running=2, before_first_start=4)
    scene.store()
    scene.report(ring_full=6, record_rejected=1, not_running=2, before_first_start=4)
    assert scene.events == [
        *("3 of 3 missed, ring-full", "2 of 5 missed, ring-full", "1 of 1 missed, record-rejected"),
        *("1 of 6 missed, ring-full", "2 of 2 missed, not-running", "4 of 4 missed, before-first-start"),
    ]


def test_a_change_of_the_reason_does_not_report_earlier_kills_again() -> None:
    scene = NoticeScene()
    scene.report(not_seen=3)
    scene.report(log_overwritten=5)
    scene.store()
    scene.report(log_overwritten=5)
    assert scene.events == ["3 of 3 missed, not-seen", "2 of 5 missed, log-overwritten"]


def test_a_refused_report_is_sent_later() -> None:
    scene = NoticeScene()
    scene.journal.refuses = True
    assert not scene.report(ring_full=3)
    scene.journal.refuses = False
    assert scene.report(ring_full=4)
    assert scene.events == ["4 of 4 missed, ring-full"]


def test_a_report_lost_with_its_journald_is_sent_again_with_the_same_total() -> None:
    scene = NoticeScene()
    scene.report(ring_full=3)
    scene.journal.started = 2
    scene.report(ring_full=3)
    assert scene.events == ["3 of 3 missed, ring-full"] * 2
    scene.after(FIRST_LOOK_NS)
    scene.journal.started = 3
    scene.journal.refuses = True
    scene.after(STORED_AFTER_NS)
    assert not scene.report(ring_full=3)
    assert scene.ledger.totals.said_ring_full == 0
    scene.journal.refuses = False
    assert scene.report(ring_full=3)
    assert scene.events == ["3 of 3 missed, ring-full"] * 3
    # A stored report is not sent again.
    scene.store()
    scene.journal.started = 4
    scene.report(ring_full=3)
    assert len(scene.events) == 3


def test_all_lost_reports_are_sent_again_unchanged_and_each_counts_as_stored_in_time() -> None:
    scene = NoticeScene()
    for total in range(1, 5):
        scene.report(ring_full=total)
        scene.after(STORED_AFTER_NS)
    assert scene.ledger.totals.said_ring_full == 3
    scene.report(ring_full=5)
    scene.journal.started = 2
    scene.journal.refuses = True
    assert not scene.report(ring_full=5)
    scene.journal.refuses = False
    scene.report(ring_full=6)
    assert scene.events[4:] == [
        "1 of 5 missed, ring-full",
        *("1 of 4 missed, ring-full", "1 of 5 missed, ring-full", "1 of 6 missed, ring-full"),
    ]
    scene.store()
    assert scene.ledger.totals.said_ring_full == 6
    assert scene.tracker.due_ns is None


def test_an_unread_report_does_not_count_as_stored() -> None:
    scene = NoticeScene()
    scene.journal.hangs = True
    scene.report(ring_full=3)
    scene.store()
    scene.store()
    assert scene.ledger.totals.said_ring_full == 0
    scene.journal.hangs = False
    scene.store()
    assert scene.ledger.totals.said_ring_full == 3


def test_the_next_run_does_not_repeat_a_report_that_is_still_queued() -> None:
    scene = NoticeScene()
    scene.journal.hangs = True
    scene.report(ring_full=3)
    scene.notice.end()
    scene.notice = scene.start()
    scene.report(ring_full=3)
    assert scene.events == ["3 of 3 missed, ring-full"]


def test_at_the_end_a_report_to_an_earlier_journald_does_not_count_as_stored() -> None:
    scene = NoticeScene()
    scene.report(ring_full=3)
    scene.journal.started = 2
    scene.notice.end()
    assert scene.ledger.totals.said_ring_full == 0
