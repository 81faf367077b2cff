# SPDX-License-Identifier: Apache-2.0
"""After a reboot: the service is up, and the old entries are there. Then it is uninstalled."""

import subprocess

from tests.support import live
from tests.vm.guest.conftest import State
from tests.vm.guest.first_boot.test_1_install import tree
from tests.vm.guest.kills import LIMIT, kills_after


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


def test_uninstall_removes_exactly_what_install_added(state: State) -> None:
    result = subprocess.run(["packaging/install", "--uninstall"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    before, after = state.facts()["tree_before"], tree()
    after.pop("/var/lib/oomkilld-tests.json")
    assert {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == {}
    assert live.show("oomkilld", "LoadState") == "not-found"
