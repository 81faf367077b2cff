# SPDX-License-Identifier: Apache-2.0
"""A victim with threads."""

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, assert_as_the_kernel_says, group_kill, kills_after


@pytest.mark.each_kernel
@pytest.mark.matrix("threads")
@pytest.mark.parametrize("level", ["kprobe"], indirect=True)
def test_process_and_thread_of_a_victim_are_distinct(here: live.Moment, level: str) -> None:
    vmstat = live.vmstat_kills()
    with live.cgroup("threads", LIMIT) as where:
        victim = live.kill_one(where, "threads=8")
        (entry,) = kills_after(here, 1, level)
    assert live.vmstat_kills() - vmstat == 1
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    # The last of its threads takes the memory.
    assert int(entry["OOM_TRIGGER_TID"]) != victim.pid
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line, threads=8)


@pytest.mark.each_kernel
@pytest.mark.matrix("group with threads")
@pytest.mark.parametrize("level", ["kprobe"], indirect=True)
def test_a_group_member_that_is_hit_again_through_another_thread_is_one_entry(level: str) -> None:
    # About one in ten such kills has this repeat: the first thread must be gone before its turn comes.
    for _ in range(15):
        group_kill(live.now(), level, threads=3)
