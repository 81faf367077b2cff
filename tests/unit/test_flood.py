# SPDX-License-Identifier: Apache-2.0
"""Which kills of a flood get a full entry, and which a reduced one."""

import tracemalloc

import pytest

from oomkilld.record.enrich.cause import cause_of
from oomkilld.record.enrich.flood import FLOODS, MAX_OWNERS, WITHIN_NS, Detail
from oomkilld.record.kill import KillRecord
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

    def kill(self, domain: bytes | None = b"/a.service", after_ns: int = 1000, of: KillRecord = KILL) -> bool:
        self.now_ns += after_ns
        kill = of._replace(kill_boottime_ns=self.now_ns, domain_cgroup=domain)
        reduced = self.reduced(kill)
        self.kills.append((kill, reduced))
        return reduced

    def storm(self, count: int, domain: bytes = b"/a.service", after_ns: int = 1000) -> list[bool]:
        return [self.kill(domain, after_ns) for _ in range(count)]


def test_entries_are_reduced_from_the_hundredth_kill_within_ten_seconds_on() -> None:
    assert Flood().storm(150) == [False] * 99 + [True] * 51


@pytest.mark.parametrize("reduce_from", [1, 2, 3, 1000])
def test_the_number_can_be_chosen(reduce_from: int) -> None:
    assert Flood(reduce_from).storm(1002) == [False] * (reduce_from - 1) + [True] * (1003 - reduce_from)


def test_zero_reduces_nothing() -> None:
    assert not any(Flood(0).storm(500))


def test_slower_kills_are_no_flood() -> None:
    gap_ns = -(-WITHIN_NS // (FROM - 1))
    assert not any(Flood().storm(500, after_ns=gap_ns))
    assert Flood().storm(500, after_ns=gap_ns - 1) == [False] * 99 + [True] * 401


def test_a_flood_that_continues_stays_reduced_and_one_that_ended_does_not() -> None:
    flood = Flood()
    assert flood.storm(1000, after_ns=SECOND // 20)[FROM - 1 :] == [True] * 901
    flood.now_ns += WITHIN_NS
    assert flood.storm(FROM) == [False] * 99 + [True]


def test_a_flood_of_one_owner_reduces_no_entry_of_another() -> None:
    flood = Flood()
    for number in range(FROM - 1):
        flood.storm(10, b"/user.slice/user-1000.slice")
        assert not flood.kill(b"/user.slice/user-1001.slice/session-1.scope"), number
        assert not flood.kill(b"/system.slice/a.service"), number
    assert flood.kill(b"/user.slice/user-1000.slice")
    assert flood.kill(b"/user.slice/user-1001.slice/session-1.scope")
    assert flood.kill(b"/system.slice/a.service")


USER_1000 = b"/user.slice/user-1000.slice"
DEEP = b"/" + b"/".join([b"\xff" * 250] * 6)


@pytest.mark.parametrize("cgroups", [40, 200, 4000])
@pytest.mark.parametrize(
    "below",
    [
        USER_1000 + b"/user@1000.service/app.slice/run-%d.scope",
        USER_1000 + b"/user@1000.service/docker-" + b"ab" * 30 + b"%04x.scope",
        USER_1000 + b"/user@1000.service/kubepods/pod" + b"0" * 28 + b"%04x/x",
        USER_1000 + b"/session-%d.scope/x",
        b"/system.slice/ci.service/system.slice/%d.service",
        b"/docker/" + b"ab" * 32 + b"/docker/%d",
        b"/kubepods/pod" + b"0" * 32 + b"/" + b"ab" * 30 + b"%04x",
        b"/actions/%d",
    ],
    ids=["units", "containers", "pods", "sessions", "delegated", "in a container", "in a pod", "by hand"],
)
def test_a_flood_from_many_cgroups_has_one_share(below: bytes, cgroups: int) -> None:
    flood = Flood()
    full = others = 0
    for number in range(4000):
        full += not flood.kill(below % (number % cgroups) + DEEP)
        if number % 200 == 0:
            others += not flood.kill(b"/user.slice/user-1001.slice/user@1001.service/app.slice/editor.service")
    assert (full, others) == (FROM - 1, 20)


def test_a_slice_that_many_share_counts_for_the_victims_owner() -> None:
    flood = Flood()
    of_one, of_other = (KILL._replace(victim_cgroup=b"/user.slice/user-%d.slice/x" % uid) for uid in (1000, 1001))
    assert [flood.kill(b"/user.slice", of=of_one) for _ in range(FROM)] == [False] * 99 + [True]
    assert not flood.kill(b"/user.slice", of=of_other)
    # But if the domain belongs to one owner, the kill counts for that owner.
    assert not flood.kill(b"/system.slice/a.service", of=of_one)


@pytest.mark.parametrize("constraint", [HOST, CPUSET, MEMPOLICY, None])
def test_without_a_cgroup_limit_each_victims_owner_has_a_budget(constraint: int | None) -> None:
    flood = Flood()

    def killed(victim: bytes | None) -> bool:
        return flood.kill(None, of=KILL._replace(constraint=constraint, victim_cgroup=victim))

    assert [killed(b"/system.slice/a.service/%d" % number) for number in range(FROM)] == [False] * 99 + [True]
    assert not killed(b"/system.slice/b.service")
    assert [killed(None) for _ in range(FROM)] == [False] * 99 + [True]
    assert not killed(b"/system.slice/b.service")


def test_of_many_floods_the_largest_is_reduced_first() -> None:
    flood = Flood()
    full: dict[int, int] = {}
    quiet = 0
    floods = 50
    for number in range(100):
        for each in range(floods):
            full[each] = full.get(each, 0) + (not flood.kill(b"/%d.service" % each))
        if number % 5 == 0:
            quiet += not flood.kill(b"/quiet.service")
    print(f"{sum(full.values())} of {floods * 100} in full")
    assert sum(full.values()) <= FLOODS * FROM + floods
    assert max(full.values()) - min(full.values()) <= 1
    # Its 20 are more than an even share of 400 among 51 owners.
    assert quiet >= FLOODS * FROM // (floods + 1)


def test_a_few_kills_beside_several_floods_stay_full() -> None:
    flood = Flood()
    quiet = 0
    for number in range(1000):
        for each in range(10):
            flood.kill(b"/%d.service" % each)
        if number % 50 == 0:
            quiet += not flood.kill(b"/quiet.service")
    assert quiet == 20


def test_a_spared_process_counts_because_it_gets_an_entry() -> None:
    flood = Flood()
    assert [flood.kill(of=KILL._replace(spared=1)) for _ in range(FROM)] == [False] * 99 + [True]


def test_a_repeated_kill_keeps_its_detail_and_counts_once() -> None:
    flood = Flood()
    for _ in range(30):
        flood.storm(5, b"/a.service")
        flood.storm(1, b"/b.service")
        # An entry that journald refused is rendered again and again.
        kill, reduced = flood.kills[-1]
        assert [flood.reduced(kill) for _ in range(FROM)] == [reduced] * FROM
    assert [flood.reduced(kill) for kill, _reduced in flood.kills] == [reduced for _kill, reduced in flood.kills]
    assert {reduced for _kill, reduced in flood.kills} == {False, True}
    assert not flood.kill(b"/b.service")


def test_verdicts_are_remembered_as_long_as_a_kill_may_come_again_and_not_much_longer() -> None:
    flood = Flood(remembered=300)
    for _ in range(1000):
        flood.storm(1, b"/a.service")
        flood.storm(1, b"/b.service", after_ns=SECOND)
        last = flood.kills[-300:]
        assert len(flood.detail._verdicts) <= 600
        kill, reduced = last[0]
        assert flood.reduced(kill) == reduced
    assert [flood.reduced(kill) for kill, _reduced in last] == [reduced for _kill, reduced in last]


def test_owners_beyond_the_limit_are_counted_together() -> None:
    flood = Flood()
    for number in range(MAX_OWNERS):
        flood.kill(b"/%d.service" % number)
    reduced = [flood.kill(b"/more-%d.service" % number) for number in range(FROM)]
    assert reduced[-1]
    assert not reduced[0]
    assert len(flood.detail._kills) == MAX_OWNERS + 1
    flood.now_ns += WITHIN_NS
    assert not flood.kill(b"/more-0.service")
    assert len(flood.detail._kills) == 1


def test_256_floods_take_a_few_bytes_per_kill_however_long_their_paths() -> None:
    reduce_from = 20
    flood = Flood(reduce_from)
    tracemalloc.start()
    try:
        for _ in range(reduce_from):
            for number in range(MAX_OWNERS):
                flood.kill(b"/" + b"x" * 200 + b"%d.service/" % number + b"x" * 4_000)
        flood.kills.clear()
        taken, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{taken} bytes")
    assert taken < 384 * 1024
