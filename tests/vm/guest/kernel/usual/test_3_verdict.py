# SPDX-License-Identifier: Apache-2.0
"""The OOM killer's decision: killed or spared, whose limit was hit, and what called it."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomkilld.text import human_bytes
from tests.support import live, pace
from tests.vm.guest.kernel.freezable import asleep, frozen
from tests.vm.guest.kernel.oomlog import reports
from tests.vm.guest.kills import MIB, kills_after

CGROUPS = Path("/sys/fs/cgroup")
MEMBERS, ROUNDS = 50, 6
ROOM = 64 << 10  # for the last process to eat
ALREADY_EXITING = re.compile(r"OOM victim (\d+) \((.*)\) is already exiting")
# The second node has a quarter of the machine's memory.
SECOND_NODE = "node=1"


def spared_by_the_kernels_log(here: live.Moment) -> set[int]:
    messages = (entry["MESSAGE"] for entry in live.journal("_TRANSPORT=kernel", here.after_cursor))
    return {int(found[1]) for message in messages if (found := ALREADY_EXITING.search(message))}


@pytest.mark.each_kernel
def test_in_a_group_half_of_which_is_exiting_others_are_kills_and_the_rest_is_spared(
    here: live.Moment, level: str
) -> None:
    before, vmstat = live.settled_counts(), live.vmstat_kills()
    ended: dict[int, int] = {}
    for _ in range(ROUNDS):
        # All wait for the same pipe to close. Some exit before the kill, some during it, some would have later.
        end, start = os.pipe()
        with live.cgroup("half", 100 * MIB, group=True) as where:
            ends = ["sleep", "exit"] * (MEMBERS // 2 - 1) + ["exit"]
            hogs = [where.start("hold=1", "wait", each, stdin=end) for each in ends]
            hogs.append(where.start("wait", "eat", stdin=end))
            os.close(end)
            in_use = int((where.path / "memory.current").read_text())
            (where.path / "memory.max").write_text(str(in_use + ROOM))
            os.close(start)
            for hog in hogs:
                hog.wait(60 * pace.patience())
            ended |= {hog.pid: hog.returncode for hog in hogs}
    expected = live.vmstat_kills() - vmstat
    entries = live.wait_for("entries", lambda: balanced(here, before, expected), 30, live.service_journal)
    counts = live.settled_counts()
    killed = {int(entry["OOM_VICTIM_TID"]) for entry in entries}
    assert killed == {line.tid for line in live.kernel_lines(here)}
    # The kernel also kills, and counts, processes that ended by themselves but still hold memory.
    reaped = sum(status == -signal.SIGKILL or tid in killed for tid, status in ended.items())
    live.Books(len(entries), counts.repeats - before.repeats, counts.missing - before.missing, expected, reaped).check()
    spared = live.service_entries("spared", here)
    # A process marked without an attempt still has memory sizes. If an attempt found none, the kernel logs that.
    found = {int(entry["OOM_VICTIM_TID"]) for entry in spared if "OOM_VICTIM_TOTAL_VM_BYTES" not in entry}
    logged = spared_by_the_kernels_log(here)
    by_itself = sum(not status for status in ended.values())
    print(f"{len(ended)} processes, {by_itself} ended by themselves, {len(killed)} were killed")
    print(f"{len(spared)} spared, {len(found)} of them without memory; by the kernel's log {len(logged)} of such")
    if level == "tracepoint":
        return
    assert found == logged - killed
    assert all(entry["OOM_GROUP_KILL"] == "1" for entry in entries)
    assert len({entry["OOM_DECISION_ID"] for entry in entries}) == ROUNDS


def balanced(here: live.Moment, before: live.ServiceCounts, expected: int) -> list[live.Entry] | None:
    """The entries, once entries and repeats equal the kernel's count."""
    entries = live.service_entries("kill", here)
    counts = live.service_counts()
    told = counts and len(entries) + counts.repeats - before.repeats == expected
    return entries if told else None


@pytest.mark.each_kernel
def test_a_kill_by_hand_is_marked_as_such(here: live.Moment, level: str) -> None:
    with live.cgroup("by-hand", None) as where:
        victim = where.start("adjust=1000", "hold=8", "sleep")
        Path("/proc/sysrq-trigger").write_text("f")
        assert live.killed(victim)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert entry["OOM_TRIGGER_COMM"].startswith("kworker/")
    assert "OOM_TRIGGER_EXE_NAME" not in entry
    if level == "tracepoint":
        return
    assert entry["OOM_ORDER"] == "-1"
    assert "OOM_ORDER_BYTES" not in entry
    assert entry["OOM_DOMAIN"] == "host"
    assert re.match(
        r"Out of memory on this host \(\d+\.\dM of RAM\), called by hand \(sysrq-f\): killed process ", entry["MESSAGE"]
    )
    assert "asked by" not in entry["MESSAGE"]


@pytest.mark.each_kernel
def test_a_limit_to_a_numa_node_is_a_memory_policy(here: live.Moment, level: str) -> None:
    with live.cgroup("policy", None) as where:
        victim = live.kill_one(where, "adjust=1000", SECOND_NODE, seconds=120)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert_limited_to_a_node(entry, here, level, "mempolicy", "CONSTRAINT_MEMORY_POLICY", "under a memory policy")
    assert "OOM_DOMAIN_CPUSET" not in entry


STUBBORN = "Out of memory and no killable processes..."
ON_TMPFS = Path("/dev/shm/oomkilld-tests")
TIMES = 5


@pytest.fixture
def file_on_tmpfs() -> Iterator[str]:
    """The name of a file that a test may create; it is removed afterwards."""
    yield str(ON_TMPFS)
    ON_TMPFS.unlink(missing_ok=True)


@pytest.mark.each_kernel
@pytest.mark.matrix("nothing to kill")
def test_an_unkillable_decision_is_one_entry(here: live.Moment, level: str, file_on_tmpfs: str) -> None:
    """Not with a process that asks without end: the kernel's messages about it would fill journald."""
    vmstat, counts = live.vmstat_kills(), live.settled_counts()
    with live.cgroup("stubborn", 30 * MIB) as where:
        dd = f"dd if=/dev/zero of={file_on_tmpfs} bs=1M count=8 status=none"
        subprocess.run(["sh", "-c", f"echo $$ >{where.procs}; exec {dd}"], check=True)
        for _ in range(TIMES):
            (where.path / "memory.max").write_text(str(4 * MIB))
        (entry,) = live.wait_for("entry", lambda: live.service_entries("unkillable", here), 30, live.service_journal)
        ON_TMPFS.unlink()
    logged = [entry["MESSAGE"] for entry in live.journal("_TRANSPORT=kernel", here.after_cursor)].count(STUBBORN)
    print(f"{logged} times by the kernel's log, one entry: {entry['MESSAGE']}")
    assert logged == TIMES
    assert (live.vmstat_kills(), live.settled_counts()) == (vmstat, counts)
    assert len(live.service_entries("unkillable", here)) == 1
    assert entry["OOM_REASON"] == STUBBORN.rstrip(".")
    assert not [name for name in entry if name.startswith("OOM_VICTIM_")]
    assert entry["OOM_CONSTRAINT"] == "CONSTRAINT_MEMCG"
    assert entry["OOM_DOMAIN_CGROUP"].endswith("/stubborn")
    assert int(entry["OOM_DOMAIN_LIMIT_BYTES"]) == 4 * MIB
    if level == "tracepoint":  # it comes from the kernel log
        return
    assert entry["OOM_SOURCE"] == level
    assert int(entry["OOM_TOTAL_BYTES"]) == 4 * MIB
    # Each CPU keeps some pages of a count to itself.
    assert abs(int(entry["OOM_AT_KILL_DOMAIN_SHMEM_BYTES"]) - 8 * MIB) <= 8 * MIB / 20
    assert int(entry["OOM_TRIGGER_PID"]) == os.getpid()
    assert entry["OOM_GFP_FLAGS"] == "GFP_KERNEL"


@pytest.mark.each_kernel
def test_the_allocating_task_may_be_chosen_just_for_that(here: live.Moment, level: str) -> None:
    setting = Path("/proc/sys/vm/oom_kill_allocating_task")
    setting.write_text("1")
    try:
        with live.cgroup("allocating", None) as where:
            holder = where.start("adjust=1000", SECOND_NODE, "hold=60", "sleep")
            victim = live.kill_one(where, SECOND_NODE, seconds=120)
            (entry,) = kills_after(here, 1, level)
            assert holder.poll() is None
            holder.kill()
            holder.wait()
    finally:
        setting.write_text("0")
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    if level == "tracepoint":
        return
    assert entry["OOM_REASON"] == "Out of memory (oom_kill_allocating_task)"
    assert "OOM_VICTIM_BADNESS" not in entry
    assert " (oom_kill_allocating_task): killed process" in entry["MESSAGE"]


@contextmanager
def cpuset(where: Path) -> Iterator[None]:
    """The cgroup may use only the memory of the second node."""
    above = [CGROUPS, *(each for each in reversed(where.parents) if CGROUPS in each.parents)]
    for each in above:
        (each / "cgroup.subtree_control").write_text("+cpuset")
    (where / "cpuset.mems").write_text("1")
    try:
        yield
    finally:
        for each in reversed(above):
            subprocess.run(["sh", "-c", f"echo -cpuset >{each}/cgroup.subtree_control"], check=False)


@pytest.mark.each_kernel
def test_a_limit_of_a_cpuset_is_marked_as_such(here: live.Moment, level: str) -> None:
    with live.cgroup("cpuset", None) as where, cpuset(where.path):
        victim = live.kill_one(where, "adjust=1000", seconds=120)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert_limited_to_a_node(entry, here, level, "cpuset", "CONSTRAINT_CPUSET", f"in cpuset {where.path.name}")
    assert entry["OOM_DOMAIN_CPUSET"] == where.path.name


def assert_limited_to_a_node(
    entry: live.Entry, here: live.Moment, level: str, domain: str, constraint: str, where: str
) -> None:
    assert (entry["OOM_DOMAIN"], entry["OOM_CONSTRAINT"]) == (domain, constraint)
    if level == "tracepoint":
        return
    assert "OOM_DOMAIN_CGROUP" not in entry
    (report,) = reports(here)
    assert report.constraint == constraint
    assert report.gfp_flags == entry["OOM_GFP_FLAGS"]
    # The machine has no swap.
    assert int(entry["OOM_TOTAL_PAGES"]) == pages_of_the_second_node()
    size = human_bytes(pages_of_the_second_node() * live.PAGE)
    assert entry["OOM_DOMAIN_NODES"] == "1"
    assert entry["MESSAGE"].startswith(f"Out of memory {where} (node 1, limit {size}): killed process")
    assert "OOM_DOMAIN_LIMIT_BYTES" not in entry


def pages_of_the_second_node() -> int:
    zones = re.split(r"^Node (\d+), zone", Path("/proc/zoneinfo").read_text(), flags=re.MULTILINE)
    texts = [text for node, text in zip(zones[1::2], zones[2::2], strict=True) if node == "1"]
    return sum(int(size) for text in texts for size in re.findall(r"^\s+present\s+(\d+)$", text, re.MULTILINE))


@pytest.mark.each_kernel
def test_a_decision_that_kills_nobody_is_an_entry_of_its_own(here: live.Moment, level: str) -> None:
    vmstat = live.vmstat_kills()
    with live.cgroup("spared", 30 * MIB) as where, frozen() as file:
        exiting = where.start("name=exiting", "hold=20", f"write={file}")
        live.wait_for("sleep", lambda: asleep(exiting), 10)
        exiting.kill()  # it would exit if it could
        eater = live.kill_one(where, "name=eater")
        (kill,) = kills_after(here, 1, level)
        (spared,) = live.wait_for("spared", lambda: live.service_entries("spared", here), 10, live.service_journal)
    exiting.wait(20 * pace.patience())
    assert live.vmstat_kills() - vmstat == 1
    assert int(kill["OOM_VICTIM_PID"]) == eater.pid
    assert int(spared["OOM_VICTIM_PID"]) == exiting.pid
    assert spared["PRIORITY"] == "5"
    assert spared["OOM_VICTIM_CGROUP"] == kill["OOM_VICTIM_CGROUP"]
    # It is not the victim, so the probe reads its facts separately.
    assert int(spared["OOM_TRIGGER_PID"]) == eater.pid
    assert spared["OOM_TRIGGER_CGROUP"] == kill["OOM_VICTIM_CGROUP"]
    assert spared["OOM_TRIGGER_EXE_NAME"] == kill["OOM_VICTIM_EXE_NAME"]
    if level != "tracepoint":
        assert spared["OOM_DECISION_ID"] != kill["OOM_DECISION_ID"]
        assert spared["OOM_DOMAIN_CGROUP"] == spared["OOM_VICTIM_CGROUP"]


@pytest.mark.each_kernel
@pytest.mark.parametrize("hogs", [2])
def test_members_of_a_group_kill_are_marked_as_such(here: live.Moment, level: str, hogs: int) -> None:
    with live.cgroup("members", 30 * MIB, group=True) as where:
        members = [where.start("hold=1", "sleep") for _ in range(hogs - 1)] + [where.start("eat")]
        assert all(live.killed(member) for member in members)
        entries = kills_after(here, hogs, level)
    if level != "tracepoint":
        assert {entry["OOM_GROUP_KILL"] for entry in entries} == {"1"}
