# SPDX-License-Identifier: Apache-2.0
"""The service for all tests of a run, started once: $OOMKILLD_TEST_SERVICE tells which."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.service.daemon import Daemon, Foreground, Unit
from tests.host.service.watched import Watched
from tests.support import live
from tests.vm.machine import build_hog
from trial import alone, mounts, victim

ROOT = Path(__file__).parents[3]
# Of a storm nothing is dropped, neither for its rate nor for its size.
JOURNALD_SETTINGS = "RateLimitIntervalSec=0\nRuntimeMaxUse=2G\nRuntimeKeepFree=1M\n"
# Only a service manager keeps files, and starts what was killed.
NEED_A_MANAGER = ["test_restart.py", "test_quick_stops.py", "test_faults.py", "test_fault_points.py", "test_unit.py"]
# A container has no loop devices, of all its cgroups the outermost one is the owner, and its processes have other
# numbers than the kernel's, and no log of the kernel; a manager chooses what a unit is started in.
NEED_THE_MACHINE = [
    "test_command_lines.py",
    "test_hidden.py",
    "test_bad_starts.py",
    "test_joined.py",
    "test_unconfirmed.py",
    "test_kept_files.py",
    "test_storage.py",
]
# Where the service is run by hand, too, and nothing in them is about who runs it.
SAME_EITHER_WAY = ["test_attack_flood.py", "test_audit.py", "test_contents.py", "test_storm.py"]
if os.environ.get("OOMKILLD_TEST_SERVICE") != "unit":
    collect_ignore = NEED_A_MANAGER
elif "OOMKILLD_TEST_FULL" in os.environ:
    collect_ignore = NEED_THE_MACHINE
else:
    collect_ignore = NEED_THE_MACHINE + SAME_EITHER_WAY
BUILD = '. packaging/lib.sh; decide; prepare_program "$0"; put_program "$0" "$0/program"'


def make_etc_private(scratch: Path) -> None:
    """The machine's own, and what the tests configure, in the mount namespace of these tests."""
    mounts.mount("tmpfs", str(scratch))
    upper, work = scratch / "upper", scratch / "work"
    upper.mkdir(mode=0o755)
    work.mkdir()
    mounts.mount("overlay", "/etc", f"lowerdir=/etc,upperdir={upper},workdir={work}")


@pytest.fixture(scope="session")
def daemon(private_mounts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:  # noqa: ARG001
    if os.environ["OOMKILLD_TEST_SERVICE"] == "unit":
        yield Unit()
        return
    scratch = tmp_path_factory.mktemp("service")
    subprocess.run(["bash", "-euc", BUILD, scratch], cwd=ROOT, check=True)
    alone.make_run_private(JOURNALD_SETTINGS)
    make_etc_private(tmp_path_factory.mktemp("etc"))
    with alone.journald() as journald:
        journald.wait_until_ready()
        foreground = Foreground(scratch / "program/bin/oomkilld", journald.process.pid)
        foreground.restart()
        yield foreground
        foreground.stop()


@pytest.fixture(scope="session", autouse=True)
def hogs(private_mounts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001
    """The processes to be killed, and room for their control groups."""
    scratch = tmp_path_factory.mktemp("hogs")
    if "OOMKILLD_TEST_HOG" not in os.environ:
        build_hog(scratch / "hog")
        os.environ["OOMKILLD_TEST_HOG"] = str(scratch / "hog")
    with victim.room(scratch) as parent:
        os.environ["OOMKILLD_TEST_CGROUP"] = str(parent)
        yield


@pytest.fixture
def here(daemon: Daemon) -> live.Moment:  # noqa: ARG001
    """Before the test: what it causes comes after."""
    return live.now()


@pytest.fixture
def watched(daemon: Daemon, here: live.Moment) -> Watched:
    return Watched(daemon, here)
