# SPDX-License-Identifier: Apache-2.0
"""An entry has the invocation of the victim's unit, even if that ends with the kill and the next begins at once."""

import os

import pytest

from tests.support import live
from tests.vm.guest.kills import SECONDS
from tests.vm.guest.service import run

# "Main process exited, code=killed, status=9/KILL". systemd's message about the kill itself comes later, when another
# run may have begun.
SAID_BY_PID_1 = ("MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15", "EXIT_CODE=killed")
KILLS = 7


@pytest.mark.parametrize("policy", ["continue", "stop", "kill"])
def test_the_invocation_is_the_one_that_the_service_manager_logs_or_absent(
    here: live.Moment, level: str, policy: str
) -> None:
    unit = f"again-{policy}.service"
    limits = ("-p", "MemoryMax=30M", "-p", "MemorySwapMax=0", "-p", f"OOMPolicy={policy}")
    at_once = ("-p", "Restart=always", "-p", "RestartSec=0", "-p", "StartLimitIntervalSec=0")
    hog = (os.environ["OOMKILLD_TEST_HOG"], "/dev/null", "eat")
    # Collected: that of another level, which may have failed as it was stopped, would keep the name.
    started = run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *limits, *at_once, *hog)
    assert started.returncode == 0, started.stderr
    try:
        entries = live.wait_for(
            f"{KILLS} entries",
            lambda: found if len(found := live.service_entries("kill", here)) >= KILLS else None,
            KILLS * SECONDS,
            live.service_journal,
        )
    finally:
        run("systemctl", "stop", unit)
    assert {entry["OOM_SOURCE"] for entry in entries} == {level}
    told = [entry.get("OBJECT_SYSTEMD_INVOCATION_ID") for entry in entries]
    runs = [entry["INVOCATION_ID"] for entry in live.journal(here.after_cursor, *SAID_BY_PID_1, f"UNIT={unit}")]
    known = [(ours, theirs) for ours, theirs in zip(told, runs, strict=False) if ours is not None]
    print(f"OOMPolicy={policy}: {len(known)} of {len(told)} invocations are known")
    assert all(ours == theirs for ours, theirs in known), (told, runs)
    assert len(known) == len(told)
    assert len(set(told)) == len(told), "each run ends with its kill"
