# SPDX-License-Identifier: Apache-2.0
"""What became of victims: usually they are gone in an instant, and get no further entry."""

import re
import subprocess

import pytest

from tests.support import live, pace
from tests.vm.guest.kernel.freezable import asleep, frozen
from tests.vm.guest.kills import MIB, kills_after
from tests.vm.guest.service import SETTINGS, file, run, service_restored

LIMIT = 30 * MIB
# Ten seconds after the kill, plus the extra time of an emulated machine.
STUCK_WITHIN = 40


def only(event: str, here: live.Moment, seconds: float) -> live.Entry:
    (entry,) = live.wait_for(event, lambda: live.service_entries(event, here), seconds, live.service_journal)
    return entry


def stuck_victim(where: live.Cgroup, here: live.Moment, level: str) -> "tuple[subprocess.Popen[str], live.Entry]":
    """Returns the process that holds most; another one asks for memory until it is killed, too."""
    with frozen() as file_:
        victim = where.start("name=holder", "hold=20", f"write={file_}")
        live.wait_for("sleep", lambda: asleep(victim), 10)
        live.kill_one(where, "name=eater")
        kills = {int(entry["OOM_VICTIM_PID"]): entry for entry in kills_after(here, 2, level)}
        kill = kills[victim.pid]
        stuck = only("stuck", here, STUCK_WITHIN)
        assert live.service_entries("gone", here) == []
        assert stuck["OOM_KILL_ID"] == kill["OOM_KILL_ID"]
        assert stuck["PRIORITY"] == "4"
        assert re.search(r"\bD\b", stuck["MESSAGE"])
        for name in ("OOM_VICTIM_PID", "OOM_VICTIM_COMM", "OOM_VICTIM_UID", "OOM_VICTIM_UNIT", "OBJECT_SYSTEMD_UNIT"):
            assert stuck[name] == kill[name]
        waited = int(stuck["__REALTIME_TIMESTAMP"]) - int(kill["OOM_TIMESTAMP"])
        print(f"said to be stuck {waited / 1e6:.1f} s after the kill")
        assert waited >= 10e6
    return victim, kill


@pytest.mark.each_kernel
def test_a_victim_that_cannot_end_gets_a_stuck_entry_and_later_a_gone_entry(here: live.Moment, level: str) -> None:
    with live.cgroup("stuck", LIMIT) as where:
        victim, kill = stuck_victim(where, here, level)
        victim.wait(30 * pace.patience())
        gone = only("gone", here, 30)
    assert gone["OOM_KILL_ID"] == kill["OOM_KILL_ID"]
    assert int(gone["OOM_EXIT_AFTER_USEC"]) >= 10e6
    assert len(live.service_entries("stuck", here)) == 1


def test_an_ordinary_end_gets_no_entry_unless_asked_for(here: live.Moment, level: str) -> None:
    with live.cgroup("ordinary", LIMIT) as where:
        live.kill_one(where)
        kills_after(here, 1, level)
        with service_restored(), file(SETTINGS.with_name("outcome.toml"), '[entry]\noutcome = "all"\n'):
            assert run("systemctl", "restart", "oomkilld").returncode == 0
            asked = live.now()
            victim = live.kill_one(where)
            (kill,) = kills_after(asked, 1, level)
            gone = only("gone", asked, STUCK_WITHIN)
    assert live.service_entries("stuck", here) == []
    assert len(live.service_entries("gone", here)) == 1
    assert int(gone["OOM_VICTIM_PID"]) == victim.pid
    assert gone["OOM_KILL_ID"] == kill["OOM_KILL_ID"]
    if "OOM_EXIT_AFTER_USEC" in gone:
        print(f"free after {gone['OOM_EXIT_AFTER_USEC']} µs")
    assert "OOM_EXIT_AFTER_USEC" in gone or level == "tracepoint"
