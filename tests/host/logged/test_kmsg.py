# SPDX-License-Identifier: Apache-2.0
"""Real kills on this machine's kernel, read in its log."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.host.service.conftest import ROOT
from tests.host.service.daemon import (
    Daemon,
    assert_balanced,
    beginning,
    kills,
    kills_after,
    overwrite_the_log,
    settled,
)
from tests.host.service.watched import Watched, balanced
from tests.support import live

MIB = 1 << 20
LIMIT = 30 * MIB
KMSG = Path("/dev/kmsg")
FORGED = (
    "Memory cgroup out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, "
    "UID:0 pgtables:1kB oom_score_adj:0\n"
)


def times_said(daemon: Daemon, text: str) -> int:
    """Occurrences in the journal and in the current status line."""
    said = live.journal(*daemon.sender)
    return sum(str(entry["MESSAGE"]).count(text) for entry in said) + daemon.status().count(text)


def test_it_reports_its_level_and_the_reason(daemon: Daemon) -> None:
    # The first status came with its readiness; it is sent again at a tick.
    status = live.wait_for("status", daemon.status, 30)
    print(status, f"; resident: {live.process_status(daemon.pid(), 'VmRSS')} kB")
    assert status.startswith("Level kmsg: ")
    (change,) = live.service_entries("level", sender=daemon.sender)
    # There was no earlier level, and the kernel decides which capabilities it wants.
    assert ("OOM_LEVEL_FROM" in change, change["OOM_LEVEL_TO"]) == (False, "kmsg")
    assert (change["OOM_SOURCE"], change["PRIORITY"]) == ("kmsg", "4")
    missing = r"(CAP_BPF, CAP_PERFMON|CAP_SYS_ADMIN) missing"
    why = (
        f"not kprobe: no privilege to attach kprobes: {missing}; "
        f"not fentry, tracepoint: no privilege to load BPF programs: {missing}"
    )
    assert re.fullmatch(rf"OOM kills are recorded at level kmsg \({why}\)", change["MESSAGE"]), change["MESSAGE"]
    assert times_said(daemon, "no privilege to attach kprobes") == 1
    # Apart from the child that searches for kills before its start.
    children = Path(f"/proc/{daemon.pid()}/task/{daemon.pid()}/children")
    live.wait_for("end of its children", lambda: not children.read_text(), 30)


def test_a_start_at_the_previous_level_also_gives_the_reason_once(daemon: Daemon, here: live.Moment) -> None:
    said = times_said(daemon, "no privilege to attach kprobes")
    daemon.restart()
    assert live.wait_for("status", daemon.status, 30).startswith("Level kmsg: ")
    live.now()  # the service's log lines are stored
    assert times_said(daemon, "no privilege to attach kprobes") == said + 1
    assert live.service_entries("level", here, sender=daemon.sender) == []
    balanced(daemon)  # a kill during the search for earlier ones is counted once, but late


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("big eater", "big eater"),
        ("a\nPRIORITY=0", "a\\x0aPRIORITY=0"),
        ("x) total-vm:0kB", "x) total-vm:0kB"),
        ("p,pid=1,uid=0", "p,pid=1,uid=0"),
        ("a\\x0ab", "a\\x5cx0ab"),
        (b"\xff" * 15, "\\xff" * 15),
    ],
)
def test_a_kill_is_recorded_whatever_the_name(daemon: Daemon, here: live.Moment, name: str | bytes, shown: str) -> None:
    with live.cgroup("logged", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "name=" + os.fsdecode(name))
        (entry,) = kills_after(daemon, here, 1)
    assert (int(entry["OOM_VICTIM_TID"]), entry["OOM_VICTIM_COMM"]) == (victim.pid, shown)
    assert entry.get("OOM_VICTIM_PID", str(victim.pid)) == str(victim.pid)
    assert (entry["OOM_TRIGGER_TID"], entry["OOM_TRIGGER_COMM"]) == (entry["OOM_VICTIM_TID"], shown)
    assert (entry["OOM_SOURCE"], entry["PRIORITY"], entry["OOM_VICTIM_UID"]) == ("kmsg", "2", "65534")
    assert (entry["OOM_DOMAIN"], entry["OOM_CONSTRAINT"]) == ("cgroup", "CONSTRAINT_MEMCG")
    assert entry["OOM_DOMAIN_CGROUP"] == entry["OOM_VICTIM_CGROUP"]
    assert entry["OOM_DOMAIN_CGROUP"].endswith("/logged")
    assert entry["OOM_REASON"] == "Memory cgroup out of memory"
    assert LIMIT // 2 < int(entry["OOM_VICTIM_RSS_BYTES"]) < 2 * LIMIT
    # From the list of tasks, and from the kernel's lines about the cgroup.
    assert (entry["OOM_VICTIM_PID"], entry["OOM_TRIGGER_PID"]) == (str(victim.pid), str(victim.pid))
    assert entry["OOM_VICTIM_SWAP_BYTES"].isdigit()
    assert entry["OOM_DOMAIN_LIMIT_BYTES"] == str(LIMIT)
    assert 0.9 * LIMIT < int(entry["OOM_DOMAIN_USAGE_BYTES"]) <= LIMIT
    late = int(entry["__REALTIME_TIMESTAMP"]) - int(entry["OOM_TIMESTAMP"])
    print(entry["MESSAGE"], f"; {late / 1000:.1f} ms from the kill to the journal")
    assert late >= 0


def test_a_line_that_another_process_wrote_is_no_kill(daemon: Daemon, here: live.Moment) -> None:
    before = settled(daemon)
    with KMSG.open("w") as log:
        for prefix in ("", "<3>", "<0>", "<11>"):
            log.write(prefix + FORGED)
            log.flush()
    with live.cgroup("logged", LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(daemon, here, 1)
    assert int(entry["OOM_VICTIM_TID"]) == victim.pid
    assert settled(daemon) == before._replace(kills=before.kills + 1)


def test_a_storm_with_more_kills_than_headers_balances(daemon: Daemon, here: live.Moment) -> None:
    count = 100
    began = beginning(daemon)
    with live.cgroup("storm", 4 * MIB) as where:
        victims = [live.kill_one(where).pid for _ in range(count)]
    entries = kills_after(daemon, here, count, 20)
    assert_balanced(daemon, began, len(entries), count)
    assert [int(entry["OOM_VICTIM_TID"]) for entry in entries] == victims
    print(f"{sum('OOM_DOMAIN' in entry for entry in entries)} of {count} with the cause")


def test_after_quick_restarts_each_kill_has_one_entry(watched: Watched) -> None:
    watched.kill_many()
    for _ in range(3):
        watched.restart()
        watched.kill_one()
    watched.check()


def test_lost_lines_are_counted_and_reported(daemon: Daemon, here: live.Moment) -> None:
    before = settled(daemon)
    # Neither reads the lines in time: if journald had kept them, the service would find them.
    readers = (daemon.journald, daemon.pid())
    for pid in readers:
        os.kill(pid, signal.SIGSTOP)
    try:
        with live.cgroup("lost", LIMIT) as where:
            live.kill_one(where)
        overwrite_the_log()
    finally:
        for pid in readers:
            os.kill(pid, signal.SIGCONT)
    (missed,) = live.wait_for(
        "missed", lambda: live.service_entries("missed", here, sender=daemon.sender), 15, daemon.status
    )
    assert (missed["OOM_MISSED"], missed["OOM_MISSED_REASON"]) == ("1", "log-overwritten")
    assert kills(daemon, here) == []
    assert settled(daemon) == before._replace(missing=before.missing + 1)


# For each line of this boot: its stamp, the thread whose kill it reports, and whether lines before it are lost.
READ_THE_LOG = """
import json, os
from oomkilld.record.lookup.kernellog import KernelLog
from oomkilld.record.kernlog import grammar
with open("/proc/sys/kernel/random/boot_id") as file:
    boot = file.read().strip().replace("-", "")
log = KernelLog(boot, os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
lines = [(line.usec, grammar.killed(line.text), line.after_gap) for line in log.lines()]
print(json.dumps([(usec, kill and kill.tid, gap) for usec, kill, gap in lines]))
"""
MISSED = "MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606"


def lines_of_this_boot() -> list[tuple[int, int | None, bool]]:
    command = ["/usr/bin/python3", "-c", READ_THE_LOG]
    return [
        tuple(line) for line in json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    ]


def test_lines_that_journald_missed_are_a_gap_and_the_junction_with_dev_kmsg_is_none(daemon: Daemon) -> None:
    with live.cgroup("gap", LIMIT) as where:
        before = live.kill_one(where).pid
        live.now()  # journald has read it
        overwrite_the_log()
        live.now()
        inner = lines_of_this_boot()
        os.kill(daemon.journald, signal.SIGSTOP)
        try:
            overwrite_the_log()
        finally:
            os.kill(daemon.journald, signal.SIGCONT)
        behind = live.kill_one(where).pid
    live.wait_for("missed", lambda: live.journal(MISSED, "_TRANSPORT=driver"), 10)
    live.now()
    lines = lines_of_this_boot()
    at, then = (next(n for n, line in enumerate(lines) if line[1] == tid) for tid in (before, behind))
    assert any(gap for _usec, _tid, gap in lines[at + 1 : then + 1])
    assert not any(gap for _usec, _tid, gap in lines[then + 1 :])
    assert [tid for _usec, tid, _gap in inner].count(before) == 1, "by journald, for the ring has it no more"
    assert lines == sorted(lines, key=lambda line: line[0])
