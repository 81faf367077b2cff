# SPDX-License-Identifier: Apache-2.0
"""After a reboot: the service is up, and the old entries are there. Then it is uninstalled."""

import shutil
import subprocess

from oomkilld.arm import keptprogram
from oomkilld.arm.fingerprint import PROGRAM_MARK_BYTES
from oomkilld.arm.keptprogram import KeptProgram
from tests.support import live
from tests.vm.guest.conftest import COPY, State
from tests.vm.guest.first_boot.test_1_install import tree
from tests.vm.guest.kills import LIMIT, group_kill, kills_after
from tests.vm.guest.service import PROGRAM, run, said_about_the_program


def test_the_service_is_up_and_the_old_entries_are_there(state: State) -> None:
    assert live.show("oomkilld", "ActiveState") == "active", live.service_journal()
    old = live.service_entries("kill", boot="-1")
    assert state.facts()["first_kill"] in {entry["OOM_KILL_ID"] for entry in old}
    print(f"{len(old)} entries of the boot before")
    assert len(old) >= 200


def test_kills_are_recorded_in_this_boot_too(here: live.Moment) -> None:
    with live.cgroup("again", LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid


def kept_program() -> KeptProgram:
    mark = PROGRAM.read_bytes()[32 : 32 + PROGRAM_MARK_BYTES]
    return keptprogram.read(PROGRAM.parent, mark)


def test_the_program_of_the_first_boot_is_loaded_and_is_what_this_boot_compiles(state: State) -> None:
    """In the first boot, a test after it under lockdown removed the program, so this boot's start compiled it again."""
    assert live.level() == "kprobe"
    compiled = kept_program()
    run("systemctl", "stop", "oomkilld")
    shutil.copy(COPY, PROGRAM)
    assert kept_program() == compiled, "nothing in it depends on the boot"
    here = live.now()
    assert run("systemctl", "start", "oomkilld").returncode == 0, live.service_journal()
    assert said_about_the_program(here) == ["attached the kept program, without compiling it"]
    assert live.level() == "kprobe"
    with live.cgroup("again", LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert sorted(name for name in entry if name.startswith("OOM_")) == state.facts()["fields"]
    assert len({entry["OOM_DECISION_ID"] for entry in group_kill(live.now(), "kprobe")}) == 1
    COPY.unlink()


def test_uninstall_removes_exactly_what_install_added(state: State) -> None:
    result = subprocess.run(["packaging/install", "--uninstall"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    before, after = state.facts()["tree_before"], tree()
    after.pop("/var/lib/oomkilld-tests.json")
    assert {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == {}
    assert live.show("oomkilld", "LoadState") == "not-found"
