# SPDX-License-Identifier: Apache-2.0
"""An entry also has what the kernel prints about the kill, at levels that see the kill elsewhere."""

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from oomkilld.record.kernlog.kmsg import DevKmsg
from oomkilld.testkill import mounts
from tests.host.service.daemon import (
    KMSG,
    RATELIMIT,
    Daemon,
    assert_balanced,
    beginning,
    kills_after,
    overwrite_the_log,
)
from tests.support import live
from tests.support.stalls import Stalls

MIB = 1 << 20
# The kernel prints ten headers within five seconds, by its own ticks.
HEADERS, WITHIN_SECONDS = 10, 5.1
# The wait for a line, plus 150 ms.
IN_TIME_SECONDS = 0.25
KILLS = 200 if "OOMKILLD_TEST_FULL" in os.environ else 20
INVOKED = re.compile(r"(.*) invoked oom-killer: gfp_mask=(0x[0-9a-f]+)\(.*\), order=(-?\d+), oom_score_adj=-?\d+")
USAGE = re.compile(r"memory: usage (\d+)kB, limit (\d+)kB, failcnt \d+")
CHOSEN = re.compile(
    r"oom-kill:constraint=(\w+),nodemask=.*,cpuset=.*,oom_memcg=(.*),task_memcg=(.*),task=.*,pid=\d+,uid=\d+"
)

TASK = re.compile(r"\[ *\d+\] +\d+ +(\d+) +\d+ +(\d+) +(?:\d+ +\d+ +\d+ +)?(\d+) +(\d+) +(-?\d+) (.*)")


class Printed(NamedTuple):
    """The kernel's lines about one kill."""

    invoked: re.Match[str] | None
    usage: re.Match[str] | None
    chosen: re.Match[str] | None
    tasks: list[re.Match[str]]
    reason: str
    killed: live.KernelLine


@contextmanager
def kernels_log() -> Iterator[DevKmsg]:
    fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield DevKmsg(fd)
    finally:
        os.close(fd)


def printed(log: DevKmsg) -> list[Printed]:
    """The lines of each kill so far."""
    found = []
    invoked = usage = chosen = None
    tasks: list[re.Match[str]] = []
    while line := log.read():
        text = line.text.decode()
        invoked = INVOKED.fullmatch(text) or invoked
        usage = USAGE.fullmatch(text) or usage
        chosen = CHOSEN.fullmatch(text) or chosen
        tasks += [task] if (task := TASK.fullmatch(text)) else []
        if killed := live.kernel_line(text):
            found.append(Printed(invoked, usage, chosen, tasks, text.partition(": Killed")[0], killed))
            invoked = usage = chosen = None
            tasks = []
    return found


def pause(began: float) -> None:
    """Wait until the kernel prints headers again."""
    live.wait_for("time for headers", lambda: time.monotonic() - began > WITHIN_SECONDS, 10)


def assert_told(entry: live.Entry, line: Printed) -> None:
    """The entry has everything that the kernel printed."""
    killed = line.killed
    told: dict[str, int | str | None] = {
        "OOM_VICTIM_TOTAL_VM_BYTES": killed.total_vm,
        "OOM_VICTIM_RSS_ANON_BYTES": killed.anon,
        "OOM_VICTIM_RSS_FILE_BYTES": killed.file,
        "OOM_VICTIM_RSS_SHMEM_BYTES": killed.shmem,
        "OOM_VICTIM_RSS_BYTES": killed.anon + killed.file + killed.shmem,
        "OOM_VICTIM_PGTABLES_BYTES": killed.pgtables,
        "OOM_VICTIM_OOM_SCORE_ADJ": killed.oom_score_adj,
        "OOM_VICTIM_COMM": killed.comm,
        "OOM_REASON": line.reason,
    }
    if line.invoked and line.chosen and line.usage:
        told |= {
            "OOM_TRIGGER_COMM": line.invoked[1],
            "OOM_GFP_MASK": line.invoked[2],
            "OOM_ORDER": line.invoked[3],
            "OOM_DOMAIN": "cgroup",
            "OOM_CONSTRAINT": line.chosen[1],
            "OOM_DOMAIN_CGROUP": line.chosen[2],
            "OOM_VICTIM_CGROUP": line.chosen[3],
            "OOM_DOMAIN_USAGE_BYTES": int(line.usage[1]) << 10,
            "OOM_DOMAIN_LIMIT_BYTES": int(line.usage[2]) << 10,
        }
        (task,) = line.tasks
        pid, resident, page_tables, swapped, adj, comm = task.groups()
        size = (int(resident) + int(swapped)) * live.PAGE + int(page_tables)
        told |= {
            "OOM_CANDIDATES": 1,
            "OOM_CANDIDATES_EXEMPT": 0,
            "OOM_CANDIDATES_BYTES": size,
            "OOM_CANDIDATE_1_PID": pid,
            "OOM_CANDIDATE_1_COMM": comm,
            "OOM_CANDIDATE_1_BYTES": size,
            "OOM_CANDIDATE_1_OOM_SCORE_ADJ": adj,
        }
    else:
        told |= dict.fromkeys(("OOM_GFP_MASK", "OOM_ORDER", "OOM_DOMAIN_CGROUP", "OOM_DOMAIN_LIMIT_BYTES"))
        told |= dict.fromkeys(("OOM_CANDIDATES", "OOM_CANDIDATE_1_PID"))
    expected = {name: None if value is None else str(value) for name, value in told.items()}
    assert {name: entry.get(name) for name in told} == expected


def assert_in_time(entries: list[live.Entry], stalls: Stalls) -> None:
    spans = [(int(entry["OOM_TIMESTAMP"]) / 1e6, int(entry["__REALTIME_TIMESTAMP"]) / 1e6) for entry in entries]
    late = sorted(end - start for start, end in spans)
    last = max(end - start - stalls.within(start, end) for start, end in spans)
    median = late[len(late) // 2]
    print(f"median {1000 * median:.1f} ms, last {1000 * late[-1]:.1f} ms, {1000 * last:.1f} ms while it ran")
    assert last <= IN_TIME_SECONDS


def seen_at_the_decision(daemon: Daemon) -> tuple[bool, bool]:
    """Whether the probe sees the reason and the order, so that they do not depend on the log."""
    return ("Level tracepoint" not in daemon.status(),) * 2


def test_each_entry_has_everything_that_the_kernel_prints(daemon: Daemon, here: live.Moment) -> None:
    began = beginning(daemon)
    lines: list[Printed] = []
    with Stalls() as stalls, kernels_log() as log:
        pause(time.monotonic())  # other tests used up headers
        for burst in range(0, KILLS, HEADERS):
            burst_began = time.monotonic()
            for number in range(burst, burst + HEADERS):
                with live.cgroup(f"told-{number}", (4 + number % 7) * MIB) as where:
                    live.kill_one(where, f"name=told {number}")
            lines += printed(log)  # the log has no room for all of them
            if burst + HEADERS < KILLS:
                pause(burst_began)
        entries = kills_after(daemon, here, KILLS)
    assert_balanced(daemon, began, len(entries), KILLS)
    assert [line.killed.comm for line in lines] == [f"told {number}" for number in range(KILLS)]
    assert all(line.invoked and line.usage and line.chosen for line in lines)
    for entry, line in zip(entries, lines, strict=True):
        assert_told(entry, line)
    assert_in_time(entries, stalls)


def test_a_kill_without_a_header_gets_no_others(daemon: Daemon, here: live.Moment) -> None:
    count = 4 * HEADERS
    with Stalls() as stalls, kernels_log() as log:
        with live.cgroup("storm", 4 * MIB) as where:
            for _ in range(count):
                live.kill_one(where)
        entries = kills_after(daemon, here, count)
        lines = printed(log)
    without = sum(line.invoked is None for line in lines)
    print(f"{without} of {count} without a header")
    assert without
    for entry, line in zip(entries, lines, strict=True):
        assert_told(entry, line)
    assert_in_time(entries, stalls)


def test_lost_lines_cost_only_their_own_facts(daemon: Daemon, here: live.Moment) -> None:
    os.kill(daemon.pid(), signal.SIGSTOP)
    try:
        with live.cgroup("lost", 4 * MIB) as where:
            live.kill_one(where)
        overwrite_the_log()
    finally:
        os.kill(daemon.pid(), signal.SIGCONT)
    (lost,) = kills_after(daemon, here, 1, seconds=1)
    assert ("OOM_REASON" in lost, "OOM_ORDER" in lost) == seen_at_the_decision(daemon)
    with live.cgroup("lost", 4 * MIB) as where:
        live.kill_one(where)
    entries = kills_after(daemon, here, 2)
    assert entries[1]["OOM_REASON"] == "Memory cgroup out of memory"


@pytest.fixture
def log_hidden(daemon: Daemon) -> Iterator[None]:
    """As a container manager does."""
    subprocess.run(["mount", "--bind", "/dev/null", KMSG], check=True)
    try:
        daemon.restart()
        yield
    finally:
        mounts.unmount(str(KMSG))
        daemon.restart()


@pytest.mark.usefixtures("log_hidden")
def test_without_the_log_entries_come_as_soon_and_the_books_balance(daemon: Daemon, here: live.Moment) -> None:
    count = 2 * HEADERS
    began = beginning(daemon)
    with Stalls() as stalls:
        with live.cgroup("hidden", 4 * MIB) as where:
            for _ in range(count):
                live.kill_one(where)
        entries = kills_after(daemon, here, count)
    assert_balanced(daemon, began, len(entries), count)
    told = seen_at_the_decision(daemon)
    assert {("OOM_REASON" in entry, "OOM_ORDER" in entry) for entry in entries} == {told}
    assert all("OOM_VICTIM_TOTAL_VM_BYTES" in entry for entry in entries)
    assert_in_time(entries, stalls)


def test_lines_of_other_writers_wake_nobody(daemon: Daemon) -> None:
    def switches() -> int:
        return live.process_status(daemon.pid(), "voluntary_ctxt_switches")

    written = 100
    limited = RATELIMIT.read_text()
    RATELIMIT.write_text("on\n")
    try:
        before = switches()
        with KMSG.open("w") as log:
            for _ in range(written):
                log.write("<15>of another\n")
                log.flush()
                select.select([], [], [], 0.005)
        woken = switches() - before
    finally:
        RATELIMIT.write_text(limited)
    print(f"woken {woken} times while {written} lines were written")
    assert woken <= 10
