# SPDX-License-Identifier: Apache-2.0
"""The wall clock is set: the identity of a kill does not depend on it."""

import subprocess
import time
from itertools import pairwise

import pytest

from tests.support import live
from tests.vm.guest.kills import MIB, beginning

KILLS = 30


@pytest.mark.usefixtures("level")
def test_a_clock_that_is_set_back_in_a_storm_changes_no_id() -> None:
    began = beginning()
    boottime_usec = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    subprocess.run(["timedatectl", "set-ntp", "false"], check=False)
    with live.cgroup("clock", 4 * MIB) as where:
        for kill in range(KILLS):
            if kill == KILLS // 2:
                time.clock_settime(time.CLOCK_REALTIME, time.time() - 3600)
            live.kill_one(where)
    counts = live.settled_counts()
    time.clock_settime(time.CLOCK_REALTIME, time.time() + 3600)
    ours = ("-b", "-u", "oomkilld", "_UID=0", "OOM_EVENT=kill")
    entries = [entry for entry in live.journal(*ours) if int(entry["OOM_BOOTTIME_TIMESTAMP"]) > boottime_usec]
    assert len({entry["OOM_KILL_ID"] for entry in entries}) == len(entries)
    repeats, missing = counts.repeats - began.counts.repeats, counts.missing - began.counts.missing
    live.Books(len(entries), repeats, missing, live.vmstat_kills() - began.vmstat, KILLS).check()
    assert missing == 0
    times = [int(entry["OOM_BOOTTIME_TIMESTAMP"]) for entry in entries]
    assert times == sorted(times)
    walls = [int(entry["OOM_TIMESTAMP"]) for entry in entries]
    assert 3500e6 < max(earlier - later for earlier, later in pairwise(walls)) < 3700e6
