# SPDX-License-Identifier: Apache-2.0
"""As many kills as this machine makes: none may be missing, and the service may not grow."""

import os
import subprocess
from contextlib import ExitStack

import pytest

from tests.host.service.daemon import Daemon, kills, settled
from tests.support import live

MIB = 1 << 20
CGROUPS = 4
FULL = "OOMKILLD_TEST_FULL" in os.environ


@pytest.mark.parametrize("seconds", [60 if FULL else 10])
def test_in_a_storm_the_books_balance_and_the_service_does_not_grow(daemon: Daemon, seconds: int) -> None:
    storm(1)  # what it needs for a storm, it has from then on
    here = live.now()
    before, vmstat = settled(daemon), live.vmstat_kills()
    resident = live.process_status(daemon.pid(), "VmRSS")
    reaped = storm(seconds)
    delta = live.vmstat_kills() - vmstat
    live.wait_for("all entries", lambda: len(kills(daemon, here)) >= delta, 60, daemon.status)
    counts = settled(daemon)
    after = live.process_status(daemon.pid(), "VmRSS")
    rate = reaped / seconds
    print(f"{rate:.0f} kills/s; resident: {resident} kB before, {after} kB after")
    entries = kills(daemon, here)
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing - before.missing, delta, reaped).check()
    assert counts.missing == before.missing
    assert after - resident <= 1024
    assert after <= 16 * 1024
    assert_told_in_full(entries)
    if FULL:
        assert rate >= 300


def assert_told_in_full(entries: list[live.Entry]) -> None:
    """However short they lived: this kernel's part told it at the kill."""
    ages = sorted(int(entry["OOM_VICTIM_AGE_USEC"]) for entry in entries)
    short = sum(age < 10_000 for age in ages)
    print(f"lived: median {ages[len(ages) // 2] / 1000:.1f} ms, {short} of {len(ages)} less than 10 ms")
    told = {f"OOM_VICTIM_{name}" for name in ("PID", "COMM", "UID", "CGROUP", "EXE_NAME", "TOTAL_VM_BYTES")}
    assert [entry["MESSAGE"] for entry in entries if not told <= entry.keys()] == []
    assert {entry["OOM_VICTIM_CGROUP"].rpartition("/")[2] for entry in entries} == {
        f"storm-{number}" for number in range(CGROUPS)
    }
    if FULL:
        assert short >= 1000


def storm(seconds: int) -> int:
    """How many were killed, in cgroups of 4 MiB at the same time."""
    with ExitStack() as stack:
        groups = [stack.enter_context(live.cgroup(f"storm-{number}", 4 * MIB)) for number in range(CGROUPS)]
        hog = os.environ["OOMKILLD_TEST_HOG"]
        storms = [
            subprocess.Popen([hog, group.procs, f"storm={seconds}"], stdout=subprocess.PIPE, text=True)
            for group in groups
        ]
        outputs = [each.communicate(timeout=seconds + 30)[0] for each in storms]
    assert [each.returncode for each in storms] == [0] * CGROUPS
    return sum(map(int, outputs))
