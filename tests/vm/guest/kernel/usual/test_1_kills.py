# SPDX-License-Identifier: Apache-2.0
"""The minimum for every kernel at every capture level: one kill, and a group kill."""

import os
from contextlib import ExitStack

import pytest

from tests.support import live
from tests.vm.guest.kills import (
    LIMIT,
    MIB,
    assert_as_the_kernel_says,
    beginning,
    group_kill,
    killed_together,
    kills_after,
)

MEMBERS = 50


@pytest.mark.each_kernel
@pytest.mark.matrix("single kill")
def test_a_single_kill_has_the_facts_of_the_kernels_line(here: live.Moment, level: str) -> None:
    vmstat = live.vmstat_kills()
    with live.cgroup("single", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "name=big eater")
        (entry,) = kills_after(here, 1, level)
    assert live.vmstat_kills() - vmstat == 1
    assert entry["OOM_KERNEL_RELEASE"] == os.uname().release
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    assert entry["OOM_TRIGGER_COMM"] == "big eater"
    assert entry["OOM_TRIGGER_UID"] == "65534"
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)
    assert entry["OOM_DOMAIN"] == "cgroup"
    assert entry["OOM_CONSTRAINT"] == "CONSTRAINT_MEMCG"
    assert entry["OOM_REASON"] == "Memory cgroup out of memory"
    assert int(entry["OOM_ORDER"]) == 0
    if level == "tracepoint":
        return
    assert int(entry["OOM_TOTAL_BYTES"]) == LIMIT
    assert int(entry["OOM_VICTIM_BADNESS"]) > LIMIT // live.PAGE // 2


@pytest.mark.each_kernel
@pytest.mark.matrix("group of 6")
def test_a_group_kill_of_6_is_6_entries_of_one_decision(here: live.Moment, level: str) -> None:
    entries = group_kill(here, level)
    assert len({entry["OOM_KILL_ID"] for entry in entries}) == 6
    assert {line.tid for line in live.kernel_lines(here)} == {int(entry["OOM_VICTIM_TID"]) for entry in entries}
    assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1


@pytest.mark.parametrize("below", [False, True], ids=["of all below the limit", "of one cgroup below the limit"])
def test_a_group_kill_of_50_is_50_entries_of_one_decision(here: live.Moment, level: str, below: bool) -> None:
    """The group is the cgroup whose limit is hit, or one below it: then a process beside it survives."""
    began = beginning()
    name = "one" if below else "all"
    with ExitStack() as stack:
        outer = stack.enter_context(live.cgroup(name, 64 * MIB, group=not below))
        (outer.path / "cgroup.subtree_control").write_text("+memory")
        inner = stack.enter_context(live.cgroup(f"{name}/inner", None, group=below))
        beside = stack.enter_context(live.cgroup(f"{name}/beside", None))
        another = beside.start("sleep")
        members = [inner.start("sleep") for _ in range(MEMBERS - 2 + below)] + [inner.start("hold=4", "eat")]
        if not below:
            members.append(another)
        entries = killed_together(here, level, members, began)
        if below:
            assert another.poll() is None
            another.kill()
            another.wait()
    assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1
    # For the first one, the kernel does not print it.
    assert {entry.get("OOM_GROUP_KILL", level) for entry in entries} <= {"1", "tracepoint"}
    assert {entry["OOM_DOMAIN_CGROUP"].rpartition("/")[2] for entry in entries} == {name}
    assert {entry["OOM_VICTIM_CGROUP"].rpartition("/")[2] for entry in entries} == (
        {"inner"} if below else {"inner", "beside"}
    )
