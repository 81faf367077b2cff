# SPDX-License-Identifier: Apache-2.0
"""Last in this boot, because it cannot be undone: kernel lockdown."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, MIB, group_kill, kills_after, wait_until_headers_are_counted
from tests.vm.guest.service import run


def test_under_lockdown_it_continues_with_the_kernel_log(here: live.Moment) -> None:
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


def test_of_a_group_under_lockdown_each_member_has_its_owner(here: live.Moment) -> None:
    wait_until_headers_are_counted()
    entries = group_kill(here, "kmsg")
    assert {entry["OOM_VICTIM_UNIT"] for entry in entries} == {"oomkilld-tests.service"}
    assert {entry["OOM_DOMAIN_LIMIT_BYTES"] for entry in entries} == {str(LIMIT)}
    # If the kernel kills a whole group, the log does not name a member's cgroup below it, except for the first.
    assert sum("OOM_VICTIM_CGROUP" in entry for entry in entries) == 1
    assert all(entry["OOM_VICTIM_PID"] == entry["OOM_VICTIM_TID"] for entry in entries)


FULL = Path("/dev/shm/oomkilld-full")
TIMES = 5


@pytest.fixture
def file_on_tmpfs() -> Iterator[Path]:
    yield FULL
    FULL.unlink(missing_ok=True)


def test_under_lockdown_an_unkillable_decision_is_one_entry(here: live.Moment, file_on_tmpfs: Path) -> None:
    before = live.settled_counts()
    with live.cgroup("full", LIMIT) as where:
        fill = f"echo $$ >{where.procs}; exec dd if=/dev/zero of={file_on_tmpfs} bs=1M count=8 status=none"
        subprocess.run(["sh", "-c", fill], check=True)
        for _ in range(TIMES):
            (where.path / "memory.max").write_text(str(4 * MIB))
        (entry,) = live.wait_for("entry", lambda: live.service_entries("unkillable", here), 30, live.service_journal)
        file_on_tmpfs.unlink()
    said = "Out of memory and no killable processes..."
    assert [line["MESSAGE"] for line in live.journal("_TRANSPORT=kernel", here.after_cursor)].count(said) == TIMES
    assert live.settled_counts() == before
    assert len(live.service_entries("unkillable", here)) == 1
    print(entry["MESSAGE"])
    expected = {
        "OOM_SOURCE": "kmsg",
        "OOM_DOMAIN": "cgroup",
        "OOM_DOMAIN_CGROUP": f"/{where.path.relative_to('/sys/fs/cgroup')}",
        "OOM_DOMAIN_LIMIT_BYTES": str(4 * MIB),
        "OOM_TRIGGER_TID": str(os.getpid()),
        "OOM_TRIGGER_UID": "0",
        "OBJECT_SYSTEMD_UNIT": "oomkilld-tests.service",
    }
    assert {name: entry.get(name) for name in expected} == expected
    assert int(entry["OOM_DOMAIN_USAGE_BYTES"]) >= 8 * MIB
    assert [name for name in entry if name.startswith("OOM_VICTIM_")] == []
