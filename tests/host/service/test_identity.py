# SPDX-License-Identifier: Apache-2.0
"""Whose the killed process was, on this machine's kernel and its hierarchy of control groups, of version 1 or 2."""

from pathlib import Path

from tests.host.service.daemon import Daemon, kills_after
from tests.support import live
from trial.memorycgroup import hierarchy

MIB = 1 << 20


def test_the_path_is_that_of_the_memory_controllers_group(daemon: Daemon, here: live.Moment) -> None:
    own = hierarchy(Path("/proc/self/cgroup").read_text())
    assert own is not None
    print(f"version {2 if own.controllers is None else 1} of control groups")
    with live.cgroup("identity", 30 * MIB) as where:
        sleeper = where.start("sleep")
        theirs = hierarchy(Path(f"/proc/{sleeper.pid}/cgroup").read_text())
        assert theirs is not None
        sleeper.kill()
        sleeper.wait()
        live.kill_one(where, "uid=65534")
        (entry,) = kills_after(daemon, here, 1)
    assert theirs.own.name == "identity"
    for role in ("VICTIM", "TRIGGER"):
        path = entry[f"OOM_{role}_CGROUP"]
        assert path.startswith("/")
        # In a container this process sees the lower end of it only.
        assert path.endswith(f"/{theirs.own}")
    assert entry["OBJECT_SYSTEMD_CGROUP"] == entry["OOM_VICTIM_CGROUP"]


def test_a_cgroup_below_a_hostile_name_is_one_field(daemon: Daemon, here: live.Moment) -> None:
    with live.cgroup("x\x1b[31m\udcff\\PRIORITY=0", 30 * MIB) as where:
        live.kill_one(where)
        (entry,) = kills_after(daemon, here, 1)
    assert entry["OOM_VICTIM_CGROUP"].endswith("/x\\x1b[31m\\xff\\x5cPRIORITY=0")
    assert entry["PRIORITY"] == "2"
