# SPDX-License-Identifier: Apache-2.0
"""The service, started once for all tests of a run, in the way that $OOMKILLD_TEST_SERVICE names."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.testkill import mounts, victim
from tests.host.service.daemon import Daemon, Foreground, Unit
from tests.host.service.watched import Watched
from tests.support import live
from tests.vm.machine import build_hog
from trial import alone

ROOT = Path(__file__).parents[3]
# journald drops nothing of a storm, neither for its rate nor for its size.
JOURNALD_SETTINGS = "RateLimitIntervalSec=0\nRuntimeMaxUse=2G\nRuntimeKeepFree=1M\n"
# Only a service manager keeps files, and restarts a killed service.
NEED_A_MANAGER = ["test_restart.py", "test_quick_stops.py", "test_faults.py", "test_fault_points.py", "test_unit.py"]
# A container has no loop devices and no kernel log; its outermost cgroup owns all others; its processes have other
# numbers than the kernel's; and a service manager decides about the surroundings of a unit.
NEED_THE_MACHINE = [
    "test_command_lines.py",
    "test_hidden.py",
    "test_bad_starts.py",
    "test_joined.py",
    "test_unconfirmed.py",
    "test_kept_files.py",
    "test_kept_program.py",
    "test_storage.py",
]
# These also run where the service is started by hand, and nothing in them depends on who starts it.
SAME_EITHER_WAY = ["test_attack_flood.py", "test_audit.py", "test_contents.py", "test_storm.py"]
# This one measures for an hour.
COST = ["test_recorder_cost.py"]
if os.environ.get("OOMKILLD_TEST_SERVICE") != "unit":
    collect_ignore = NEED_A_MANAGER if "OOMKILLD_TEST_FULL" in os.environ else NEED_A_MANAGER + COST
elif "OOMKILLD_TEST_FULL" in os.environ:
    collect_ignore = NEED_THE_MACHINE + COST
else:
    collect_ignore = NEED_THE_MACHINE + SAME_EITHER_WAY + COST
BUILD = '. packaging/lib.sh; decide; prepare_program "$0"; put_program "$0" "$0/program"'


def make_etc_private(scratch: Path) -> None:
    """In the mount namespace of these tests: the machine's own /etc, plus what the tests configure."""
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
    """The program for processes to be killed, and a cgroup for theirs."""
    scratch = tmp_path_factory.mktemp("hogs")
    if "OOMKILLD_TEST_HOG" not in os.environ:
        build_hog(scratch / "hog")
        os.environ["OOMKILLD_TEST_HOG"] = str(scratch / "hog")
    with victim.room(scratch) as parent:
        os.environ["OOMKILLD_TEST_CGROUP"] = str(parent)
        yield


@pytest.fixture
def here(daemon: Daemon) -> live.Moment:  # noqa: ARG001
    """A moment before the test: everything that the test causes comes later."""
    return live.now()


@pytest.fixture
def watched(daemon: Daemon, here: live.Moment) -> Watched:
    return Watched(daemon, here)
