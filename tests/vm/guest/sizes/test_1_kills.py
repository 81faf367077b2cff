# SPDX-License-Identifier: Apache-2.0
"""On a machine of another size, kills are recorded as on every other; also while a CPU is taken away and comes back."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomkilld.text import counted
from tests.support import live
from tests.support.storm import storm
from tests.vm.guest.kernel.whole import HOG, KILLED_WITHIN
from tests.vm.guest.kills import LIMIT, assert_as_the_kernel_says, group_kill, kills_after
from tests.vm.guest.service import PROGRAM, drop_in, file, run, said_about_the_program, service_restored

CPUS = os.cpu_count() or 1
MEMORY_MIB = int(re.findall(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text())[0]) >> 10
VERSION_1 = not Path("/sys/fs/cgroup/cgroup.controllers").exists()
# So many times as long as for this guest's own CPUs: the emulated start of Python alone takes 5 s.
LOADED_WITHIN = 3
STORM_SECONDS = 5
SMALL_MIB = 600

pytestmark = pytest.mark.parametrize("level", ["kprobe"], indirect=True)


def described() -> str:
    """For the table of kernels."""
    if VERSION_1:
        return "cgroup v1"
    return f"{counted(CPUS, 'CPU')}, {MEMORY_MIB} MiB"


def killed_and_recorded(here: live.Moment, level: str, number: int = 1) -> live.Entry:
    with live.cgroup("single", LIMIT) as where:
        victim = live.kill_one(where)
        entry = kills_after(here, number, level)[-1]
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    assert_as_the_kernel_says(entry, live.kernel_lines(here)[-1])
    return entry


@contextmanager
def offline(cpu: int) -> Iterator[None]:
    switch = Path(f"/sys/devices/system/cpu/cpu{cpu}/online")
    switch.write_text("0")
    try:
        yield
    finally:
        switch.write_text("1")


@pytest.mark.matrix(described())
def test_a_kill_is_recorded_as_the_kernel_says(here: live.Moment, level: str) -> None:
    entry = killed_and_recorded(here, level)
    assert int(entry["OOM_DOMAIN_LIMIT_BYTES"]) == LIMIT


@pytest.mark.skipif(VERSION_1, reason="version 1 kills no groups")
def test_a_group_kill_has_one_decision(here: live.Moment, level: str) -> None:
    assert len({entry["OOM_DECISION_ID"] for entry in group_kill(here, level)}) == 1


def test_while_a_cpu_is_away_and_after_it_has_come_back(here: live.Moment, level: str) -> None:
    for number, cpu in enumerate(range(1, min(CPUS, 3))):
        with offline(cpu):
            killed_and_recorded(here, level, 2 * number + 1)
        killed_and_recorded(here, level, 2 * number + 2)


@pytest.mark.skipif(MEMORY_MIB > SMALL_MIB, reason="filling it takes long")
@pytest.mark.usefixtures("swap")
def test_a_small_machine_that_runs_out_records_it(here: live.Moment, level: str) -> None:
    with live.cgroup("host", None) as where:
        victim = live.kill_one(where, *HOG, seconds=KILLED_WITHIN)
        (entry,) = kills_after(here, 1, level)
    assert (int(entry["OOM_VICTIM_PID"]), entry["OOM_DOMAIN"]) == (victim.pid, "host")


def loaded_again(here: live.Moment) -> float:
    """CPU seconds of a start from the kept program, with those of ended children."""
    run("systemctl", "stop", "oomkilld")
    assert run("systemctl", "start", "oomkilld").returncode == 0, live.service_journal()
    assert said_about_the_program(here)[-1] == "attached the kept program, without compiling it"
    times = Path(f"/proc/{live.main_pid()}/stat").read_text().rpartition(")")[2].split()[11:15]
    seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    print(f"{described()}: loaded with {seconds:.2f} s of CPU time; {PROGRAM.stat().st_size} bytes")
    return seconds


def test_the_kept_program_is_loaded(here: live.Moment, level: str) -> None:
    loaded_again(here)
    killed_and_recorded(here, level)


def test_a_program_for_512_possible_cpus_is_loaded_in_time(here: live.Moment, level: str) -> None:
    """The verifier follows the sum over all of them. No guest has so many: only the file with their number says so."""
    feigned = Path("/run/oomkilld-tests-possible")
    usual = loaded_again(here)
    bound = drop_in(f"BindReadOnlyPaths={feigned}:/sys/devices/system/cpu/possible")
    with service_restored(), file(feigned, "0-511\n"), bound:
        run("systemctl", "stop", "oomkilld")  # systemd would keep the probe over a restart
        run("systemctl", "start", "oomkilld")
        assert live.level() == level
        assert [line for line in said_about_the_program(here) if "made for another" in line]
        assert loaded_again(here) <= LOADED_WITHIN * usual


# The last one: entries of a flood, and for a while after it, are reduced.
def test_in_a_storm_on_all_cpus_the_books_balance(here: live.Moment, level: str) -> None:
    began, vmstat = live.settled_counts(), live.vmstat_kills()
    reaped = storm(STORM_SECONDS)
    kills = kills_after(here, reaped, level)
    counts = live.settled_counts()
    delta, repeats = live.vmstat_kills() - vmstat, counts.repeats - began.repeats
    live.Books(len(kills), repeats, counts.missing - began.missing, delta, reaped).check()
