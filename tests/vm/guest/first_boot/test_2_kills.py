# SPDX-License-Identifier: Apache-2.0
"""Kills by the kernel, each compared with what the test, the kernel log and vmstat know about it."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from oomkilld import schema
from oomkilld.record.enrich.rows import COMMON_MEMINFO
from tests.support import live
from tests.vm.guest.conftest import State
from tests.vm.guest.kills import LIMIT, MIB, SECONDS, assert_as_the_kernel_says, kills_after
from tests.vm.guest.readings import assert_sampled_among, loads, watching_proc
from tests.vm.guest.service import SETTINGS, file, run, service_restored


@pytest.mark.matrix("single kill")
def test_a_kill_is_exactly_one_entry_with_the_facts(here: live.Moment, state: State) -> None:
    # The load averages must differ from those at the service's start.
    old = loads()
    live.wait_for("other load averages", lambda: loads() != old, 30)
    vmstat = live.vmstat_kills()
    with live.cgroup("single", LIMIT) as where, watching_proc() as readings:
        victim = live.kill_one(where, "uid=65534", "name=big eater")
        (entry,) = kills_after(here, 1)
    assert live.vmstat_kills() - vmstat == 1
    assert entry["OOM_EVENT"] == "kill"
    assert entry["OOM_SOURCE"] == "kprobe"
    assert entry["PRIORITY"] == "2"
    assert entry["_SYSTEMD_UNIT"] == "oomkilld.service"
    assert entry["MESSAGE_ID"] == schema.MESSAGE_ID_KILL
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    assert entry["OOM_VICTIM_COMM"] == entry["OOM_TRIGGER_COMM"] == "big eater"
    assert entry["OOM_VICTIM_UID"] == entry["OOM_TRIGGER_UID"] == "65534"
    assert int(entry["OOM_TOTAL_PAGES"]) == LIMIT // live.PAGE
    assert int(entry["OOM_TOTAL_BYTES"]) == LIMIT
    assert entry["OOM_DOMAIN"] == "cgroup"
    assert entry["OOM_CONSTRAINT"] == "CONSTRAINT_MEMCG"
    assert entry["OOM_REASON"] == "Memory cgroup out of memory"
    assert int(entry["OOM_ORDER"]) == 0
    assert int(entry["OOM_VICTIM_BADNESS"]) > LIMIT // live.PAGE // 2
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)
    assert_sampled_among(entry, readings, COMMON_MEMINFO)
    assert abs(int(entry["OOM_TIMESTAMP"]) - int(entry["__REALTIME_TIMESTAMP"])) < SECONDS * 1e6
    assert re.fullmatch(
        r"Out of memory in cgroup '/system\.slice/oomkilld-tests\.service/single' \(limit 30\.0M\): "
        rf"killed process {victim.pid} \('big eater'\), (2\d|30)\.\dM resident; "
        rf"asked by {victim.pid} \('big eater'\); load \d+\.\d\d \d+\.\d\d \d+\.\d\d",
        entry["MESSAGE"],
    )
    print(json.dumps({key: value for key, value in entry.items() if not key.startswith("__")}))
    state.keep(first_kill=entry["OOM_KILL_ID"])


def test_trigger_and_victim_are_distinct(here: live.Moment) -> None:
    with live.cgroup("apart", LIMIT) as where:
        victim = where.start("uid=65534", "name=holder", "hold=20", "sleep")
        trigger = where.start("uid=65533", "name=asker", "eat")
        assert live.killed(victim)
        trigger.kill()
        trigger.wait()
        (entry, *_rest) = live.wait_for("entry", lambda: live.service_entries("kill", here), SECONDS)
    assert (int(entry["OOM_VICTIM_PID"]), entry["OOM_VICTIM_COMM"], entry["OOM_VICTIM_UID"]) == (
        victim.pid,
        "holder",
        "65534",
    )
    assert (int(entry["OOM_TRIGGER_PID"]), entry["OOM_TRIGGER_COMM"], entry["OOM_TRIGGER_UID"]) == (
        trigger.pid,
        "asker",
        "65533",
    )
    assert f"killed process {victim.pid} (holder)" in entry["MESSAGE"]
    assert f"asked by {trigger.pid} (asker)" in entry["MESSAGE"]


@pytest.mark.matrix("threads")
def test_process_and_thread_of_a_victim_are_distinct(here: live.Moment) -> None:
    with live.cgroup("threads", LIMIT) as where:
        victim = live.kill_one(where, "threads=8")
        (entry,) = kills_after(here, 1)
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    # The last of its threads takes the memory.
    assert int(entry["OOM_TRIGGER_TID"]) != victim.pid
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)


def test_a_victim_whose_first_thread_has_exited_is_one_entry_of_the_process(here: live.Moment) -> None:
    with live.cgroup("leaderless", LIMIT) as where:
        for _attempt in range(10):
            victim = where.start("threads=2", "leave")
            if live.killed(victim):
                break
        (entry,) = kills_after(here, 1)
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    assert int(entry["OOM_VICTIM_TID"]) != victim.pid
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)


@pytest.mark.matrix("group of 6")
def test_a_group_kill_is_one_entry_per_process_and_one_decision(here: live.Moment) -> None:
    before = live.settled_counts()
    vmstat = live.vmstat_kills()
    with live.cgroup("group", LIMIT, group=True) as where:
        members = [where.start("hold=1", "sleep") for _ in range(5)]
        members.append(where.start("hold=4", "eat"))
        reaped = sum(live.killed(member) for member in members)
        entries = kills_after(here, 6)
    counts = live.settled_counts()
    assert counts.kills == before.kills + 6
    assert {int(entry["OOM_VICTIM_PID"]) for entry in entries} == {member.pid for member in members}
    assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1
    assert len({entry["OOM_KILL_ID"] for entry in entries}) == 6
    assert [entry["OOM_VICTIM_PID"] for entry in entries if "OOM_VICTIM_BADNESS" in entry] == [str(members[-1].pid)]
    assert counts.repeats - before.repeats == 1
    delta = live.vmstat_kills() - vmstat
    assert delta == 7
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing - before.missing, delta, reaped).check()


@pytest.mark.parametrize("count", [1000 if "OOMKILLD_TEST_FULL" in os.environ else 200])
def test_many_kills_balance_the_books_with_nothing_missing(here: live.Moment, count: int) -> None:
    before = live.settled_counts()
    vmstat = live.vmstat_kills()
    resident = live.process_status(live.main_pid(), "VmRSS")
    started = time.monotonic()
    with live.cgroup("many", 4 * MIB) as where:
        for _ in range(count):
            live.kill_one(where)
    print(f"{count / (time.monotonic() - started):.1f} kills/s")
    entries = kills_after(here, count)
    counts = live.settled_counts()
    assert counts.kills == before.kills + count
    assert counts.missing == before.missing
    delta = live.vmstat_kills() - vmstat
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing - before.missing, delta, count).check()
    after = live.process_status(live.main_pid(), "VmRSS")
    print(f"resident: {resident} kB before, {after} kB after")
    assert after <= 16 * 1024


@pytest.fixture
def _told_in_full() -> Iterator[None]:
    """Also for a flood."""
    with service_restored(), file(SETTINGS, "[entry]\nreduce_from = 0\n"):
        run("systemctl", "restart", "oomkilld")
        yield


@pytest.mark.parametrize("seconds", [100 if "OOMKILLD_TEST_FULL" in os.environ else 10])
@pytest.mark.usefixtures("_told_in_full")
def test_processes_that_live_for_milliseconds_have_every_fact(here: live.Moment, seconds: int) -> None:
    before, vmstat = live.settled_counts(), live.vmstat_kills()
    with live.cgroup("short", 4 * MIB) as where:
        words = [os.environ["OOMKILLD_TEST_HOG"], str(where.procs), f"storm={seconds}"]
        reaped = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    delta = live.vmstat_kills() - vmstat
    entries = kills_after(here, delta)
    counts = live.settled_counts()
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing - before.missing, delta, reaped).check()
    ages = sorted(int(entry["OOM_VICTIM_AGE_USEC"]) for entry in entries)
    print(f"{len(entries)} kills; lived: median {ages[len(ages) // 2] / 1000:.1f} ms, emulated")
    names = ("PID", "COMM", "UID", "CGROUP", "EXE_NAME", "RSS_BYTES", "TOTAL_VM_BYTES", "PGTABLES_BYTES")
    told = {f"OOM_VICTIM_{name}" for name in names}
    assert [entry["MESSAGE"] for entry in entries if not told <= entry.keys()] == []


def test_journalctl_x_explains_the_entry(here: live.Moment) -> None:
    with live.cgroup("explained", LIMIT) as where:
        victim = live.kill_one(where)
        kills_after(here, 1)
    shown = subprocess.run(
        ["journalctl", "-x", "-u", "oomkilld", "OOM_EVENT=kill", here.after_cursor, "--no-pager"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert f"killed process {victim.pid} (hog" in shown
    assert "\n░░ Subject: The kernel killed a process: out of memory\n" in shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nPRIORITY=0", "a\\x0aPRIORITY=0"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("x) total-vm:0kB", "x) total-vm:0kB"),
        ("p,pid=1,uid=0", "p,pid=1,uid=0"),
        ("\u202egnp.exe", "\\xe2\\x80\\xaegnp.exe"),
        ("back\\slash", "back\\x5cslash"),
        ("", ""),
    ],
)
def test_a_hostile_name_is_one_field_and_changes_no_other(here: live.Moment, name: str, shown: str) -> None:
    with live.cgroup("hostile", LIMIT) as where:
        live.kill_one(where, f"name={name}")
        (entry,) = kills_after(here, 1)
    assert entry["OOM_VICTIM_COMM"] == shown
    assert entry["PRIORITY"] == "2"
    assert f"('{shown}')" in entry["MESSAGE"]
