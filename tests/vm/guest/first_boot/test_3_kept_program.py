# SPDX-License-Identifier: Apache-2.0
"""Starts without the compiler, when systemd has kept nothing: the program that an earlier start compiled is loaded."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.host.service.daemon import Unit
from tests.support import live
from tests.vm.guest.conftest import COPY, State
from tests.vm.guest.first_boot import test_1_install
from tests.vm.guest.kills import LIMIT, group_kill, kills_after
from tests.vm.guest.service import PROGRAM, SETTINGS, drop_in, file, run, said_about_the_program, service_restored

LOADED = ["attached the kept program, without compiling it"]
MOST_BYTES = 30_000_000  # as `systemctl status` shows
STALE = (
    "Failed to use the kept program: it was made for another kernel, machine or program, or for other settings, "
    "compiling it"
)


def kill_fields(level: str) -> set[str]:
    here = live.now()
    with live.cgroup("kept", LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    return {name for name in entry if name.startswith("OOM_")}


def stopped_and_started() -> list[str]:
    """What that start says about the program. In between, systemd keeps nothing."""
    here = live.now()
    run("systemctl", "stop", "oomkilld")
    assert run("systemctl", "start", "oomkilld").returncode == 0, live.service_journal()
    return said_about_the_program(here)


def test_after_a_stop_the_program_is_loaded_and_records_the_same(state: State) -> None:
    assert live.level() == "kprobe"
    assert PROGRAM.stat().st_mode & 0o777 == 0o600
    assert PROGRAM.parent.stat().st_mode & 0o777 == 0o700
    by_compiler = kill_fields("kprobe")
    assert stopped_and_started() == LOADED
    assert live.level() == "kprobe"
    test_1_install.test_after_arming_only_the_ring_the_counters_and_the_probes_stay_open()
    test_1_install.test_nothing_of_bcc_or_pydantic_is_left_in_the_resident_process()
    assert kill_fields("kprobe") == by_compiler
    assert len({entry["OOM_DECISION_ID"] for entry in group_kill(live.now(), "kprobe")}) == 1
    peak = int(live.show("oomkilld", "MemoryPeak"))
    print(f"{PROGRAM.stat().st_size} bytes; at most {peak / 1e6:.1f} MB")
    assert peak <= MOST_BYTES
    # For the next boot: later tests replace it.
    shutil.copy(PROGRAM, COPY)
    state.keep(fields=sorted(by_compiler))


def test_what_compiling_took_is_given_back_within_a_minute() -> None:
    """Also the page cache of the compiler's files, which this start reads from the disk."""
    with service_restored():
        run("systemctl", "stop", "oomkilld")
        PROGRAM.unlink()
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        assert run("systemctl", "start", "oomkilld").returncode == 0, live.service_journal()
        peak = int(live.show("oomkilld", "MemoryPeak"))
        assert peak >= 100_000_000, "it has not compiled"
        current = live.wait_for("memory given back", is_small, 60, lambda: live.show("oomkilld", "MemoryCurrent"))
    print(f"at most {peak / 1e6:.1f} MB, then {current / 1e6:.1f} MB")


def is_small() -> int | None:
    current = int(live.show("oomkilld", "MemoryCurrent"))
    return current if current <= MOST_BYTES else None


@pytest.mark.only_in_full
def test_at_level_fentry_it_is_loaded_too() -> None:
    with service_restored(), file(SETTINGS, '[capture]\nlevel = "fentry"\n'):
        here = live.now()
        run("systemctl", "restart", "oomkilld")
        assert said_about_the_program(here) == [STALE]
        by_compiler = kill_fields("fentry")
        assert stopped_and_started() == LOADED
        assert live.level() == "fentry"
        assert kill_fields("fentry") == by_compiler


@pytest.mark.only_in_full
def test_a_better_level_that_has_become_possible_is_compiled() -> None:
    with service_restored():
        with drop_in("InaccessiblePaths=/sys/bus/event_source/devices"):
            assert [line.endswith("fentry is now the best, compiling it") for line in stopped_and_started()] == [True]
            assert live.level() == "fentry"
        assert [line.endswith("kprobe is now the best, compiling it") for line in stopped_and_started()] == [True]
        assert live.level() == "kprobe"


def test_after_a_crash_of_which_systemd_keeps_nothing_it_is_loaded(here: live.Moment) -> None:
    with service_restored(), drop_in("FileDescriptorStoreMax=0", "RestartSec=5"), live.cgroup("down", LIMIT) as where:
        stopped_and_started()
        down, pid = live.now(), live.main_pid()
        os.kill(pid, signal.SIGKILL)
        missed = live.kill_one(where)
        Unit().wait_for_the_run_after(pid)
        assert said_about_the_program(down) == LOADED
        (entry,) = live.wait_for("its entry", lambda: live.service_entries("kill", down), 60, live.service_journal)
        assert (int(entry["OOM_VICTIM_TID"]), entry["OOM_SOURCE"]) == (missed.pid, "kmsg")
        assert "OOM_AT_KILL_LOADAVG_1" in kill_fields("kprobe")
    assert live.service_entries("missed", here) == []


def test_a_damaged_file_is_reported_and_made_anew() -> None:
    with service_restored():
        content = bytearray(PROGRAM.read_bytes())
        content[len(content) // 2] ^= 1
        PROGRAM.write_bytes(content)
        assert stopped_and_started() == [f"Failed to use the kept program: {PROGRAM} is damaged, compiling it"]
        kill_fields("kprobe")
        assert stopped_and_started() == LOADED
