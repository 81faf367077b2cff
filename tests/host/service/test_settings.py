# SPDX-License-Identifier: Apache-2.0
"""Settings apply at a restart."""

import os
import signal
from pathlib import Path

from tests.host.service.daemon import Daemon, assert_has_no_capability, kills_after, settings, settled
from tests.support import live

MIB = 1 << 20


def kill_and_read(daemon: Daemon) -> live.Entry:
    here = live.now()
    with live.cgroup("settings", 4 * MIB) as where:
        live.kill_one(where)
    (entry,) = kills_after(daemon, here, 1)
    return entry


def test_a_changed_file_counts_from_the_restart_on(daemon: Daemon) -> None:
    default = kill_and_read(daemon)
    with settings(daemon, '[entry]\npriority = "notice"\nmeminfo = ["MemFree", "Active(anon)"]\n'):
        os.kill(pid := daemon.pid(), signal.SIGHUP)
        unchanged = kill_and_read(daemon)
        assert daemon.pid() == pid
        daemon.restart()
        changed = kill_and_read(daemon)
    restored = kill_and_read(daemon)
    assert [entry["PRIORITY"] for entry in (default, unchanged, changed, restored)] == ["2", "2", "5", "2"]
    rows = {field for field in changed if field.startswith("OOM_MEMINFO_")}
    assert rows == {"OOM_MEMINFO_MEMFREE_BYTES", "OOM_MEMINFO_ACTIVE_ANON_BYTES"}
    assert default.keys() == unchanged.keys() == restored.keys() > changed.keys()


def test_the_level_can_be_chosen(daemon: Daemon) -> None:
    with settings(daemon, '[capture]\nlevel = "tracepoint"\n'):
        daemon.restart()
        before = settled(daemon).kills
        entry = kill_and_read(daemon)
        assert settled(daemon).kills == before + 1
        assert daemon.status().startswith("Level tracepoint: ")
    assert entry["OOM_SOURCE"] == "tracepoint"


def test_command_lines_are_told_where_they_are_asked_for_and_secrets_hidden(daemon: Daemon) -> None:
    assert not {"OOM_VICTIM_CMDLINE", "OOM_TRIGGER_CMDLINE"} & kill_and_read(daemon).keys()
    with settings(daemon, '[entry]\ncmdline = "full"\n'):
        daemon.restart()
        helpers = Path(f"/proc/{daemon.pid()}/task/{daemon.pid()}/children").read_text().split()
        # In a container's PID namespace it does not look at other processes.
        assert len(helpers) == 1 or os.environ["OOMKILLD_TEST_SERVICE"] == "unit"
        for helper in helpers:
            assert_has_no_capability(int(helper))
        here = live.now()
        with live.cgroup("cmdline", 30 * MIB) as where:
            holder = where.start("name=holder", "hold=20", "note=--token", "note=s3cret", "sleep")
            live.kill_one(where, "note=password=s3cret")
            assert live.killed(holder)
            program = f"{live.hog_program()} {where.procs}"
        entries = kills_after(daemon, here, 2)
    itself = next(entry for entry in entries if entry["OOM_VICTIM_PID"] == entry["OOM_TRIGGER_PID"])
    other = next(entry for entry in entries if entry is not itself)
    expected = f"{program} note=password=*** eat"
    assert itself["OOM_VICTIM_CMDLINE"] == itself["OOM_TRIGGER_CMDLINE"] == other["OOM_TRIGGER_CMDLINE"] == expected
    # It may have left before it was looked at.
    print(f"of a victim for which another asked: {other.get('OOM_VICTIM_CMDLINE')}")
    if "OOM_VICTIM_CMDLINE" in other:
        assert other["OOM_VICTIM_CMDLINE"] == f"{program} name=holder hold=20 note=--token *** sleep"
    assert "s3cret" not in str(entries)
