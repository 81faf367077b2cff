# SPDX-License-Identifier: Apache-2.0
"""A victim with threads."""

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, assert_as_the_kernel_says, kills_after


@pytest.mark.matrix("threads")
@pytest.mark.parametrize("level", ["kprobe"], indirect=True)
def test_of_a_victim_with_threads_process_and_thread_are_told_apart(here: live.Moment, level: str) -> None:
    vmstat = live.vmstat_kills()
    with live.cgroup("threads", LIMIT) as where:
        victim = live.kill_one(where, "threads=8")
        (entry,) = kills_after(here, 1, level)
    assert live.vmstat_kills() - vmstat == 1
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    # The last of its threads is the one that eats.
    assert int(entry["OOM_TRIGGER_TID"]) != victim.pid
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)
