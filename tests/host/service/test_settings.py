# SPDX-License-Identifier: Apache-2.0
"""Settings apply at a restart."""

from tests.host.service.daemon import Daemon, kills_after, settings, settled
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
        unchanged = kill_and_read(daemon)
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
        entry = kill_and_read(daemon)
        assert settled(daemon).kills == 1
        assert daemon.status().startswith("Level tracepoint: ")
    assert entry["OOM_SOURCE"] == "tracepoint"
