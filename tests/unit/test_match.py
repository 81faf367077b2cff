# SPDX-License-Identifier: Apache-2.0
"""Which kills of the kernel log have no entry, however far the clocks are apart."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.loggedkills import Logged, kills_in
from oomkilld.record.lookup.match import Clocks, Recorded, latest, take_counted, unrecorded
from oomkilld.text import printable
from tests.support import pace
from tests.unit.records import kill_of
from tests.unit.test_assemble import GROUP, header, killed_line

S = 10**9
LATE = Clocks(asleep_ns=0, shift_ns=0, now_ns=10**9 * S)


def line(tid: int, at_ns: int, comm: bytes = b"hog", repeats: int = 0) -> Logged:
    kill = kill_of(victim_tid=tid, victim_comm=comm, kill_boottime_ns=at_ns)
    return Logged(kill._replace(logged_usec=at_ns // 1000), repeats)


def entry(tid: int, at_ns: int, comm: bytes = b"hog", kill_id: str = "") -> Recorded:
    return Recorded(kill_id or f"{tid} {at_ns}", tid, printable(comm), at_ns)


def kill_id(kill: KillRecord) -> str:
    return f"logged {kill.victim_tid} {kill.logged_usec}"


def left(logged: Sequence[Logged], recorded: Sequence[Recorded], clocks: Clocks = LATE) -> list[tuple[int, int]]:
    found = unrecorded(logged, recorded, kill_id, clocks)
    return [(each.kill.victim_tid, each.kill.kill_boottime_ns) for each in found]


def test_a_kill_without_an_entry_is_found_and_its_time_corrected() -> None:
    logged = [line(1, 100 * S), line(2, 200 * S), line(3, 300 * S)]
    # printk's clock is 23 ms behind.
    recorded = [entry(1, 100 * S + 23_000_000), entry(3, 300 * S + 23_000_000)]
    assert left(logged, recorded) == [(2, 200 * S + 23_000_000)]
    assert left(logged, []) == [(1, 100 * S), (2, 200 * S), (3, 300 * S)]
    assert left([], recorded) == []


def test_an_entry_made_from_a_line_matches_it_by_its_id() -> None:
    logged = [line(1, 100 * S), line(1, 101 * S)]
    recorded = [entry(1, 500 * S, kill_id=f"logged 1 {101 * S // 1000}")]
    assert left(logged, recorded) == [(1, 100 * S)]


def test_a_reused_thread_number_or_another_name_is_another_kill() -> None:
    logged = [line(1, 100 * S), line(1, 900 * S), line(1, 901 * S, b"other")]
    assert left(logged, [entry(1, 900 * S)]) == [(1, 100 * S), (1, 901 * S)]
    assert left(logged, [entry(1, 100 * S)]) == [(1, 900 * S), (1, 901 * S)]
    assert left(logged, [entry(1, 901 * S, b"other")]) == [(1, 100 * S), (1, 900 * S)]


def test_one_entry_matches_one_line_the_nearest() -> None:
    logged = [line(1, 100 * S), line(1, 101 * S)]
    assert left(logged, [entry(1, 100 * S)]) == [(1, 101 * S)]
    assert left(logged, [entry(1, 101 * S)]) == [(1, 100 * S)]


def test_a_changed_name_does_not_prevent_a_match() -> None:
    logged = [line(1, 100 * S, b"before"), line(2, 100 * S)]
    assert left(logged, [entry(1, 100 * S, b"after"), entry(2, 100 * S)._replace(comm=None)]) == []
    # If one line has the same name, the entry belongs to that.
    logged = [line(1, 100 * S, b"a"), line(1, 101 * S, b"b")]
    assert [tid_at[1] // S for tid_at in left(logged, [entry(1, 101 * S, b"a")])] == [101]


def test_the_shift_between_drifted_clocks_is_measured() -> None:
    days = 30 * 86400 * S
    for drift in (-13 * S, -3 * S, 3 * S, 13 * S):
        logged = [line(tid, days + tid * S) for tid in (1, 2, 3)]
        recorded = [entry(1, days + S + drift), entry(3, days + 3 * S + drift)]
        assert left(logged, recorded) == [(2, days + 2 * S + drift)]
        # Without a kill to compare, the shift comes from the times at which journald received the lines.
        known = LATE._replace(shift_ns=drift)
        assert left([line(2, days), line(2, days + 9 * S)], [entry(2, days + drift)], known) == [
            (2, days + 9 * S + drift)
        ]


def test_no_corrected_time_is_later_than_now() -> None:
    assert left([line(1, 100 * S)], [], LATE._replace(shift_ns=3 * S, now_ns=102 * S)) == [(1, 102 * S)]


def test_hostile_names_are_compared_as_printed() -> None:
    for comm in (b"x) total-vm:0kB", b"a\nb", b"\xff" * 15, b"", b"\\x41"):
        assert left([line(1, 100 * S, comm)], [entry(1, 100 * S, comm)]) == []


def test_kills_before_and_after_the_machine_slept_are_matched() -> None:
    # The machine slept for an hour between the second and the third kill. That hour is added to all lines.
    asleep = 3600 * S
    logged = [line(tid, at + asleep) for tid, at in ((1, 100 * S), (2, 101 * S), (3, 102 * S), (4, 103 * S))]
    recorded = [entry(1, 100 * S), entry(3, 102 * S + asleep)]
    found = unrecorded(logged, recorded, kill_id, LATE._replace(asleep_ns=asleep))
    assert [each.kill.victim_tid for each in found] == [2, 4]


@settings(max_examples=pace.examples(300))
@given(
    kills=st.lists(st.tuples(st.integers(1, 6), st.integers(5, 60), st.booleans()), max_size=60),
    shift_ms=st.integers(-100, 100),
    jitter=st.randoms(),
)
def test_exactly_the_kills_without_an_entry_are_found(
    kills: list[tuple[int, int, bool]], shift_ms: int, jitter: object
) -> None:
    logged, recorded, expected = [], [], []
    now = 100 * S
    for tid, seconds, seen in kills:
        now += seconds * S
        logged.append(line(tid, now))
        if seen:
            recorded.append(entry(tid, now + shift_ms * 10**6 + jitter.randrange(10**6)))  # type: ignore[attr-defined]
        else:
            expected.append(len(logged) - 1)
    found = unrecorded(logged, recorded, kill_id, LATE)
    assert [each.kill.logged_usec for each in found] == [logged[at].kill.logged_usec for at in expected]


def test_of_too_many_the_latest_are_sent_and_a_bounded_number_at_a_time() -> None:
    found = [11, 12, 13, 14, 15]
    assert latest(found, {}, 3, 512) == [13, 14, 15]
    assert latest(found, {}, 9, 512) == found
    assert latest(found, {}, 4, 2) == [12, 13]
    # The kernel counts one process of a group twice.
    assert latest([1, 2, 3], {2: 1}, 3, 512) == [2, 3]
    assert latest([1, 2, 3], {2: 1}, 2, 512) == [3]


def test_repeats_that_the_ledger_counts_already_are_not_missing() -> None:
    def repeats(counted: int) -> list[int]:
        of = {1: 1, 3: 2, 4: 7}
        take_counted(of, [1, 2, 3], counted)
        assert of.pop(4) == 7
        return [of[1], of[3]]

    assert [repeats(counted) for counted in (-1, 0, 1, 2, 9)] == [[1, 2], [1, 2], [0, 2], [0, 1], [0, 0]]
    # For two missing kills, both are found, instead of one with its repeat.
    of = {1: 1}
    take_counted(of, [1, 2], 1)
    assert latest([1, 2], of, 2, 512) == [1, 2]


def test_each_line_of_a_group_is_a_kill_and_the_repeat_belongs_to_the_chosen_process() -> None:
    texts = [*header(42), killed_line(42), GROUP, killed_line(43), killed_line(42), b"something else", killed_line(7)]
    lines = [Line(1_000_000 + 1000 * at, text) for at, text in enumerate([b"begin", *texts])]
    found = list(kills_in(lines, 4096, 3 * S))
    assert [(each.kill.victim_tid, each.repeats) for each in found] == [(42, 1), (43, 0), (7, 0)]
    assert found[0].kill.kill_boottime_ns == 1_005_000_000 + 3 * S


@pytest.mark.parametrize("text", [b"", b"hog invoked oom-killer: nonsense", b"\xff"])
def test_a_log_without_kills_has_none(text: bytes) -> None:
    assert list(kills_in([Line(1, text)], 4096, 0)) == []
