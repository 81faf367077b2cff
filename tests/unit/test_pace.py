# SPDX-License-Identifier: Apache-2.0
"""When the flight recorder samples every second, and when no more."""

from oomkilld.record.history.pace import FAST_NS, GROWTH, HOST, LEAST_NS, MAX_PATHS, REST_NS, STALL, Pace

NS = 10**9


def ended(at_ns: int, *signs: bytes) -> Pace:
    """A pace whose fast time, with these signs, ended then without growth."""
    pace = Pace()
    for sign in signs:
        pace.stir(sign, at_ns - FAST_NS)
    assert pace.is_over(at_ns)
    pace.end(at_ns)
    return pace


def test_a_sign_of_trouble_makes_it_fast_for_a_minute() -> None:
    pace = Pace()
    assert not pace.is_fast
    assert pace.stir(STALL, 5 * NS)
    assert pace.is_fast
    assert not pace.is_over(64 * NS)
    assert pace.is_over(65 * NS)
    pace.end(65 * NS)
    assert not pace.is_fast


def test_another_sign_makes_it_last_30_s_longer_at_least() -> None:
    pace = Pace()
    pace.stir(STALL, 0)
    assert not pace.stir(HOST, 50 * NS)
    assert not pace.is_over(79 * NS)
    assert pace.is_over(80 * NS)
    assert LEAST_NS == 30 * NS
    early = Pace()
    early.stir(STALL, 0)
    early.stir(HOST, NS)
    assert early.is_over(60 * NS)


def test_a_sign_that_comes_again_and_again_does_not_keep_it_fast() -> None:
    pace = Pace()
    for second in range(60):
        pace.stir(b"/a", second * NS)
    assert pace.is_over(60 * NS)
    pace.end(60 * NS)
    assert not pace.stir(b"/a", 61 * NS)
    assert pace.stir(b"/a", 60 * NS + REST_NS)


def test_while_something_grows_it_goes_on_for_another_minute() -> None:
    pace = Pace()
    pace.stir(b"/a", 0)
    pace.prolong(60 * NS)
    assert not pace.is_over(119 * NS)
    assert pace.is_over(120 * NS)


def test_a_sign_that_nothing_came_of_counts_again_after_five_minutes() -> None:
    pace = ended(100 * NS, b"/a", STALL)
    for sign in (b"/a", STALL):
        assert pace.rests(sign, 399 * NS)
        assert not pace.stir(sign, 399 * NS)
    assert not pace.is_fast
    assert pace.stir(b"/b", 399 * NS), "another one counts"
    pace = ended(100 * NS, b"/a")
    assert not pace.rests(b"/a", 100 * NS + REST_NS)
    assert pace.stir(b"/a", 100 * NS + REST_NS)


def test_rests_that_are_over_are_forgotten() -> None:
    pace = Pace()
    for number in range(1000):
        pace.stir(b"/%d" % number, number * 2 * FAST_NS)
        pace.end(number * 2 * FAST_NS + FAST_NS)
    assert len(vars(pace)["_rests"]) <= 4


def test_ever_new_cgroups_take_no_more_memory_and_do_not_keep_it_fast() -> None:
    """As where each run of a job has a cgroup of its own, and is killed."""
    pace = Pace()
    fast = 0
    for second in range(7200):
        pace.stir(b"/job-%d" % second, second * NS)
        if pace.is_over(second * NS):
            pace.end(second * NS)
        fast += pace.is_fast
    assert len(vars(pace)["_signs"]) + len(vars(pace)["_rests"]) <= 2 * MAX_PATHS
    assert fast < 7200 - 600


def test_signs_that_are_too_many_to_tell_apart_count_as_one() -> None:
    pace = ended(100 * NS, *(b"/%d" % number for number in range(MAX_PATHS + 2)))
    assert pace.rests(b"/0", 101 * NS)
    assert pace.rests(b"/another", 101 * NS)
    assert not pace.stir(b"/another", 101 * NS)
    assert pace.stir(HOST, 101 * NS), "those of the whole machine always count"
    pace.end(102 * NS)
    assert pace.stir(b"/another", 100 * NS + REST_NS)


def signs(*available: int, total: int = 1000) -> list[bool]:
    """Whether each of these samples is a sign."""
    pace = Pace()
    return [pace.available(each, total) for each in available]


def test_low_memory_is_a_sign_when_it_comes_to_it_not_while_it_stays() -> None:
    assert signs(110, 105, 99, 98, 50, 49) == [False, False, True, False, True, False]  # 98 -> 50 is a fast fall
    assert signs(110, 99, 101, 99, 121, 119, 99) == [False, True, False, False, False, False, True]


def test_memory_that_was_low_before_the_first_sample_is_no_sign() -> None:
    assert signs(20, 19, 18) == [False, False, False]


def test_a_fast_fall_is_a_sign() -> None:
    assert signs(800, 701, 614) == [False, False, False]
    assert signs(800, 700, 612) == [False, True, True]
    assert signs(800, 900, 800) == [False, False, False]


def test_an_unknown_size_is_no_sign() -> None:
    pace = Pace()
    assert not pace.available(None, 100)
    assert not pace.available(5, None)
    assert not pace.machine_shrinks(None)


def test_the_machine_shrinks_if_it_lost_a_hundredth_since_the_fast_time_began() -> None:
    for left, shrinks in ((900, False), (893, False), (892, True), (950, False)):
        pace = Pace()
        pace.available(900, 1024)
        pace.stir(GROWTH, 0)
        pace.available(left, 1024)
        assert pace.machine_shrinks(1024) is shrinks, left
        pace.prolong(60 * NS)
        assert not pace.machine_shrinks(1024), "it counts from now on"
