# SPDX-License-Identifier: Apache-2.0
"""The probe and its ring outlive the service in the service manager's store, so no kill is missed."""

import fcntl
import mmap
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomkilld.record.state.ledger import Ledger
from tests.host.service.daemon import Daemon, assert_balanced, beginning, changed, kills, kills_after, settings
from tests.host.service.lockwaiter import lock_waiter
from tests.support import live, pace

MIB = 1 << 20
DROP_IN = Path("/run/systemd/system/oomkilld.service.d/test.conf")


def kept_files() -> int:
    return int(live.show("oomkilld", "NFileDescriptorStore"))


def source() -> int:
    """Identifies the probe that the service reads from, by a copy of its books."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page[:] = Path("/run/oomkilld/ledger").read_bytes()
    # Its boot id may not be the one that is seen here: nspawn has one of its own, but not for a unit like this.
    found = Ledger(page, page[8:24], None).totals.source
    assert found > 0
    return found


@contextmanager
def down_for(seconds: int) -> Iterator[None]:
    """systemd restarts a killed service only after ``seconds``."""
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(f"[Service]\nRestartSec={seconds}\n")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    try:
        yield
    finally:
        DROP_IN.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True)


def test_kills_during_the_restart_after_a_crash_are_recorded(daemon: Daemon, here: live.Moment) -> None:
    began, made, files = beginning(daemon), source(), kept_files()
    pid = daemon.pid()
    with down_for(int(5 * pace.patience())):
        os.kill(pid, signal.SIGKILL)
        with live.cgroup("down", 4 * MIB) as where:
            for _ in range(3):
                live.kill_one(where)
        assert live.show("oomkilld", "SubState") == "auto-restart"
        daemon.wait_for_the_run_after(pid)
    entries = kills_after(daemon, here, 3)
    ages = [(int(entry["__REALTIME_TIMESTAMP"]) - int(entry["OOM_TIMESTAMP"])) / 1e6 for entry in entries]
    print(f"recorded {', '.join(f'{age:.1f} s' for age in ages)} after the kill")
    assert source() == made
    assert kept_files() == files
    assert_balanced(daemon, began, len(entries), 3)


def restarted(daemon: Daemon) -> None:
    for _ in range(2):
        daemon.restart()


def manager_changed(daemon: Daemon) -> None:
    """It keeps the files, and the service runs on."""
    pid = daemon.pid()
    for command in ("daemon-reload", "daemon-reexec") * 2:
        subprocess.run(["systemctl", command], check=True)
    assert daemon.pid() == pid
    daemon.restart()


@pytest.mark.parametrize("change", [restarted, manager_changed])
def test_a_restart_in_a_storm_misses_nothing(
    daemon: Daemon, here: live.Moment, change: Callable[[Daemon], None]
) -> None:
    began, made = beginning(daemon), source()
    with live.cgroup("storm", 4 * MIB) as where:
        words = [os.environ["OOMKILLD_TEST_HOG"], str(where.procs), "storm=0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as storm:
            change(daemon)
            time.sleep(3)
            storm.terminate()
            reaped = int(storm.communicate(timeout=60 * pace.patience())[0])
    delta = live.vmstat_kills() - began.vmstat
    live.wait_for("all entries", lambda: len(kills(daemon, here)) >= delta, 60, daemon.status)
    assert source() == made
    assert_balanced(daemon, began, len(kills(daemon, here)), reaped)


def test_nobody_who_waits_for_its_lock_keeps_it_from_starting_again(daemon: Daemon, here: live.Moment) -> None:
    began, made, files = beginning(daemon), source(), kept_files()
    killed = 0
    with lock_waiter() as opened, live.cgroup("waited", 4 * MIB) as where:
        for restart in range(6):
            live.kill_one(where)
            killed += 1
            pid = daemon.pid()
            if restart % 2:
                os.kill(pid, signal.SIGKILL)
                daemon.wait_for_the_run_after(pid)
            else:
                daemon.restart()
            assert live.show("oomkilld", "ActiveState") == "active"
    found = kills_after(daemon, here, killed)
    assert (source(), kept_files()) == (made, files)
    assert_balanced(daemon, began, len(found), killed)
    assert opened == []
    said = [entry["MESSAGE"] for entry in live.journal(*daemon.sender, here.after_cursor)]
    assert [line for line in said if "another oomkilld" in line] == []


def test_it_waits_for_an_instance_that_root_started_and_keeps_its_files(daemon: Daemon) -> None:
    with changed(daemon, "arm/lock.py", "_PATIENCE_SECONDS = 60", "_PATIENCE_SECONDS = 1"):
        daemon.restart()
        here, began, made, files = live.now(), beginning(daemon), source(), kept_files()
        pid = daemon.pid()
        with Path("/run/oomkilld/instance").open("r+") as lock:
            taken = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX))
            taken.start()
            os.kill(pid, signal.SIGKILL)
            taken.join()
            lock.write("1\n")
            lock.truncate()
            with live.cgroup("held", 4 * MIB) as where:
                live.kill_one(where)
            live.wait_for("a try", lambda: live.show("oomkilld", "ExecMainStatus") == "75", 30, live.service_journal)
            assert kept_files() == files
        daemon.wait_for_the_run_after(pid)
        assert len(kills_after(daemon, here, 1)) == 1
        assert source() == made
        assert_balanced(daemon, began, 1, 1)
    daemon.restart()
    said = [entry["MESSAGE"] for entry in live.journal(*daemon.sender, here.after_cursor)]
    assert "another oomkilld is running (process 1): waiting at most 1 s for its end" in said
    assert "another oomkilld (process 1) is still running after 1 s" in said


# After this line it sleeps, while the compiler has the headers.
STALLED = "_prepare(compiler, usual, obstacles | set_aside(LEVELS, ceiling))\n"


def test_killed_while_it_arms_it_shows_no_header(daemon: Daemon) -> None:
    header = Path("/run/oomkilld/headers/include/oomkilld/kernel.h")
    with changed(daemon, "arm/main.py", STALLED, f"{STALLED}                time.sleep(600)\n"):
        subprocess.run(["systemctl", "stop", "oomkilld"], check=True)
        subprocess.run(["systemctl", "start", "--no-block", "oomkilld"], check=True)
        live.wait_for("headers", header.exists, 60, live.service_journal)
        looked = subprocess.run(
            ["grep", "-rs", "POSSIBLE_CPUS", "/run/oomkilld"],
            check=False,
            capture_output=True,
            user=65534,
            group=65534,
            extra_groups=[],
        )
        assert (looked.stdout, looked.returncode) == (b"", 2)
        assert "POSSIBLE_CPUS" in header.read_text()
        with down_for(60):
            os.kill(daemon.pid(), signal.SIGKILL)
            live.wait_for("its end", lambda: live.show("oomkilld", "SubState") == "auto-restart", 20)
            # Nothing removes the tree until the next start.
            assert header.stat().st_mode & 0o077 == 0
            subprocess.run(["systemctl", "stop", "oomkilld"], check=True)
    daemon.restart()
    assert not Path("/run/oomkilld/headers").exists()


# For level tracepoint: reads kernel memory as no program may, and contains an address in it.
UNREADABLE = "	owner += *(volatile u64 *)0xffffffff81234567ULL;\n"
BEFORE_UNREADABLE = "	if (!signal || !last || !draft)\n"


def test_the_verifiers_messages_are_shown_without_kernel_addresses(daemon: Daemon, here: live.Moment) -> None:
    program = "arm/bpf/oomkill.bpf.c"
    with settings(daemon, '[capture]\nlevel = "tracepoint"\n'):
        with changed(daemon, program, BEFORE_UNREADABLE, UNREADABLE + BEFORE_UNREADABLE):
            subprocess.run(["systemctl", "restart", "oomkilld"], check=False, capture_output=True)
            assert live.show("oomkilld", "ExecMainStatus") == "70"
        said = [entry["MESSAGE"] for entry in live.journal(*daemon.sender, here.after_cursor)]
    assert "  bcc: R1 invalid mem access 'scalar'" in said, said
    assert [line for line in said if re.search(r"[0-9a-f]{8}|2128394905", line) and line.startswith("  bcc:")] == []


ENTRY = "        fields = self._entry(completed)\n"
LEAK = "        globals().setdefault('leak', []).append(bytearray(1 << 20))\n"


@contextmanager
def leaking(daemon: Daemon) -> Iterator[None]:
    """Started with a program that keeps a mebibyte of each kill; the next run's program does not."""
    with changed(daemon, "record/pipeline.py", ENTRY, ENTRY + LEAK):
        daemon.restart()
    yield


def test_a_leak_ends_only_the_service_which_reports_it_and_the_next_run_has_all(daemon: Daemon) -> None:
    with leaking(daemon):
        here = live.now()
        began, made = beginning(daemon), source()
        pid, killed = daemon.pid(), 0
        with live.cgroup("tight", 4 * MIB) as where:
            while daemon.pid() == pid:
                assert killed < 100, daemon.status()
                live.kill_one(where)
                killed += 1
        daemon.wait_for_the_run_after(pid)
    print(f"ended after {killed} kills")
    delta = live.vmstat_kills() - began.vmstat
    live.wait_for("all entries", lambda: len({e["OOM_KILL_ID"] for e in kills(daemon, here)}) >= delta, 60)
    assert source() == made
    found = {entry["OOM_KILL_ID"] for entry in kills(daemon, here)}
    assert_balanced(daemon, began, len(found), killed)
    said = [entry["MESSAGE"] for entry in live.journal(*daemon.sender, here.after_cursor, "PRIORITY=3")]
    assert len([line for line in said if "the service used up its own limit of" in line]) == 1, said


def test_a_stop_detaches_the_probe_and_a_setting_that_shapes_it_replaces_it(daemon: Daemon) -> None:
    files, made = kept_files(), source()
    assert files > 3
    with settings(daemon, '[capture]\nring_size = "64KiB"\n'):
        daemon.restart()
        live.wait_for("the old one to be let go of", lambda: kept_files() == files, 10, lambda: str(kept_files()))
        assert (smaller := source()) != made
    live.wait_for("the old one to be let go of", lambda: kept_files() == files, 10, lambda: str(kept_files()))
    assert source() not in (made, smaller)
    daemon.stop()
    assert kept_files() == 0
    daemon.restart()
    assert kept_files() == files
