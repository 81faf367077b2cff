# SPDX-License-Identifier: Apache-2.0
"""oomkillctl under systemd 257 and with cgroup version 2: the layer host's tests, and the kill of a unit."""

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.host.service.daemon import Daemon, Unit
from tests.host.service.test_ctl import (
    nothing_left_behind,
    test_a_machine_whose_kills_are_recorded_is_covered,
    test_a_machine_without_the_service_is_not_covered,
    test_a_selftest_that_is_interrupted_leaves_nothing_behind,
    test_the_kill_of_a_selftest_is_recorded_in_time,
    test_without_systemd_run_it_makes_a_cgroup_itself,
)
from tests.support import live
from tests.vm.guest.kills import kills_after
from tests.vm.guest.service import file, run

__all__ = [
    "nothing_left_behind",
    "test_a_machine_whose_kills_are_recorded_is_covered",
    "test_a_machine_without_the_service_is_not_covered",
    "test_a_selftest_that_is_interrupted_leaves_nothing_behind",
    "test_the_kill_of_a_selftest_is_recorded_in_time",
    "test_without_systemd_run_it_makes_a_cgroup_itself",
]


@pytest.fixture(scope="session")
def daemon() -> Daemon:
    return Unit()


def test_list_and_info_tell_of_the_kill_of_a_unit(here: live.Moment, tmp_path: Path) -> None:
    """As in README: the limit of a slice kills a service in it, and three programs tell about it."""
    program = tmp_path / "postgres"
    shutil.copy(live.hog_program(), program)
    procs = "/sys/fs/cgroup/tenants.slice/tenants-a.slice/db.service/cgroup.procs"
    service = f"[Service]\nExecStart={program} {procs} eat\nSlice=tenants-a.slice\n"
    with units({"tenants.slice": "[Slice]\nMemoryMax=30M\nMemorySwapMax=0\n", "db.service": service}):
        run("systemctl", "start", "db.service")
        (entry,) = kills_after(here, 1)
        live.wait_for("end of the unit", lambda: live.show("db.service", "ActiveState") == "failed", 30)
        run("journalctl", "--sync")
        listed, told = ctl("list", entry["OOM_KILL_ID"]), ctl("info", entry["OOM_KILL_ID"])
        run("systemctl", "reset-failed", "db.service")
        run("systemctl", "stop", "tenants.slice")
    print(f"{listed}\n{told}")
    pid = entry["OOM_VICTIM_PID"]
    assert re.search(rf"^{entry['OOM_KILL_ID'][:8]}\s.*\s{pid}\s+0\s+postgres\s+db\.service\s", listed, re.MULTILINE)
    assert re.search(r"\s30\.0M\s+tenants\.slice$", listed, re.MULTILINE)
    for fact in (
        rf"Killed: {pid} \(postgres, db\.service\), \d+\.\dM resident",
        r"Limit of: tenants\.slice \(cgroup /tenants\.slice\), an ancestor of db\.service",
        r"Usage: 30\.0M of 30\.0M, (99|100)%",
        rf"Asked by: {pid} \(postgres, db\.service\)",
        r"\d kernel: postgres invoked oom-killer: ",
        rf"\d kernel: Memory cgroup out of memory: Killed process {pid} \(postgres\) ",
        r"\d systemd: db\.service: A process of this unit has been killed by the OOM killer\.",
        r"\d systemd: db\.service: Failed with result 'oom-kill'\.",
    ):
        assert re.search(fact, told), fact


@contextmanager
def units(contents: dict[str, str]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.callback(run, "systemctl", "daemon-reload")
        for name, content in contents.items():
            stack.enter_context(file(Path("/run/systemd/system", name), content))
        run("systemctl", "daemon-reload")
        yield


def ctl(*words: str) -> str:
    ran = run("oomkillctl", *words, TZ="UTC")
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout
