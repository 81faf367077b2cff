# SPDX-License-Identifier: Apache-2.0
"""The least that must be right on every kernel, at every capture level: one kill, and a kill of a group."""

import os

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, assert_as_the_kernel_says, kills_after

# What only the kernel's decision tells: the tracepoint is of the kill alone.
OF_THE_DECISION = {
    *("OOM_DECISION_ID", "OOM_DOMAIN", "OOM_CONSTRAINT", "OOM_GFP_MASK", "OOM_ORDER", "OOM_ORDER_BYTES", "OOM_REASON"),
    *("OOM_TOTAL_PAGES", "OOM_TOTAL_BYTES", "OOM_VICTIM_BADNESS"),
}


@pytest.mark.matrix("single kill")
def test_a_single_kill_is_told_as_the_kernel_tells_it(here: live.Moment, level: str) -> None:
    vmstat = live.vmstat_kills()
    with live.cgroup("single", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "name=big eater")
        (entry,) = kills_after(here, 1)
    assert live.vmstat_kills() - vmstat == 1
    assert entry["OOM_SOURCE"] == level
    assert entry["OOM_KERNEL_RELEASE"] == os.uname().release
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    assert entry["OOM_TRIGGER_COMM"] == "big eater"
    assert entry["OOM_TRIGGER_UID"] == "65534"
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)
    if level == "tracepoint":
        assert OF_THE_DECISION.isdisjoint(entry)
        return
    assert entry["OOM_DOMAIN"] == "cgroup"
    assert entry["OOM_CONSTRAINT"] == "CONSTRAINT_MEMCG"
    assert entry["OOM_REASON"] == "Memory cgroup out of memory"
    assert int(entry["OOM_TOTAL_BYTES"]) == LIMIT
    assert int(entry["OOM_ORDER"]) == 0
    assert int(entry["OOM_VICTIM_BADNESS"]) > LIMIT // live.PAGE // 2


@pytest.mark.matrix("group of 6")
def test_a_group_kill_of_6_is_6_entries_of_one_decision(here: live.Moment, level: str) -> None:
    before = live.settled_counts()
    vmstat = live.vmstat_kills()
    with live.cgroup("group", LIMIT, group=True) as where:
        members = [where.start("hold=1", "sleep") for _ in range(5)]
        members.append(where.start("hold=4", "eat"))
        reaped = sum(live.killed(member) for member in members)
        entries = kills_after(here, 6)
    counts = live.settled_counts()
    delta = live.vmstat_kills() - vmstat
    assert delta == 7
    assert {entry["OOM_SOURCE"] for entry in entries} == {level}
    assert {int(entry["OOM_VICTIM_PID"]) for entry in entries} == {member.pid for member in members}
    assert len({entry["OOM_KILL_ID"] for entry in entries}) == 6
    assert sorted({line.tid for line in live.kernel_lines(here)}) == sorted(member.pid for member in members)
    if level == "tracepoint":
        assert OF_THE_DECISION.isdisjoint(set().union(*entries))
    else:
        assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1
    assert counts.repeats - before.repeats == 1
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing, delta, reaped).check()
