# SPDX-License-Identifier: Apache-2.0
"""The whole machine stays out of memory, for minutes."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.support import live
from tests.vm.guest.kernel.whole import KILLED_WITHIN, assert_no_parent_is_told_as_a_leaf, promised_time
from tests.vm.guest.kills import kills_after

AT_A_TIME = 3
# Above the rest of the machine, which is smaller, but not above every possible process.
EATER = ("adjust=100", "uid=65534", "name=host eater")
FOR_SECONDS = 300 if "OOMKILLD_TEST_FULL" in os.environ else 50


@pytest.fixture
def in_promised_time(level: str) -> Iterator[None]:
    """At that level, with the promised deadlines."""
    with promised_time():
        assert live.level() == level
        yield


@pytest.mark.parametrize("level", ["kprobe"], indirect=True)
@pytest.mark.usefixtures("swap", "in_promised_time")
def test_it_may_stay_out_of_memory_for_minutes(here: live.Moment, level: str) -> None:
    pid, began, vmstat = live.main_pid(), live.settled_counts(), live.vmstat_kills()
    started = time.monotonic()
    reaped = 0
    with live.cgroup("minutes", None) as where:
        hogs = [where.start(*EATER, "eat") for _ in range(AT_A_TIME)]
        while time.monotonic() - started < FOR_SECONDS:
            # Another process takes the place of each.
            reaped += live.killed(hogs.pop(0), KILLED_WITHIN)
            hogs.append(where.start(*EATER, "eat"))
        reaped += sum(live.killed(hog, KILLED_WITHIN) for hog in hogs)
    lasted = time.monotonic() - started
    entries = kills_after(here, reaped, level)
    counts = live.settled_counts()
    delta = live.vmstat_kills() - vmstat
    live.Books(len(entries), counts.repeats - began.repeats, counts.missing - began.missing, delta, reaped).check()
    print(f"{reaped} kills in {lasted:.0f} s; process {pid} as before")
    assert_no_parent_is_told_as_a_leaf(entries)
    assert counts.missing == began.missing
    assert live.main_pid() == pid
    # The watchdog did not end it either.
    assert live.show("oomkilld", "NRestarts") == "0"
    assert live.show("oomkilld", "Result") == "success"
