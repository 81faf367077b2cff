# SPDX-License-Identifier: Apache-2.0
"""What the layer host asserts of restarts and of kills that were not seen: at level kprobe, with systemd 257."""

import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.host.service.daemon import Daemon, Unit, settled
from tests.host.service.test_audit import (
    test_a_probe_that_does_not_see_what_the_kernel_counts_is_noticed_and_set_aside,
    test_kills_while_it_did_not_run_come_from_the_kernels_log_whatever_others_say_of_them,
)
from tests.host.service.test_restart import (
    test_a_leak_ends_only_the_service_which_says_so_and_the_next_run_has_all,
    test_a_restart_in_a_storm_misses_nothing,
    test_a_stop_detaches_the_probe_and_a_setting_that_shapes_it_replaces_it,
    test_kills_while_it_is_down_after_a_crash_are_recorded,
)
from tests.support import live

__all__ = [
    "test_a_leak_ends_only_the_service_which_says_so_and_the_next_run_has_all",
    "test_a_probe_that_does_not_see_what_the_kernel_counts_is_noticed_and_set_aside",
    "test_a_restart_in_a_storm_misses_nothing",
    "test_a_stop_detaches_the_probe_and_a_setting_that_shapes_it_replaces_it",
    "test_kills_while_it_did_not_run_come_from_the_kernels_log_whatever_others_say_of_them",
    "test_kills_while_it_is_down_after_a_crash_are_recorded",
]


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    subprocess.run(["packaging/install"], check=True)
    subprocess.run(["systemctl", "start", "oomkilld"], check=True)
    yield Unit()
    subprocess.run(["systemctl", "stop", "oomkilld"], check=True)


@pytest.fixture(autouse=True)
def at_level_kprobe(daemon: Daemon) -> None:
    assert daemon.status().startswith("Level kprobe: ")


def test_a_clock_that_is_set_back_in_a_storm_makes_no_kill_another(daemon: Daemon) -> None:
    before, vmstat = settled(daemon), live.vmstat_kills()
    boottime_usec = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    subprocess.run(["timedatectl", "set-ntp", "false"], check=False)
    with live.cgroup("clock", 4 << 20) as where:
        for kills in range(30):
            if kills == 15:
                time.clock_settime(time.CLOCK_REALTIME, time.time() - 3600)
            live.kill_one(where)
    counts = settled(daemon)
    time.clock_settime(time.CLOCK_REALTIME, time.time() + 3600)
    ours = ("-b", *daemon.sender, "_UID=0", "OOM_EVENT=kill")
    entries = [entry for entry in live.journal(*ours) if int(entry["OOM_BOOTTIME_TIMESTAMP"]) > boottime_usec]
    assert len({entry["OOM_KILL_ID"] for entry in entries}) == len(entries)
    repeats, missing = counts.repeats - before.repeats, counts.missing - before.missing
    live.Books(len(entries), repeats, missing, live.vmstat_kills() - vmstat, 30).check()
    assert missing == 0
    times = [int(entry["OOM_BOOTTIME_TIMESTAMP"]) for entry in entries]
    assert times == sorted(times)
    walls = [int(entry["OOM_TIMESTAMP"]) for entry in entries]
    assert 3500e6 < max(earlier - later for earlier, later in pairwise(walls)) < 3700e6
