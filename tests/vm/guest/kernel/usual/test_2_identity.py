# SPDX-License-Identifier: Apache-2.0
"""Whose process was killed and whose limit was hit, as the kernel, systemd and the test itself know it."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import deep, live
from tests.vm.guest.kernel.oomlog import reports
from tests.vm.guest.kills import LIMIT, MIB, kills_after, until_one_is_killed
from tests.vm.guest.service import drop_in_of, file, run

CGROUPS = Path("/sys/fs/cgroup")
ID = "4f1d" * 16
POD_UID = "5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11"
_BURSTABLE = "/kubepods.slice/kubepods-burstable.slice"
POD_SLICE = f"{_BURSTABLE}/kubepods-burstable-pod{POD_UID.replace('-', '_')}.slice"
# Between the kernel's decision and its report, usage changes by what each CPU has charged in advance.
CHARGED_AHEAD = 64 * 2 * live.PAGE


@contextmanager
def cgroup_at(path: str, limit: int | None = None) -> Iterator[live.Cgroup]:
    """Created by hand with its missing parents; ``limit``: of its memory, without swap."""
    where = CGROUPS / path.lstrip("/")
    made = [each for each in reversed([where, *where.parents]) if not each.exists()]
    for each in made:
        (each.parent / "cgroup.subtree_control").write_text("+memory")
        each.mkdir()
    if limit is not None:
        set_limit(where, limit)
    try:
        yield live.Cgroup(where)
    finally:
        for each in reversed(made):
            remove(each)


def remove(where: Path) -> None:
    def empty() -> bool:
        return not where.exists() or "populated 0" in (where / "cgroup.events").read_text()

    live.wait_for(f"end of the processes in {where}", empty, 30)
    if where.exists():
        where.rmdir()


def set_limit(where: Path, limit: int) -> None:
    (where / "memory.max").write_text(str(limit))
    swap = where / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")


def assert_as_the_kernel_reports(entry: live.Entry, here: live.Moment) -> None:
    (report,) = reports(here)
    assert report.scope == f"oom_memcg={entry['OOM_DOMAIN_CGROUP']}"
    assert report.victim_cgroup == entry["OOM_VICTIM_CGROUP"]
    assert report.gfp_flags == entry["OOM_GFP_FLAGS"]


@pytest.mark.each_kernel
def test_the_path_is_right_even_if_the_cgroup_is_gone_before_anyone_looks(here: live.Moment, level: str) -> None:
    service = live.main_pid()
    path = "/short.slice/lived.service/inner"
    os.kill(service, signal.SIGSTOP)
    try:
        with cgroup_at(path, LIMIT) as where:
            victim = live.kill_one(where, "uid=65534")
            where.path.rmdir()
            removed = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    finally:
        os.kill(service, signal.SIGCONT)
    (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert entry["OOM_VICTIM_CGROUP"] == entry["OOM_TRIGGER_CGROUP"] == path
    assert entry["OOM_VICTIM_UNIT"] == "lived.service"
    assert entry["OOM_VICTIM_SLICE"] == "short.slice"
    assert not [
        name for name in entry if name.startswith(("OOM_DOMAIN_STAT_", "OOM_DOMAIN_EVENTS_", "OOM_DOMAIN_PEAK_"))
    ]
    print(f"removed {removed - int(entry['OOM_BOOTTIME_TIMESTAMP'])} µs after the kill")
    if level != "tracepoint":
        assert entry["OOM_DOMAIN_CGROUP"] == path
        assert_as_the_kernel_reports(entry, here)


@pytest.mark.parametrize("levels", [2, 40, 200, pytest.param(1000, marks=pytest.mark.each_kernel)])
def test_a_deep_path_has_its_outermost_names(
    here: live.Moment, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: int
) -> None:
    hog = tmp_path / ("h" * 250)
    shutil.copy(os.environ["OOMKILLD_TEST_HOG"], hog)
    monkeypatch.setenv("OOMKILLD_TEST_HOG", str(hog))
    with cgroup_at("/deep.slice/of-a-user.service", LIMIT) as top, deep.below(top.path, levels) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert f"killed process {victim.pid} (" in entry["MESSAGE"]
    assert entry["OOM_VICTIM_EXE_NAME"] == "h" * 250
    whole = "/deep.slice/of-a-user.service" + levels * f"/{deep.NAME}"
    for role in ("VICTIM", "TRIGGER"):
        assert entry[f"OOM_{role}_CGROUP"] == deep.outermost(whole)
        assert entry.get(f"OOM_{role}_CGROUP_CUT") == (None if levels == 2 else "1")
        assert entry[f"OOM_{role}_UNIT"] == "of-a-user.service"
    assert entry["OBJECT_SYSTEMD_UNIT"] == "of-a-user.service"
    assert ("OBJECT_SYSTEMD_CGROUP" in entry) == (levels == 2)
    if level != "tracepoint":
        assert entry["OOM_DOMAIN_CGROUP"] == "/deep.slice/of-a-user.service"
        assert "OOM_DOMAIN_CGROUP_CUT" not in entry
        assert entry["OOM_GROUP_KILL"] == "0"


def test_the_limit_may_be_that_of_a_deep_group(here: live.Moment, level: str) -> None:
    with cgroup_at("/deep.slice/of-a-user.service") as top, deep.below(top.path, 40, LIMIT) as where:
        live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    whole = "/deep.slice/of-a-user.service" + 40 * f"/{deep.NAME}"
    # At level tracepoint, the owner of the limit is unknown.
    for role in ("VICTIM", "TRIGGER", *(["DOMAIN"] if level != "tracepoint" else [])):
        assert entry[f"OOM_{role}_CGROUP"] == deep.outermost(whole)
        assert entry[f"OOM_{role}_CGROUP_CUT"] == "1"
        assert entry[f"OOM_{role}_UNIT"] == "of-a-user.service"


def test_a_member_of_a_deep_group_is_killed_with_all_of_it(here: live.Moment, level: str) -> None:
    with cgroup_at("/deep.slice/whole.service", LIMIT) as top:
        (top.path / "memory.oom.group").write_text("1")
        with deep.below(top.path, 40, 10 * LIMIT) as where:
            live.kill_one(where)
            (entry,) = kills_after(here, 1, level)
    # The kernel prints it after the first kill.
    assert entry.get("OOM_GROUP_KILL") == (None if level == "tracepoint" else "1")


@pytest.mark.each_kernel
def test_the_facts_of_the_processes(here: live.Moment, level: str) -> None:
    with live.cgroup("who", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "name=who am i")
        (entry,) = kills_after(here, 1, level)
    own = Path("/proc/self/comm").read_text().rstrip("\n")
    for role in ("VICTIM", "TRIGGER"):
        assert int(entry[f"OOM_{role}_PARENT_PID"]) == os.getpid()
        assert entry[f"OOM_{role}_PARENT_COMM"] == own
        assert int(entry[f"OOM_{role}_NS_PID"]) == victim.pid
        assert entry[f"OOM_{role}_EXE_NAME"] == "hog"
        assert entry[f"OOM_{role}_CGROUP"] == f"/{where.path.relative_to(CGROUPS)}"
        assert entry[f"OOM_{role}_UNIT"] == "oomkilld-tests.service"
        assert entry[f"OOM_{role}_SLICE"] == "system.slice"
    assert entry["OOM_TRIGGER_START_TIMESTAMP"] == entry["OOM_VICTIM_START_TIMESTAMP"]


@pytest.mark.each_kernel
def test_in_a_pid_namespace_the_process_has_a_number_of_its_own(here: live.Moment, level: str) -> None:
    with live.cgroup("namespace", LIMIT) as where:
        hog = [os.environ["OOMKILLD_TEST_HOG"], str(where.procs), "eat"]
        for _attempt in range(10):
            if subprocess.run(["unshare", "--pid", "--fork", *hog], check=False).returncode != live.ENOMEM_STATUS:
                break
        (entry,) = kills_after(here, 1, level)
    assert entry["OOM_VICTIM_NS_PID"] == "1"
    assert int(entry["OOM_VICTIM_PID"]) > 1
    assert re.search(
        rf"killed process {entry['OOM_VICTIM_PID']} \(hog, (.*, )?pid 1 in its PID namespace\)", entry["MESSAGE"]
    )
    assert entry["OOM_VICTIM_PARENT_COMM"] == "unshare"


@pytest.mark.each_kernel
def test_the_limit_may_be_a_grandparents(here: live.Moment, level: str) -> None:
    with cgroup_at("/tenants.slice", LIMIT) as _, cgroup_at("/tenants.slice/tenants-a.slice/db.service") as where:
        victim = live.kill_one(where, "name=postgres")
        (entry,) = kills_after(here, 1, level)
    assert entry["OOM_VICTIM_CGROUP"] == "/tenants.slice/tenants-a.slice/db.service"
    assert entry["OOM_VICTIM_UNIT"] == "db.service"
    assert entry["OOM_VICTIM_SLICE"] == "tenants-a.slice"
    if level == "tracepoint":
        return
    assert entry["OOM_DOMAIN_CGROUP"] == "/tenants.slice"
    assert entry["OOM_DOMAIN_SLICE"] == "tenants.slice"
    assert "OOM_DOMAIN_UNIT" not in entry
    assert int(entry["OOM_DOMAIN_LIMIT_BYTES"]) == LIMIT
    assert abs(int(entry["OOM_DOMAIN_USAGE_BYTES"]) - LIMIT) <= CHARGED_AHEAD
    assert entry["OOM_DOMAIN_SWAP_LIMIT_BYTES"] == entry["OOM_DOMAIN_SWAP_USAGE_BYTES"] == "0"
    assert entry["OOM_GROUP_KILL"] == "0"
    assert entry["MESSAGE"].startswith(
        f"Out of memory in tenants.slice (limit 30.0M, an ancestor of db.service): "
        f"killed process {victim.pid} (postgres, db.service), "
    )
    assert_as_the_kernel_reports(entry, here)
    print(json.dumps({key: value for key, value in entry.items() if not key.startswith("__")}))


def test_the_contents_of_the_domain_are_listed_largest_first(level: str) -> None:
    below = [cgroup_at(f"/shared.slice/{name}") for name in ("large", "small", "victim")]
    with cgroup_at("/shared.slice", 40 * MIB), below[0] as large, below[1] as small, below[2] as where:
        holders = [large.start("hold=12", "adjust=-500", "sleep"), small.start("hold=4", "adjust=-500", "sleep")]
        since = live.now()
        live.kill_one(where, "adjust=500")
        (entry,) = kills_after(since, 1, level)
        for holder in holders:
            holder.kill()
            holder.wait()
    tops = [entry.get(f"OOM_TOP_{number}_CGROUP") for number in (1, 2)]
    sizes = [int(entry[f"OOM_TOP_{number}_BYTES"]) for number in (1, 2)]
    # The victim's own cgroup may still be the largest.
    assert "/shared.slice/large" in tops
    assert "/shared.slice/small" not in tops[:1]
    assert sizes == sorted(sizes, reverse=True)
    assert int(entry["OOM_DOMAIN_STAT_ANON_BYTES"]) >= 15 * MIB


@pytest.mark.parametrize(
    ("path", "unit", "runtime", "pod_uid"),
    [
        (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope", "docker", None),
        (f"/system.slice/docker-{ID}.scope/nested/docker-{ID[::-1]}.scope", f"docker-{ID}.scope", "docker", None),
        (
            f"{POD_SLICE}/cri-containerd-{ID}.scope",
            f"cri-containerd-{ID}.scope",
            "containerd",
            POD_UID,
        ),
    ],
    ids=["docker", "docker in docker", "kubernetes"],
)
def test_containers_and_pods_are_named(
    here: live.Moment, level: str, path: str, unit: str, runtime: str, pod_uid: str | None
) -> None:
    logs = Path(f"/var/log/pods/shop_web-7d9_{POD_UID}")
    link = Path(f"/var/log/containers/web-7d9_shop_web-{ID}.log")
    for directory in (logs, link.parent):
        directory.mkdir(parents=True, exist_ok=True)
    link.touch()
    with cgroup_at(path, LIMIT) as where:
        victim = live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    assert entry["OOM_VICTIM_CGROUP"] == path
    assert entry["OOM_VICTIM_UNIT"] == entry["OBJECT_SYSTEMD_UNIT"] == unit
    assert entry["OOM_VICTIM_CONTAINER_RUNTIME"] == runtime
    assert entry["OOM_VICTIM_CONTAINER_ID"] == ID
    assert entry.get("OOM_VICTIM_INNER_CONTAINER_ID") == (ID[::-1] if "nested" in path else None)
    assert entry.get("OOM_VICTIM_POD_UID") == pod_uid
    if pod_uid is None:
        assert not [name for name in entry if "_POD_" in name]
        return
    for role in ("VICTIM", "TRIGGER") if level == "tracepoint" else ("VICTIM", "TRIGGER", "DOMAIN"):
        names = [entry[f"OOM_{role}_{name}"] for name in ("POD_NAMESPACE", "POD_NAME", "CONTAINER_NAME")]
        assert names == ["shop", "web-7d9", "web"]
    if level != "tracepoint":
        where_it_was = "Out of memory in container web of pod shop/web-7d9 (limit 30.0M): "
        assert entry["MESSAGE"].startswith(f"{where_it_was}killed process {victim.pid} (hog), ")


def unit_killed(here: live.Moment, level: str, *options: str) -> live.Entry:
    """One kill in a unit that systemd created for it."""
    limits = ("-p", "MemoryMax=30M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=continue")
    hog = (os.environ["OOMKILLD_TEST_HOG"], "/dev/null", "eat")
    until_one_is_killed(lambda: run("systemd-run", "--wait", "--quiet", "--collect", *limits, *options, *hog))
    (entry,) = kills_after(here, 1, level)
    return entry


def found_by(*matches: str) -> list[str]:
    """Ids of the kills that journalctl finds with these arguments."""
    return [entry["OOM_KILL_ID"] for entry in live.journal(*matches, "OOM_EVENT=kill")]


@pytest.mark.parametrize(
    "unit", ["nightly-report.service", r"disk\x2dreport@dev-disk-by\x2dlabel-data.service", "x:y_z.1@A.service"]
)
def test_journalctl_finds_the_kill_by_the_victims_unit(here: live.Moment, level: str, unit: str) -> None:
    entry = unit_killed(here, level, f"--unit={unit}", "--slice=batch.slice")
    assert entry["OOM_VICTIM_UNIT"] == unit
    assert entry["OOM_VICTIM_SLICE"].startswith("batch")
    assert entry["OBJECT_SYSTEMD_UNIT"] == unit
    assert found_by("-u", unit, here.after_cursor) == [entry["OOM_KILL_ID"]]
    if level != "tracepoint":
        assert f"Out of memory in {entry['OOM_VICTIM_UNIT']} (limit 30.0M): killed process" in entry["MESSAGE"]


def test_systemctl_status_shows_the_kill_of_a_unit_that_runs_on(here: live.Moment, level: str) -> None:
    hog = os.environ["OOMKILLD_TEST_HOG"]
    script = f"while :; do {hog} /dev/null adjust=900 eat; sleep 1000 & wait; done"
    limits = ("-p", "MemoryMax=30M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=continue")
    run("systemd-run", "--quiet", "--unit=goes-on", *limits, "/bin/sh", "-c", script)
    try:
        (entry,) = kills_after(here, 1, level)
        assert entry["OBJECT_SYSTEMD_INVOCATION_ID"] == live.show("goes-on", "InvocationID")
        shown = run("systemctl", "status", "--no-pager", "--full", "-n", "50", "goes-on").stdout
        assert f"killed process {entry['OOM_VICTIM_PID']} (hog" in shown
    finally:
        run("systemctl", "stop", "goes-on")


USER_UNIT = """
[Service]
ExecStart={hog} /dev/null eat
MemoryMax=30M
MemorySwapMax=0
OOMPolicy=continue
"""


def test_journalctl_finds_the_kill_by_the_victims_user_unit(here: live.Moment, level: str) -> None:
    units = Path("/run/systemd/user")
    (units / "default.target.wants").mkdir(parents=True, exist_ok=True)
    (units / "default.target.wants/editor.service").symlink_to(units / "editor.service")
    unit = file(units / "editor.service", USER_UNIT.format(hog=os.environ["OOMKILLD_TEST_HOG"]))
    # Without PAM and logind, which the guest lacks.
    with unit, drop_in_of("user@0.service", "PAMName=", "Environment=XDG_RUNTIME_DIR=/run/user/0"):
        run("systemctl", "start", "user@0.service")
        try:
            (entry,) = kills_after(here, 1, level)
        finally:
            run("systemctl", "stop", "user@0.service")
            (units / "default.target.wants/editor.service").unlink()
    assert entry["OOM_VICTIM_UNIT"] == "user@0.service"
    assert entry["OOM_VICTIM_USER_UNIT"] == "editor.service"
    assert "OBJECT_SYSTEMD_INVOCATION_ID" not in entry
    assert found_by("--user-unit", "editor.service", here.after_cursor) == [entry["OOM_KILL_ID"]]


USER_MANAGER = "/user.slice/user-1000.slice/user@1000.service"
# A unit of the user creates a group below his own manager, as every user with one can.
MAKE_AND_EAT = """
cd /sys/fs/cgroup{manager}
parent=.
IFS=/
for name in $1; do
    echo +memory > "$parent/cgroup.subtree_control"
    parent="$parent/$name"
    mkdir -p "$parent"
done
echo 30M > "$parent/memory.max"
echo 0 > "$parent/memory.swap.max"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    {hog} "$parent/cgroup.procs" adjust=900 eat
    [ $? = 3 ] || break
done
"""


@pytest.fixture(scope="module")
def user_1000() -> Iterator[None]:
    """A user without any right who has a service manager; without PAM and logind, which the guest lacks."""
    assert run("useradd", "--uid", "1000", "mallory").returncode == 0
    runtime = Path("/run/user/1000")
    runtime.mkdir(parents=True, mode=0o700)
    os.chown(runtime, 1000, 1000)
    try:
        with drop_in_of("user@1000.service", "PAMName=", f"Environment=XDG_RUNTIME_DIR={runtime}"):
            started = run("systemctl", "start", "user@1000.service")
            assert started.returncode == 0, started.stderr + run("journalctl", "-n", "30", "-u", "user@1000").stdout
            try:
                yield
            finally:
                run("systemctl", "stop", "user@1000.service", "user-runtime-dir@1000.service")
    finally:
        shutil.rmtree(runtime, ignore_errors=True)  # if the manager has not removed it
        run("userdel", "mallory")


def run_as_user(*command: str) -> None:
    """Run it through that user's manager."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": "/run/user/1000"}
    words = ["systemd-run", "--user", "--quiet", "--collect", *command]
    subprocess.run(words, check=True, user=1000, group=1000, extra_groups=[], env=environment)


def assert_told_as_user_1000s(entry: live.Entry, shown: str) -> None:
    assert entry["OOM_VICTIM_UID"] == "1000"
    assert entry["OOM_VICTIM_UNIT"] == entry["OBJECT_SYSTEMD_UNIT"] == "user@1000.service"
    assert entry["OOM_VICTIM_SLICE"] == "user-1000.slice"
    others = ("POD_UID", "POD_NAME", "POD_NAMESPACE", "CONTAINER_NAME", "MACHINE", "CONTAINER_ID", "CONTAINER_RUNTIME")
    assert not [name for name in others for role in ("VICTIM", "TRIGGER", "DOMAIN") if f"OOM_{role}_{name}" in entry]
    assert entry["MESSAGE"].startswith(f"Out of memory in {shown} (limit 30.0M): killed process ")


@pytest.mark.usefixtures("user_1000")
def test_a_users_unit_with_the_name_of_a_system_unit_is_shown_as_the_users(here: live.Moment, level: str) -> None:
    limits = ("-p", "MemoryMax=30M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=continue")
    run_as_user("--unit=sshd.service", *limits, os.environ["OOMKILLD_TEST_HOG"], "/dev/null", "adjust=900", "eat")
    (entry,) = kills_after(here, 1, level)
    assert_told_as_user_1000s(entry, "sshd.service of user 1000")
    assert entry["OOM_VICTIM_USER_UNIT"] == "sshd.service"
    assert found_by("-u", "sshd.service", here.after_cursor) == []


@pytest.mark.usefixtures("user_1000")
@pytest.mark.parametrize(
    ("path", "inner", "shown"),
    [
        (f"docker-{ID}.scope", ID, f"docker container {ID[:12]}"),
        (f"kubepods/pod{POD_UID}/{ID}", ID, f"container {ID[:12]}"),
        ("lxc.payload.prod-db", "prod-db", "lxc container prod-db"),
    ],
    ids=["docker", "kubernetes", "lxc"],
)
def test_a_users_container_with_the_name_of_a_host_container_is_shown_as_the_users(
    here: live.Moment, level: str, path: str, inner: str, shown: str
) -> None:
    Path(f"/var/log/pods/shop_web-7d9_{POD_UID}").mkdir(parents=True, exist_ok=True)
    script = MAKE_AND_EAT.format(manager=USER_MANAGER, hog=os.environ["OOMKILLD_TEST_HOG"])
    run_as_user("-p", "OOMPolicy=continue", "/bin/sh", "-c", script, "sh", path)
    (entry,) = kills_after(here, 1, level)
    assert_told_as_user_1000s(entry, f"{shown} of user 1000")
    assert entry["OOM_VICTIM_CGROUP"] == f"{USER_MANAGER}/{path}"
    assert entry["OOM_VICTIM_INNER_CONTAINER_ID"] == inner
