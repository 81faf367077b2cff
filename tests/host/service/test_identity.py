# SPDX-License-Identifier: Apache-2.0
"""Whose process was killed, on this machine's kernel and its cgroup hierarchy of version 1 or 2."""

from pathlib import Path

import pytest

from oomkilld.host.procfs import ProcReader
from oomkilld.testkill.memorycgroup import hierarchy
from tests.host.service.daemon import Daemon, kills_after
from tests.host.service.feigned import USER_1000, group_at, seen_from_the_root
from tests.support import deep, live

MIB = 1 << 20
ID = "4f1d" * 16
POD_UID = "5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11"
POD_SLICE = f"kubepods.slice/kubepods-pod{POD_UID.replace('-', '_')}.slice"
HOSTS = ("MACHINE", "CONTAINER_ID", "CONTAINER_RUNTIME", "CONTAINER_NAME", "POD_UID", "POD_NAMESPACE", "POD_NAME")


def test_the_path_is_that_of_the_memory_controllers_cgroup(daemon: Daemon, here: live.Moment) -> None:
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
        # In a container this process sees only its lower end.
        assert path.endswith(f"/{theirs.own}")
    assert entry["OBJECT_SYSTEMD_CGROUP"] == entry["OOM_VICTIM_CGROUP"]


@pytest.mark.parametrize("levels", [40, 200, 1000])
def test_a_deep_path_has_its_outermost_names(daemon: Daemon, here: live.Moment, levels: int) -> None:
    with live.cgroup("deep", None) as top:
        with deep.below(top.path, levels, 30 * MIB) as where:
            live.kill_one(where, "uid=65534")
        (entry,) = kills_after(daemon, here, 1)
    own = entry["OOM_VICTIM_CGROUP"].partition("/deep/")[0]
    whole = f"{own}/deep" + levels * f"/{deep.NAME}"
    for role in ("VICTIM", "TRIGGER"):
        assert entry[f"OOM_{role}_CGROUP"] == deep.outermost(whole)
        assert entry[f"OOM_{role}_CGROUP_CUT"] == "1"


def test_a_cgroup_with_a_hostile_name_is_one_field(daemon: Daemon, here: live.Moment) -> None:
    with live.cgroup("x\x1b[31m\udcff\\PRIORITY=0", 30 * MIB) as where:
        live.kill_one(where)
        (entry,) = kills_after(daemon, here, 1)
    assert entry["OOM_VICTIM_CGROUP"].endswith("/x%1B[31m%FF\\PRIORITY=0")
    assert entry["PRIORITY"] == "2"


@pytest.mark.parametrize(
    ("path", "user_unit", "inner", "shown"),
    [
        ("app.slice/sshd.service", "sshd.service", None, "sshd.service of user 1000"),
        ("user@0.service/sshd.service", "user@0.service", None, "user@0.service of user 1000"),
        (f"docker-{ID}.scope", f"docker-{ID}.scope", ID, "docker container 4f1d4f1d4f1d of user 1000"),
        (f"kubepods/pod{POD_UID}/{ID}", None, ID, "container 4f1d4f1d4f1d of user 1000"),
        (
            f"{POD_SLICE}/cri-containerd-{ID}.scope",
            f"cri-containerd-{ID}.scope",
            ID,
            "containerd container 4f1d4f1d4f1d of user 1000",
        ),
        ("lxc.payload.prod-db", None, "prod-db", "lxc container prod-db of user 1000"),
        ("lxc.payload.x of user 0", None, "x of user 0", "lxc container 'x of user 0' of user 1000"),
        ("machine.slice/machine-prod.scope", "machine-prod.scope", None, "machine-prod.scope of user 1000"),
    ],
)
def test_names_that_a_user_chose_are_shown_as_the_users(
    daemon: Daemon, here: live.Moment, path: str, user_unit: str | None, inner: str | None, shown: str
) -> None:
    with group_at(f"{USER_1000}/{path}", 30 * MIB) as where:
        victim = live.kill_one(where, "uid=65534")
        (entry,) = kills_after(daemon, here, 1)
    assert [name for name in HOSTS if f"OOM_VICTIM_{name}" in entry and seen_from_the_root(where, entry)] == []
    assert entry.get("OBJECT_SYSTEMD_UNIT") != "sshd.service"
    assert entry.get("OOM_VICTIM_INNER_CONTAINER_ID") == inner or not seen_from_the_root(where, entry)
    assert f"/{path}" in entry["OOM_VICTIM_CGROUP"]
    if seen_from_the_root(where, entry):
        assert entry["OOM_VICTIM_UNIT"] == entry["OBJECT_SYSTEMD_UNIT"] == "user@1000.service"
        assert entry.get("OOM_VICTIM_USER_UNIT") == entry.get("OBJECT_SYSTEMD_USER_UNIT") == user_unit
        assert names(entry, victim.pid, shown)


def names(entry: live.Entry, pid: int, shown: str) -> bool:
    """Whether MESSAGE names the victim's owner: with the domain, if that is known, and then only there."""
    where = (f"Out of memory in {shown} (", f"Out of memory in cgroup '{entry['OOM_VICTIM_CGROUP']}' (")
    if entry["MESSAGE"].startswith(where):
        return f"killed process {pid} (hog), " in entry["MESSAGE"]
    return f"killed process {pid} (hog, {shown})" in entry["MESSAGE"]


@pytest.mark.parametrize(
    ("above", "fields", "shown"),
    [
        (
            f"system.slice/docker-{'ab' * 32}.scope",
            {"UNIT": f"docker-{'ab' * 32}.scope", "CONTAINER_ID": "ab" * 32, "CONTAINER_RUNTIME": "docker"},
            "docker container abababababab",
        ),
        (
            f"docker/{'ab' * 32}",
            {"CONTAINER_ID": "ab" * 32, "CONTAINER_RUNTIME": "docker"},
            "docker container abababababab",
        ),
        ("system.slice/ci.service", {"UNIT": "ci.service"}, "ci.service"),
        ("machine.slice/machine-box.scope", {"UNIT": "machine-box.scope", "MACHINE": "box"}, "machine-box.scope"),
    ],
    ids=["docker", "docker without systemd", "a delegated unit", "a machine"],
)
def test_names_from_inside_a_container_or_unit_are_shown_as_inside(
    daemon: Daemon, here: live.Moment, above: str, fields: dict[str, str], shown: str
) -> None:
    with group_at(f"{above}/kubepods/pod{POD_UID}/docker/{ID}", 30 * MIB) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(daemon, here, 1)
    if not seen_from_the_root(where, entry):
        return
    told = {name: entry[f"OOM_VICTIM_{name}"] for name in ("UNIT", *HOSTS) if f"OOM_VICTIM_{name}" in entry}
    assert told == fields
    assert entry["OOM_VICTIM_INNER_CONTAINER_ID"] == ID
    assert names(entry, victim.pid, f"docker container 4f1d4f1d4f1d in {shown}")


@pytest.mark.parametrize("name", ["a, sshd.service", "sshd.service", "a) (b", "it's"])
def test_a_process_name_is_quoted(daemon: Daemon, here: live.Moment, name: str) -> None:
    with live.cgroup("named", 30 * MIB) as where:
        live.kill_one(where, f"name={name}")
        (entry,) = kills_after(daemon, here, 1)
    assert f"killed process {entry['OOM_VICTIM_PID']} ('{name.replace(chr(39), chr(92) + 'x27')}'" in entry["MESSAGE"]


def test_a_cgroups_name_cannot_fake_a_line_of_proc_pid_cgroup() -> None:
    own = hierarchy(Path("/proc/self/cgroup").read_text())
    assert own is not None
    line = "0:" if own.controllers is None else f"9:{own.controllers}"
    with group_at(f"{USER_1000}/x\r{line}:/system.slice/sshd.service", 30 * MIB) as where:
        sleeper = where.start("sleep")
        told = ProcReader().thread_status(sleeper.pid).cgroup
        sleeper.kill()
        sleeper.wait()
    assert told is not None
    assert told.endswith(f"/{USER_1000}/x\r{line}:/system.slice/sshd.service".encode())
