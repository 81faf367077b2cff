# SPDX-License-Identifier: Apache-2.0
"""Where the kernel lets nobody look into it, the service reads kills in the kernel log."""

import os
import signal
from pathlib import Path

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, MIB, assert_as_the_kernel_says, group_kill, kills_after

WHY = "the kernel is locked down (confidentiality): nobody can attach kprobes or read its memory"
KMSG = Path("/dev/kmsg")
FORGED = (
    "Memory cgroup out of memory: Killed process 1 (systemd) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, "
    "UID:0 pgtables:1kB oom_score_adj:0\n"
)
# Fields that this level never has.
UNKNOWN = ("OOM_TOTAL_BYTES", "OOM_VICTIM_START_TIMESTAMP", "OOM_VICTIM_BADNESS")


@pytest.mark.matrix("why not better")
def test_it_runs_and_gives_the_reason_against_better_levels(level: str) -> None:
    assert "[confidentiality]" in Path("/sys/kernel/security/lockdown").read_text()
    assert live.show("oomkilld", "StatusText").startswith("Level kmsg: ")
    change = live.service_entries("level")[-1]
    assert (change["OOM_LEVEL_TO"], change["OOM_SOURCE"], change["PRIORITY"]) == (level, level, "4")
    assert change["MESSAGE"].endswith(f" (not kprobe, fentry, tracepoint: {WHY})")
    children = Path(f"/proc/{live.main_pid()}/task/{live.main_pid()}/children").read_text()
    assert children == "", "the compiler's process is left"
    print(f"resident: {live.process_status(live.main_pid(), 'VmRSS')} kB", live.service_journal()[-600:])


@pytest.mark.matrix("single kill")
def test_a_single_kill_has_the_facts_of_the_kernels_line(here: live.Moment, level: str) -> None:
    vmstat = live.vmstat_kills()
    with live.cgroup("single", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "name=big eater")
        (entry,) = kills_after(here, 1, level)
    assert live.vmstat_kills() - vmstat == 1
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)
    assert int(entry["OOM_VICTIM_TID"]) == int(entry["OOM_TRIGGER_TID"]) == victim.pid
    assert entry["OOM_VICTIM_PID"] == entry["OOM_TRIGGER_PID"] == str(victim.pid)
    assert (entry["OOM_DOMAIN_LIMIT_BYTES"], entry["OOM_VICTIM_SWAP_BYTES"]) == (str(LIMIT), "0")
    assert entry["OOM_TRIGGER_COMM"] == "big eater"
    assert (entry["OOM_DOMAIN"], entry["OOM_CONSTRAINT"]) == ("cgroup", "CONSTRAINT_MEMCG")
    path = f"/{where.path.relative_to('/sys/fs/cgroup')}"
    assert entry["OOM_DOMAIN_CGROUP"] == entry["OOM_VICTIM_CGROUP"] == path
    assert entry["OOM_VICTIM_UNIT"] == entry["OBJECT_SYSTEMD_UNIT"] == "oomkilld-tests.service"
    assert (entry["OOM_REASON"], entry["OOM_GFP_MASK"], entry["OOM_ORDER"]) == (
        *("Memory cgroup out of memory", "0xcc0"),
        "0",
    )
    assert [name for name in UNKNOWN if name in entry] == []
    assert entry["MESSAGE"].startswith("Out of memory in ")
    assert "killed process " in entry["MESSAGE"]
    # By printk's clock, which must be converted.
    late = int(entry["__REALTIME_TIMESTAMP"]) - int(entry["OOM_TIMESTAMP"])
    print(entry["MESSAGE"], f"; {late / 1000:.1f} ms from the kill to the journal")
    assert 0 <= late < 5_000_000


@pytest.mark.matrix("group of 6")
def test_a_group_kill_of_6_is_6_entries_of_one_decision(here: live.Moment, level: str) -> None:
    entries = group_kill(here, level)
    assert len({entry["OOM_KILL_ID"] for entry in entries}) == 6
    assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1
    assert sum(entry.get("OOM_GROUP_KILL") == "1" for entry in entries) == 5
    assert len({entry["OOM_DOMAIN_CGROUP"] for entry in entries}) == 1
    assert {entry["OOM_VICTIM_UNIT"] for entry in entries} == {"oomkilld-tests.service"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nPRIORITY=0", "a\\x0aPRIORITY=0"),
        ("x) total-vm:0kB", "x) total-vm:0kB"),
        ("p,pid=1,uid=0", "p,pid=1,uid=0"),
        ("a\\x0ab", "a\\x5cx0ab"),
        (b"\xff" * 15, "\\xff" * 15),
    ],
)
@pytest.mark.matrix("hostile names")
def test_a_kill_is_recorded_whatever_the_name(here: live.Moment, level: str, name: str | bytes, shown: str) -> None:
    with live.cgroup("hostile", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "name=" + os.fsdecode(name))
        (entry,) = kills_after(here, 1, level)
    assert entry["OOM_VICTIM_COMM"] == entry["OOM_TRIGGER_COMM"] == shown
    assert (int(entry["OOM_VICTIM_TID"]), entry["OOM_VICTIM_UID"], entry["PRIORITY"]) == (victim.pid, "65534", "2")
    assert entry["OOM_VICTIM_CGROUP"].endswith("/hostile")
    assert int(entry["OOM_VICTIM_TOTAL_VM_BYTES"]) > LIMIT // 2


@pytest.mark.matrix("forged line")
def test_a_line_that_another_process_wrote_is_no_kill(here: live.Moment, level: str) -> None:
    before = live.settled_counts()
    with KMSG.open("w") as log:
        for prefix in ("", "<3>", "<0>", "<11>"):
            log.write(prefix + FORGED)
            log.flush()
    with live.cgroup("single", LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_TID"]) == victim.pid
    assert live.settled_counts() == before._replace(kills=before.kills + 1)


@pytest.mark.matrix("storm")
def test_a_storm_with_more_kills_than_headers_balances(here: live.Moment, level: str) -> None:
    count = 30
    before, vmstat = live.settled_counts(), live.vmstat_kills()
    with live.cgroup("storm", 4 * MIB) as where:
        victims = {live.kill_one(where).pid for _ in range(count)}
        entries = kills_after(here, count, level)
    assert {int(entry["OOM_VICTIM_TID"]) for entry in entries} == victims
    counts = live.settled_counts()
    delta = live.vmstat_kills() - vmstat
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing - before.missing, delta, count).check()
    print(f"{sum('OOM_DOMAIN' in entry for entry in entries)} of {count} with the cause")


@pytest.mark.matrix("lines lost")
def test_lines_that_the_kernel_has_lost_are_read_from_journalds_copy(here: live.Moment, level: str) -> None:
    before = live.settled_counts()
    ratelimit = Path("/proc/sys/kernel/printk_devkmsg")
    limited = ratelimit.read_text()
    ratelimit.write_text("on\n")
    os.kill(live.main_pid(), signal.SIGSTOP)
    try:
        with live.cgroup("lost", LIMIT) as where:
            victim = live.kill_one(where)
        # However slow the machine is: otherwise journald may lack the line, too.
        live.wait_for("journald to have the line", lambda: live.kernel_lines(here), 60)
        with KMSG.open("w") as log:
            for _ in range(3000):
                log.write("<15>" + "x" * 900 + "\n")
                log.flush()
    finally:
        os.kill(live.main_pid(), signal.SIGCONT)
        ratelimit.write_text(limited)
    entries = live.wait_for("entry", lambda: live.service_entries("kill", here), 60, live.service_journal)
    assert [(int(entry["OOM_VICTIM_TID"]), entry["OOM_SOURCE"]) for entry in entries] == [(victim.pid, level)]
    assert live.service_entries("missed", here) == []
    live.wait_for("status", lambda: live.service_counts() == before._replace(kills=before.kills + 1), 20)
