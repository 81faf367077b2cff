# SPDX-License-Identifier: Apache-2.0
"""The whole machine stays out of memory, for minutes."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import live
from tests.vm.guest.kernel.whole import KILLED_WITHIN, assert_no_parent_is_told_as_a_leaf, promised_time
from tests.vm.guest.kills import kills_after
from tests.vm.guest.service import drop_in, run, said_about_the_program, service_restored

AT_A_TIME = 3
# Above the rest of the machine, which is smaller, but not above every possible process.
EATER = ("adjust=100", "uid=65534", "name=host eater")
# Ten times the promise: the emulated machine reads every page of every program from disk again.
BACK_WITHIN_SECONDS = 10 * 10
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


@pytest.mark.only_in_full
@pytest.mark.parametrize("level", ["kprobe"], indirect=True)
@pytest.mark.usefixtures("swap", "level")
def test_when_it_lost_everything_it_is_back_within_seconds_without_the_compiler(here: live.Moment) -> None:
    enough = threading.Event()

    def eat(where: live.Cgroup) -> int:
        reaped = 0
        while not enough.is_set():
            reaped += live.killed(where.start(*EATER, "eat"), KILLED_WITHIN)
        return reaped

    with service_restored(), drop_in("FileDescriptorStoreMax=0"):
        run("systemctl", "stop", "oomkilld")
        run("systemctl", "start", "oomkilld")
        began, vmstat = live.settled_counts(), live.vmstat_kills()
        with live.cgroup("minutes", None) as where, ThreadPoolExecutor(AT_A_TIME) as pool:
            try:
                eaters = [pool.submit(eat, where) for _ in range(AT_A_TIME)]
                live.wait_for("kills", lambda: live.vmstat_kills() >= vmstat + AT_A_TIME, KILLED_WITHIN)
                pid, crashed, killed = live.main_pid(), time.monotonic(), live.vmstat_kills()
                os.kill(pid, signal.SIGKILL)
                live.wait_for("another run", lambda: is_another(pid), KILLED_WITHIN, live.service_journal)
                seconds, meanwhile = time.monotonic() - crashed, live.vmstat_kills() - killed
                live.wait_for("more", lambda: live.vmstat_kills() > killed + meanwhile, KILLED_WITHIN)
            finally:
                enough.set()
        reaped = sum(eater.result() for eater in eaters)
        found = live.wait_for("all entries", lambda: all_of(reaped, here), 60, live.service_journal)
        counts, delta = live.settled_counts(), live.vmstat_kills() - vmstat
    print(f"back after {seconds:.1f} s, {meanwhile} kills in them; entries from {sorted(found)}")
    live.Books(len(found), counts.repeats - began.repeats, counts.missing - began.missing, delta, reaped).check()
    assert counts.missing == began.missing
    assert said_about_the_program(here)[-1] == "attached the kept program, without compiling it"
    assert seconds <= BACK_WITHIN_SECONDS


def is_another(pid: int) -> bool:
    return live.main_pid() not in (0, pid) and live.show("oomkilld", "ActiveState") == "active"


def all_of(number: int, here: live.Moment) -> list[str] | None:
    """The sources of the entries, once there are so many."""
    sources = [str(entry["OOM_SOURCE"]) for entry in live.service_entries("kill", here)]
    return sources if len(sources) >= number else None
