# SPDX-License-Identifier: Apache-2.0
"""The processes that the kernel chose from, as in the kernel's own list of tasks."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import live
from tests.vm.guest.kernel.oomlog import reports
from tests.vm.guest.kills import MIB, kernel_version, kills_after, until_one_is_killed
from tests.vm.guest.service import run

LARGEST = range(1, 6)
MANY = 200 if "OOMKILLD_TEST_FULL" in os.environ else 50
# The list has exact counts since 6.13 or later, the badness has not: two CPUs may keep back 32 pages each (see
# COUNTER_SLACK) of each of four kinds.
SLACK = 4 * 2 * 32 * live.PAGE if kernel_version() > (6, 12) else 0
SLICE = "oomkilldtests.slice"


def assert_as_listed(entry: live.Entry, here: live.Moment) -> None:
    """Number, sum and the largest ones are those of the kernel's list of the same decision."""
    (report,) = [report for report in reports(here) if report.victim_tid == int(entry["OOM_VICTIM_TID"])]
    listed = {task.pid: task for task in report.tasks}
    exempt = sum(task.oom_score_adj == -1000 for task in report.tasks)
    assert (entry["OOM_CANDIDATES"], entry["OOM_CANDIDATES_EXEMPT"]) == (str(len(listed)), str(exempt))
    whole = sum(task.size for task in report.tasks)
    assert abs(int(entry["OOM_CANDIDATES_BYTES"]) - whole) <= SLACK * len(listed)
    for at, size in zip(LARGEST, sorted((task.size for task in report.tasks), reverse=True), strict=False):
        task = listed[int(entry[f"OOM_CANDIDATE_{at}_PID"])]
        found = int(entry[f"OOM_CANDIDATE_{at}_BYTES"])
        assert entry[f"OOM_CANDIDATE_{at}_COMM"] == task.comm
        assert entry[f"OOM_CANDIDATE_{at}_OOM_SCORE_ADJ"] == str(task.oom_score_adj)
        assert max(abs(found - task.size), abs(found - size)) <= SLACK, f"{at}: {found}, listed {task}, {size}"
    print(f"{len(listed)} candidates with {whole} bytes, {exempt} exempt: {report.tasks[:3]}")


@contextmanager
def limited_slice(limit: int) -> Iterator[None]:
    run("systemctl", "start", SLICE)
    run("systemctl", "set-property", "--runtime", SLICE, f"MemoryMax={limit}", "MemorySwapMax=0")
    try:
        yield
    finally:
        run("systemctl", "stop", SLICE)
        run("systemctl", "revert", SLICE)


def start(unit: str, *words: str, option: str = "--no-block") -> None:
    hog = (os.environ["OOMKILLD_TEST_HOG"], "/dev/null", f"name={unit}", *words)
    run("systemd-run", "--quiet", "--collect", option, f"--unit={unit}", f"--slice={SLICE}", *hog)


def held(unit: str) -> int:
    """Bytes; 0 while it starts."""
    number = live.show(unit, "MemoryCurrent")
    return int(number) if number.isdigit() else 0


@pytest.mark.each_kernel
@pytest.mark.matrix("candidates: an exempt hog beside its victim")
def test_a_hog_that_the_kernel_never_kills_is_named_beside_its_victim(here: live.Moment, level: str) -> None:
    with limited_slice(64 * MIB):
        try:
            start("exempt-hog", "adjust=-1000", "hold=54", "sleep")
            live.wait_for("the hog", lambda: held("exempt-hog") >= 54 * MIB, 30)
            pid = live.show("exempt-hog", "MainPID")
            until_one_is_killed(lambda: start("innocent", "adjust=500", "eat", option="--wait"))
            (entry,) = kills_after(here, 1, level)
        finally:
            run("systemctl", "stop", "exempt-hog", "innocent")
    assert (entry["OOM_VICTIM_COMM"], entry["OOM_DOMAIN_CGROUP"]) == ("innocent", f"/{SLICE}")
    assert (entry["OOM_CANDIDATES"], entry["OOM_CANDIDATES_EXEMPT"]) == ("2", "1")
    assert [entry[f"OOM_CANDIDATE_1_{name}"] for name in ("PID", "COMM", "OOM_SCORE_ADJ", "UNIT")] == [
        *(pid, "exempt-hog", "-1000", "exempt-hog.service")
    ]
    assert int(entry["OOM_CANDIDATE_1_BYTES"]) >= 54 * MIB
    culprit = rf"; process {pid} \(exempt-hog, exempt-hog\.service\) had 5\d\.\dM and oom_score_adj -1000; "
    assert re.search(culprit, entry["MESSAGE"]), entry["MESSAGE"]
    assert (entry["OOM_CANDIDATE_2_PID"], entry["OOM_CANDIDATE_2_UNIT"]) == (
        entry["OOM_VICTIM_PID"],
        "innocent.service",
    )
    assert_as_listed(entry, here)


@pytest.mark.each_kernel
@pytest.mark.matrix("candidates: many small ones")
def test_many_small_processes_are_counted_and_summed_up(here: live.Moment, level: str) -> None:
    with live.cgroup("many", 128 * MIB) as where:
        small: list[subprocess.Popen[str]] = []
        try:
            small += (where.start("adjust=-999", f"name=small {number}", "sleep") for number in range(MANY))
            live.kill_one(where, "adjust=1000", "name=larger")
            (entry,) = kills_after(here, 1, level)
        finally:
            for each in small:
                each.kill()
                each.wait()
    assert entry["OOM_CANDIDATES"] == str(MANY + 1)
    assert entry["OOM_CANDIDATE_1_COMM"] == "larger"
    assert_as_listed(entry, here)
