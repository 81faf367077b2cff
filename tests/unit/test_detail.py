# SPDX-License-Identifier: Apache-2.0
"""Which kills of a flood are told in full, and which are not."""

import tracemalloc

import pytest

from oomkilld.record.cause import cause_of
from oomkilld.record.decode import KillRecord
from oomkilld.record.detail import MAX_DOMAINS, WITHIN_NS, Detail
from tests.unit.records import ORIGIN, kill_of

SECOND = 10**9
FROM = 100
KILL = kill_of()
HOST, CPUSET, MEMPOLICY, CGROUP = 0, 1, 2, 3


class Flood:
    """Kills one after the other, on one clock."""

    def __init__(self, reduce_from: int = FROM, remembered: int = 5000) -> None:
        self.detail = Detail(reduce_from, remembered)
        self.now_ns = 5 * SECOND
        self.kills: list[tuple[KillRecord, bool]] = []

    def reduced(self, kill: KillRecord) -> bool:
        return self.detail.reduced(kill, cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes))

    def kill(self, domain: bytes | None = b"/a", after_ns: int = 1000, of: KillRecord = KILL) -> bool:
        self.now_ns += after_ns
        kill = of._replace(kill_boottime_ns=self.now_ns, domain_cgroup=domain)
        reduced = self.reduced(kill)
        self.kills.append((kill, reduced))
        return reduced

    def storm(self, count: int, domain: bytes = b"/a", after_ns: int = 1000) -> list[bool]:
        return [self.kill(domain, after_ns) for _ in range(count)]


def test_from_the_hundredth_kill_within_ten_seconds_on() -> None:
    assert Flood().storm(150) == [False] * 99 + [True] * 51


@pytest.mark.parametrize("reduce_from", [1, 2, 3, 1000])
def test_the_number_can_be_chosen(reduce_from: int) -> None:
    assert Flood(reduce_from).storm(1002) == [False] * (reduce_from - 1) + [True] * (1003 - reduce_from)


def test_none_is_reduced_where_that_is_wanted() -> None:
    assert not any(Flood(0).storm(500))


def test_slower_than_that_is_no_flood() -> None:
    gap_ns = -(-WITHIN_NS // (FROM - 1))
    assert not any(Flood().storm(500, after_ns=gap_ns))
    assert Flood().storm(500, after_ns=gap_ns - 1) == [False] * 99 + [True] * 401


def test_a_flood_that_goes_on_stays_reduced_and_one_that_ended_does_not() -> None:
    flood = Flood()
    assert flood.storm(1000, after_ns=SECOND // 20)[FROM - 1 :] == [True] * 901
    flood.now_ns += WITHIN_NS
    assert flood.storm(FROM) == [False] * 99 + [True]


def test_one_cgroups_storm_takes_no_detail_from_another() -> None:
    flood = Flood()
    for number in range(FROM - 1):
        flood.storm(10, b"/storm")
        assert not flood.kill(b"/storm/below"), number
    assert flood.kill(b"/storm")
    assert flood.kill(b"/storm/below")


@pytest.mark.parametrize("constraint", [HOST, CPUSET, MEMPOLICY])
def test_the_host_and_sets_of_nodes_have_a_budget_each(constraint: int) -> None:
    flood = Flood()
    flood.storm(FROM)
    for other in (HOST, CPUSET, MEMPOLICY):
        if other != constraint:
            for _ in range(FROM):
                flood.kill(None, of=KILL._replace(constraint=other))
    victims = [KILL._replace(constraint=constraint, victim_cgroup=b"/%d" % number) for number in range(FROM)]
    kills = [flood.kill(None, of=victim) for victim in victims]
    assert kills == [False] * 99 + [True]


def test_where_the_domain_is_not_known_each_cgroup_of_victims_has_a_budget() -> None:
    flood = Flood()
    unknown = KILL._replace(constraint=None)
    assert [flood.kill(None, of=unknown) for _ in range(FROM)] == [False] * 99 + [True]
    assert not flood.kill(None, of=unknown._replace(victim_cgroup=b"/other"))


def test_a_process_that_was_spared_counts_for_it_has_an_entry() -> None:
    flood = Flood()
    assert [flood.kill(of=KILL._replace(spared=1)) for _ in range(FROM)] == [False] * 99 + [True]


def test_what_comes_again_is_told_as_before_and_counts_once() -> None:
    flood = Flood()
    for _ in range(30):
        flood.storm(5, b"/a")
        flood.storm(1, b"/b")
        # What journald did not take is rendered again and again.
        kill, reduced = flood.kills[-1]
        assert [flood.reduced(kill) for _ in range(FROM)] == [reduced] * FROM
    assert [flood.reduced(kill) for kill, _reduced in flood.kills] == [reduced for _kill, reduced in flood.kills]
    assert {reduced for _kill, reduced in flood.kills} == {False, True}
    assert not flood.kill(b"/b")


def test_as_many_verdicts_are_kept_as_may_come_again_and_not_many_more() -> None:
    flood = Flood(remembered=300)
    for _ in range(1000):
        flood.storm(1, b"/a")
        flood.storm(1, b"/b", after_ns=SECOND)
        last = flood.kills[-300:]
        assert len(flood.detail._verdicts) <= 600
        kill, reduced = last[0]
        assert flood.reduced(kill) == reduced
    assert [flood.reduced(kill) for kill, _reduced in last] == [reduced for _kill, reduced in last]


def test_of_too_many_domains_the_one_that_was_not_hit_for_longest_begins_anew() -> None:
    flood = Flood()
    flood.storm(FROM, b"/first")
    flood.storm(FROM, b"/second")
    for number in range(MAX_DOMAINS - 2):
        flood.kill(b"/%d" % number)
    assert flood.kill(b"/first")  # and is the newest now
    flood.kill(b"/one more")
    assert len(flood.detail._kills) == MAX_DOMAINS
    assert flood.kill(b"/first")
    assert not flood.kill(b"/second")
    assert len(flood.detail._kills) == MAX_DOMAINS


def test_domains_of_long_ago_are_not_kept() -> None:
    flood = Flood()
    for number in range(200):
        flood.kill(b"/%d" % number)
    flood.kill(b"/last", after_ns=WITHIN_NS)
    assert len(flood.detail._kills) == 1


def test_256_floods_take_a_few_bytes_a_kill_however_long_their_paths() -> None:
    reduce_from = 20
    flood = Flood(reduce_from)
    tracemalloc.start()
    try:
        for nth in range(reduce_from):
            for number in range(MAX_DOMAINS):
                assert flood.kill(b"/" + b"x" * 4_000 + b"%d" % number) == (nth == reduce_from - 1)
        flood.kills.clear()
        taken, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{taken} bytes")
    assert taken < 384 * 1024
