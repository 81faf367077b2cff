# SPDX-License-Identifier: Apache-2.0
"""Real kills on this machine's kernel: each is one entry, whatever is killed."""

import re
import resource
import subprocess
import time
from pathlib import Path

import pytest

from tests.host.service.daemon import (
    Daemon,
    assert_balanced,
    assert_has_no_capability,
    beginning,
    kills_after,
    names_of_each,
)
from tests.support import live
from tests.support.stalls import Stalls

MIB = 1 << 20
LIMIT = 30 * MIB


def same_pid_namespace(entry: live.Entry, victim_pid: int) -> bool:
    """Whether entries count processes as this process does: in a container they do not."""
    return int(entry["OOM_VICTIM_PID"]) == victim_pid


def test_many_kills_are_as_many_entries_each_in_time(daemon: Daemon, here: live.Moment) -> None:
    count = 200
    began = beginning(daemon)
    with Stalls() as stalls:
        with live.cgroup("many", 4 * MIB) as where:
            for _ in range(count):
                live.kill_one(where)
        entries = kills_after(daemon, here, count)
    assert_balanced(daemon, began, len(entries), count)
    spans = [(int(entry["OOM_TIMESTAMP"]) / 1e6, int(entry["__REALTIME_TIMESTAMP"]) / 1e6) for entry in entries]
    median, late = middle_and_p99([end - start for start, end in spans])
    _, late_of_running = middle_and_p99([end - start - stalls.within(start, end) for start, end in spans])
    sampled = [
        (start, start + int(entry["OOM_SAMPLE_DELAY_USEC"]) / 1e6)
        for (start, _), entry in zip(spans, entries, strict=True)
    ]
    _, sampled_late = middle_and_p99([end - start - stalls.within(start, end) for start, end in sampled])
    print(
        f"from the kill to the journal: median {median:.1f} ms, p99 {late:.1f} ms, "
        f"{late_of_running:.1f} ms without the {stalls.seconds:.1f} s in which this machine stood still "
        f"(of that {sampled_late:.1f} ms at most until /proc was read)"
    )
    assert late_of_running <= 250
    assert {entry["OOM_SOURCE"] for entry in entries} == {daemon.status().removeprefix("Level ").partition(":")[0]}


def middle_and_p99(delays: list[float]) -> tuple[float, float]:
    """Delays in ms, from seconds."""
    delays = sorted(delays)
    return 1000 * delays[len(delays) // 2], 1000 * delays[len(delays) * 99 // 100]


@pytest.mark.parametrize(("sharers", "threads"), [(2, 0), (0, 3), (1, 3)])
def test_other_users_of_the_victims_memory_are_mentioned(
    daemon: Daemon, here: live.Moment, sharers: int, threads: int
) -> None:
    """They are killed with it, and neither counted nor named."""
    began = beginning(daemon)
    with live.cgroup("shared", LIMIT) as where:
        live.kill_one(where, f"sharers={sharers}", f"threads={threads}")
        entries = kills_after(daemon, here, 1)
        live.wait_for("the end of all", lambda: not where.procs.read_text(), 10)
    assert_balanced(daemon, began, len(entries), 1)
    # The kernel may have chosen one of the others.
    assert (", in memory that others use, too; asked by " in entries[0]["MESSAGE"]) == (sharers > 0)


@pytest.mark.parametrize(
    "words",
    [("threads=8", "eat"), ("threads=8", "gobble"), ("threads=2", "leave")],
    ids=["one eats", "all eat", "leader gone"],
)
def test_a_victim_with_threads_is_one_entry_of_the_process(
    daemon: Daemon, here: live.Moment, words: tuple[str, ...]
) -> None:
    count = 20
    began = beginning(daemon)
    victims: list[int] = []
    with live.cgroup("threads", LIMIT) as where:
        while len(victims) < count:
            hog = where.start(*words)
            if live.killed(hog):
                victims.append(hog.pid)
    entries = kills_after(daemon, here, count)
    assert_balanced(daemon, began, len(entries), count)
    assert len({entry["OOM_VICTIM_PID"] for entry in entries}) == count
    if same_pid_namespace(entries[0], victims[0]):
        assert [int(entry["OOM_VICTIM_PID"]) for entry in entries] == victims
    for entry in entries:
        assert entry["OOM_VICTIM_PID"] == entry["OOM_TRIGGER_PID"]
        if words[-1] != "gobble":
            # Not its first thread takes the memory.
            assert entry["OOM_TRIGGER_TID"] != entry["OOM_TRIGGER_PID"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nPRIORITY=0", "a\\x0aPRIORITY=0"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xff" * 15, "\\xff" * 15),
        ("x) total-vm:0kB", "x) total-vm:0kB"),
        ("p,pid=1,uid=0", "p,pid=1,uid=0"),
        ("\u202egnp.exe", "\\xe2\\x80\\xaegnp.exe"),
        ("back\\slash", "back\\x5cslash"),
        ("", ""),
    ],
)
def test_a_hostile_name_is_one_field_and_changes_no_other(
    daemon: Daemon, here: live.Moment, name: str | bytes, shown: str
) -> None:
    with live.cgroup("hostile", LIMIT) as where:
        live.kill_one(where, "name=plain")
        raw = name if isinstance(name, bytes) else name.encode()
        live.kill_one(where, f"name={raw.decode(errors='surrogateescape')}")
    plain, hostile = kills_after(daemon, here, 2)
    assert plain["OOM_VICTIM_COMM"] == "plain"
    assert hostile["OOM_VICTIM_COMM"] == hostile["OOM_TRIGGER_COMM"] == shown
    assert hostile["PRIORITY"] == "2"
    assert names_of_each(hostile) == names_of_each(plain)
    assert re.search(rf"\('{re.escape(shown)}'[,)]", hostile["MESSAGE"])
    assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*", hostile["MESSAGE"])


def test_victim_and_trigger_are_distinct(daemon: Daemon, here: live.Moment) -> None:
    with live.cgroup("apart", LIMIT) as where:
        victim = where.start("uid=65534", "name=holder", "hold=20", "sleep")
        trigger = where.start("uid=65533", "name=asker", "eat")
        assert live.killed(victim)
        trigger.kill()
        trigger.wait()
    entry = live.wait_for("entry", lambda: live.service_entries("kill", here, sender=daemon.sender), 5)[0]
    assert (entry["OOM_VICTIM_COMM"], entry["OOM_VICTIM_UID"]) == ("holder", "65534")
    assert (entry["OOM_TRIGGER_COMM"], entry["OOM_TRIGGER_UID"]) == ("asker", "65533")
    assert entry["OOM_VICTIM_PID"] != entry["OOM_TRIGGER_PID"]


def test_a_kill_by_another_process_is_no_oom_kill(daemon: Daemon, here: live.Moment) -> None:
    """As systemd-oomd, earlyoom and the kubelet do."""
    vmstat = live.vmstat_kills()
    with live.cgroup("other", LIMIT) as where:
        sleeper = where.start("hold=20", "sleep")
        sleeper.kill()
        assert live.killed(sleeper)
        victim = live.kill_one(where)
        (entry,) = kills_after(daemon, here, 1)
    assert live.vmstat_kills() == vmstat + 1
    assert int(entry["OOM_VICTIM_NS_PID"]) == victim.pid


def test_a_process_in_a_container_also_has_its_own_number(daemon: Daemon, here: live.Moment) -> None:
    with live.cgroup("namespace", LIMIT) as where:
        hog = [live.hog_program(), str(where.procs), "eat"]
        for _attempt in range(10):
            ended = subprocess.run(["unshare", "--pid", "--fork", *hog], check=False, capture_output=True)
            if ended.returncode != live.ENOMEM_STATUS:
                break
        (entry,) = kills_after(daemon, here, 1)
    assert entry["OOM_VICTIM_NS_PID"] == "1"
    for what, role in (("killed process", "VICTIM"), ("asked by", "TRIGGER")):
        told = rf"{what} {entry[f'OOM_{role}_PID']} \(hog, (?:[^)]*, )?pid 1 in its PID namespace\)"
        assert re.search(told, entry["MESSAGE"]), entry["MESSAGE"]


def test_its_memory_is_locked_and_bounded(daemon: Daemon) -> None:
    pid = daemon.pid()
    locked, resident = (live.process_status(pid, name) for name in ("VmLck", "VmRSS"))
    limit = re.search(r"^Max data size +(\d+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    print(f"resident {resident} kB, locked once touched {locked} kB, data {live.process_status(pid, 'VmData')} kB")
    assert limit
    assert int(limit[1]) == 48 << 20
    # A container without CAP_SYS_RESOURCE cannot raise its limit.
    unlimited = resource.prlimit(pid, resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    assert locked >= resident if unlimited else locked == 0


def test_it_keeps_no_capability(daemon: Daemon) -> None:
    assert_has_no_capability(daemon.pid())


def test_it_ends_in_time_when_asked(daemon: Daemon) -> None:
    started = time.monotonic()
    daemon.stop()
    took = time.monotonic() - started
    daemon.restart()
    print(f"stopped in {took:.2f} s")
    assert took <= 1
