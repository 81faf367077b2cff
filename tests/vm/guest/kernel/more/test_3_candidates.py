# SPDX-License-Identifier: Apache-2.0
"""What it costs to see the processes that the kernel chooses from."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from tests.support import live
from tests.vm.guest.kills import MIB
from tests.vm.guest.service import run, service_restored

PROCESSES, KILLS, ROUNDS = 5000, 10, 5
# A decision, and a reading: with the service, compared with the same without it.
MOST_DECISION, MOST_READING = 1.5, 1.05
TRACING = Path("/sys/kernel/tracing")


@contextmanager
def crowd() -> Iterator[live.Cgroup]:
    """A cgroup with many processes, of which the kernel chooses another one."""
    with live.cgroup("crowd", 256 * MIB) as where:
        many = where.start("adjust=-999", f"sharers={PROCESSES - 1}", "sleep")
        try:
            yield where
        finally:
            for pid in where.procs.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            many.wait()


@contextmanager
def only_durations() -> Iterator[None]:
    """The kernel prints nothing about a decision, which would take most of its time, and traces how long it takes."""
    settings = {
        "/proc/sys/vm/oom_dump_tasks": "0",
        "/proc/sys/kernel/printk": "1",
        "/proc/sys/kernel/threads-max": str(4 * PROCESSES),
        f"{TRACING}/set_graph_function": "out_of_memory",
        f"{TRACING}/max_graph_depth": "1",
    }
    before = {name: Path(name).read_text() for name in settings}
    try:
        for name, value in settings.items():
            Path(name).write_text(value)
        (TRACING / "current_tracer").write_text("function_graph")
        yield
    finally:
        (TRACING / "current_tracer").write_text("nop")
        for name, value in before.items():
            Path(name).write_text("" if name.endswith("set_graph_function") else value)


def decisions(where: live.Cgroup) -> list[float]:
    """Microseconds of each."""
    (TRACING / "trace").write_text("")
    for _ in range(KILLS):
        live.kill_one(where, "adjust=1000")
    rows = [line.split("|")[0].split() for line in (TRACING / "trace").read_text().splitlines() if "us" in line]
    return [float(row[row.index("us") - 1]) for row in rows if "us" in row]


def readings(where: live.Cgroup) -> float:
    """Seconds for reading oom_score of all, the shortest of some rounds: other work only adds to it."""
    paths = [f"/proc/{pid}/oom_score" for pid in where.procs.read_text().split()]
    assert len(paths) == PROCESSES
    return min(_seconds(paths) for _ in range(ROUNDS))


def _seconds(paths: list[str]) -> float:
    started = time.perf_counter()
    for path in paths:
        with open(path, "rb", buffering=0) as score:
            score.read(16)
    return time.perf_counter() - started


def without_the_service(measure: Callable[[], float]) -> float:
    run("systemctl", "stop", "oomkilld")
    run("systemctl", "clean", "--what=fdstore", "oomkilld")  # and with it the probe
    return measure()


@pytest.mark.only_in_full
@pytest.mark.parametrize("level", ["kprobe"], indirect=True)
@pytest.mark.usefixtures("level")
def test_the_cost_of_a_decision_and_of_reading_oom_score() -> None:
    run("systemctl", "set-property", "--runtime", "oomkilld-tests", "TasksMax=infinity")
    with service_restored(), only_durations(), crowd() as where:
        with_it = median(decisions(where))
        read_with_it = readings(where)
        alone = without_the_service(lambda: median(decisions(where)))
        read_alone = readings(where)
    print(f"a decision among {PROCESSES}: {alone:.0f} us, with the service {with_it / alone:.2f} times as long")
    print(f"reading oom_score of all: {read_alone * 1e3:.0f} ms, with it {read_with_it / read_alone:.3f} times as long")
    assert with_it <= MOST_DECISION * alone
    assert read_with_it <= MOST_READING * read_alone
