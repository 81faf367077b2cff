# SPDX-License-Identifier: Apache-2.0
"""Last of this boot, for it cannot be undone: the kernel is locked down."""

from pathlib import Path

from tests.support import live
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.service import run


def test_under_lockdown_it_goes_on_with_the_kernels_log(here: live.Moment) -> None:
    Path("/sys/kernel/security/lockdown").write_text("confidentiality")
    run("systemctl", "restart", "oomkilld")
    assert live.level() == "kmsg"
    (change,) = live.service_entries("level", here)
    assert "(not kprobe, fentry, tracepoint: the kernel is locked down (confidentiality)" in change["MESSAGE"]
    assert (change["OOM_LEVEL_FROM"], change["OOM_LEVEL_TO"], change["PRIORITY"]) == ("kprobe", "kmsg", "4")
    with live.cgroup("locked", LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1, "kmsg")
    assert int(entry["OOM_VICTIM_TID"]) == victim.pid
