# SPDX-License-Identifier: Apache-2.0
"""Command lines in entries, if asked for: as the process was called, with secrets hidden."""

import functools
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.support import live
from tests.support.stalls import Stalls
from tests.vm.guest.kernel.freezable import asleep, frozen
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.service import SETTINGS, file, run, service_restored

# Ten times the promise (a quarter of a second, and the wait for the helper), because the machine is emulated.
LATE = 3.5
# All tests are in one unit, so they have one owner.
OTHER_OWNER = Path("/sys/fs/cgroup/other-owner")
FIELDS = {"OOM_VICTIM_CMDLINE", "OOM_TRIGGER_CMDLINE"}


@contextmanager
def recorded(how: str) -> Iterator[None]:
    """The service runs with that setting."""
    with ExitStack() as stack:
        stack.enter_context(service_restored())
        stack.enter_context(file(SETTINGS.with_name("cmdline.toml"), f'[entry]\ncmdline = "{how}"\n'))
        assert run("systemctl", "restart", "oomkilld").returncode == 0, live.service_journal()
        yield


def called(where: live.Cgroup, *words: str) -> str:
    """The command line of a hog, as the journal shows it."""
    return " ".join([live.hog_program(), str(where.procs), *words])


def test_by_default_there_are_none(here: live.Moment, level: str) -> None:
    with live.cgroup("silent", LIMIT) as where:
        live.kill_one(where, "name=password=s3cret")
        (entry,) = kills_after(here, 1, level)
    assert entry.keys() & FIELDS == set()


@pytest.fixture(scope="module")
def full(level: str) -> Iterator[str]:
    with recorded("full"):
        yield level


@pytest.mark.each_kernel
@pytest.mark.matrix("command line")
def test_a_victim_that_asked_itself_has_its_command_line(here: live.Moment, full: str) -> None:
    with live.cgroup("called", LIMIT) as where:
        live.kill_one(where, "name=a\nb", "note=--token", "note=x", "note=password=s3cret")
        (entry,) = kills_after(here, 1, full)
        expected = called(where, "name=a\\x0ab", "note=--token", "***", "note=password=***", "eat")
    assert entry["OOM_VICTIM_CMDLINE"] == entry["OOM_TRIGGER_CMDLINE"] == expected
    assert "s3cret" not in str(live.journal("-u", "oomkilld", here.after_cursor))


def test_a_long_command_line_has_its_beginning(here: live.Moment, full: str) -> None:
    with live.cgroup("long", LIMIT) as where:
        live.kill_one(where, *[f"note={'x' * 1000}"] * 2000)  # nearly 2 MiB, the most that fits
        (entry,) = kills_after(here, 1, full)
        assert entry["OOM_VICTIM_CMDLINE"].startswith(called(where, f"note={'x' * 1000}"))
    assert entry["OOM_VICTIM_CMDLINE"].endswith("x…")
    assert len(f"OOM_VICTIM_CMDLINE={entry['OOM_VICTIM_CMDLINE']}".encode()) == 4095


def victim_of(where: live.Cgroup, holder: "subprocess.Popen[str]", here: live.Moment, level: str) -> live.Entry:
    """Another process asks for memory until the holder is killed, and continues until it is killed itself."""
    live.kill_one(where, "name=eater", "note=asks")
    kills = {int(entry["OOM_VICTIM_PID"]): entry for entry in kills_after(here, 2, level)}
    eater = next(entry for pid, entry in kills.items() if pid != holder.pid)
    assert eater.get("OOM_VICTIM_CMDLINE") == eater.get("OOM_TRIGGER_CMDLINE")
    return kills[holder.pid]


def test_if_another_process_asked_the_entry_has_both_command_lines(here: live.Moment, full: str) -> None:
    with live.cgroup("other", LIMIT) as where:
        # The victim cannot end, so it is there when the service looks; the kernel does not reap its memory at once.
        with frozen() as file_:
            holder = where.start("name=holder", "note=password=s3cret", "hold=20", f"write={file_}")
            live.wait_for("sleep", lambda: asleep(holder), 10)
            entry = victim_of(where, holder, here, full)
        assert live.killed(holder)
        assert entry["OOM_TRIGGER_CMDLINE"] == called(where, "name=eater", "note=asks", "eat")
        expected = called(where, "name=holder", "note=password=***", "hold=20", f"write={file_}")
        assert entry["OOM_VICTIM_CMDLINE"] == expected
    assert "s3cret" not in str(live.journal("-u", "oomkilld", here.after_cursor))


def hangs(pid: int) -> bool:
    """Whether a read of its command line blocks: the reader waits uninterruptibly for a whole second."""
    reader = subprocess.Popen(["cat", f"/proc/{pid}/cmdline"], stdout=subprocess.DEVNULL, text=True)
    waits = 0
    try:
        while reader.poll() is None and waits < 20:
            waits = waits + 1 if asleep(reader) else 0
            time.sleep(0.05)
        return reader.poll() is None
    finally:
        reader.kill()
        reader.wait()


def late(here: live.Moment, where: live.Cgroup, holder: "subprocess.Popen[str]", level: str) -> float:
    """Kill a victim with a locked memory map, and check for no command line. Returns the entry's delay in seconds."""
    live.wait_for("a lock that is held", functools.partial(hangs, holder.pid), 30)
    with Stalls() as stalls:
        entry = victim_of(where, holder, here, level)
    assert hangs(holder.pid)
    assert "OOM_VICTIM_CMDLINE" not in entry
    killed, written = int(entry["OOM_TIMESTAMP"]) / 1e6, int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    stood = stalls.within(killed, written)
    print(f"its entry came {written - killed:.3f} s after the kill, in {stood:.3f} s of which this machine stood still")
    return written - killed - stood


def told_of_a_stuck_victim(
    where: live.Cgroup, holder: "subprocess.Popen[str]", here: live.Moment, level: str
) -> str | None:
    """The victim's command line, where another process asked for memory. The asker's own is recorded in any case."""
    live.wait_for("sleep", lambda: asleep(holder), 10)
    entry = victim_of(where, holder, here, level)
    assert entry["OOM_TRIGGER_CMDLINE"] == called(where, "name=eater", "note=asks", "eat")
    line: str | None = entry.get("OOM_VICTIM_CMDLINE")
    return line


@pytest.mark.each_kernel
def test_a_locked_memory_map_delays_nothing_and_three_cost_other_owners_nothing(here: live.Moment, full: str) -> None:
    started = live.main_pid()
    with ExitStack() as stack:
        cgroups = [stack.enter_context(live.cgroup(f"locked-{number}", LIMIT)) for number in range(3)]
        after = stack.enter_context(live.cgroup("after", LIMIT))
        others = live.Cgroup(stack.enter_context(memory_cgroup(OTHER_OWNER, LIMIT)).path)
        with frozen() as file_:
            holders = [where.start("name=holder", "hold=20", f"lock={file_}") for where in cgroups]
            for where, holder in zip(cgroups, holders, strict=True):
                assert late(live.now(), where, holder, full) < LATE
            words = ("name=holder", "hold=20", f"write={file_}")
            told = []
            for where in (after, others):
                before = live.now()
                holders.append(where.start(*words))
                told.append(told_of_a_stuck_victim(where, holders[-1], before, full))
            assert told == [None, called(others, *words)]
        assert [live.killed(holder) for holder in holders] == [True] * len(holders)
    said = [entry["MESSAGE"] for entry in live.journal("-u", "oomkilld", here.after_cursor, "PRIORITY=4")]
    assert len([line for line in said if "ignoring them for an hour" in line]) == 1
    status = "command lines of victims are not read: victims of 1 owner"
    live.wait_for("status", lambda: status in live.show("oomkilld", "StatusText"), 10)
    assert live.main_pid() == started


def test_only_the_first_argument_is_recorded_if_no_more_is_asked_for(here: live.Moment, level: str) -> None:
    with recorded("first-argument"), live.cgroup("first", LIMIT) as where:
        live.kill_one(where, "name=password=s3cret")
        (entry,) = kills_after(here, 1, level)
        assert entry["OOM_VICTIM_CMDLINE"] == entry["OOM_TRIGGER_CMDLINE"] == called(where)
