# SPDX-License-Identifier: Apache-2.0
"""The service is killed at its worst moments, by a line in the program that is removed before the next run."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.host.service.daemon import Daemon, assert_balanced, beginning, changed, kills, settings
from tests.host.service.test_journal import SOCKET, hanging
from tests.support import live
from tests.support.storm import storming

MIB = 1 << 20
FULL = "OOMKILLD_TEST_FULL" in os.environ
# The planned times, and a sixth and a fifth of them.
JOURNALD_STOPPED_SECONDS, SOCKET_MISSING_SECONDS = (30, 10) if FULL else (5, 2)
# The ring has room for 25,000 kills; a fast machine made 33,000 while journald was stopped.
AT_MOST = 500
NEVER_BLOCKS_SECONDS = 0.05
LONGEST = Path("/run/oomkilld/longest")


class Point(NamedTuple):
    """Before or after a line of a module; the ``time``-th execution of it kills the service."""

    module: str
    line: str
    after: bool
    time: int


SEND, FREE = "        self._sink.send(fields)\n", "        self._source.free(position)\n"
WRITE_DOWN = "        self._ledger.commit(self._ledger.totals._replace(position=position))\n"
# By moment, with how many are told twice then; the second kill of three is the one that it may happen to.
POINTS = {
    "read, not sent": (Point("record/deliver/delivery.py", SEND, after=False, time=2), 0),
    "sent, not written down": (Point("record/deliver/delivery.py", SEND, after=True, time=2), 1),
    "stored, not written down": (Point("record/deliver/checkpoint.py", WRITE_DOWN, after=False, time=1), 0),
    "written down, not freed": (Point("record/deliver/checkpoint.py", FREE, after=False, time=1), 0),
}


def started_to_be_killed_at(daemon: Daemon, point: Point) -> None:
    """The next run does not have the line."""
    indent = point.line[: len(point.line) - len(point.line.lstrip())]
    hits = "globals().setdefault('_hits', [])"
    kill = f"__import__('os').kill(__import__('os').getpid(), {signal.SIGKILL.value})"
    hook = f"{indent}{hits}.append(0) or len({hits}) == {point.time} and {kill}\n"
    with changed(daemon, point.module, point.line, point.line + hook if point.after else hook + point.line):
        daemon.restart()


@pytest.mark.parametrize("moment", POINTS)
def test_killed_at_any_moment_it_records_each_kill_and_at_most_one_twice(daemon: Daemon, moment: str) -> None:
    point, twice = POINTS[moment]
    began, here = beginning(daemon), live.now()
    started_to_be_killed_at(daemon, point)
    pid = daemon.pid()
    with live.cgroup("moment", 4 * MIB) as where:
        for _ in range(3):
            live.kill_one(where)
    daemon.wait_for_the_run_after(pid)
    assert_balanced(daemon, began, 3, 3)
    # journald may not know the unit of entries that were sent right before.
    sent = live.journal("SYSLOG_IDENTIFIER=oomkilld", "_UID=0", "OOM_EVENT=kill", here.after_cursor)
    told = Counter(entry["OOM_KILL_ID"] for entry in sent)
    assert (len(told), told.total()) == (3, 3 + twice)


def test_killed_while_journalds_queue_is_full_it_loses_none(daemon: Daemon) -> None:
    began, here = beginning(daemon), live.now()
    with live.cgroup("full", 4 * MIB) as where, hanging(daemon.journald):
        for _ in range(3):
            live.kill_one(where)
        live.wait_for("its status", lambda: "its queue is full" in daemon.status(), 10, daemon.status)
        pid = daemon.pid()
        os.kill(pid, signal.SIGKILL)
    daemon.wait_for_the_run_after(pid)
    assert_balanced(daemon, began, 3, 3)
    assert len(kills(daemon, here)) == 3


@contextmanager
def journald_stopped(daemon: Daemon) -> Iterator[None]:
    pid = daemon.journald
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(JOURNALD_STOPPED_SECONDS)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def socket_missing(_daemon: Daemon) -> Iterator[None]:
    aside = Path(SOCKET).with_name("aside")
    Path(SOCKET).rename(aside)
    try:
        time.sleep(SOCKET_MISSING_SECONDS)
        yield
    finally:
        aside.rename(SOCKET)


# For each turn of the loop that slept: its duration, without its CPU time and without its wait for a processor, which
# the storm also occupies.
TURN = "            for duty in self._duties:\n                duty.run()\n"
TIMED = f"""            import resource, time
            def working():
                return time.thread_time() + int(open("/proc/thread-self/schedstat").read().split()[1]) / 1e9
            switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
            began = time.monotonic() - working()
            for duty in self._duties:
                duty.run()
            took = time.monotonic() - working() - began
            if resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw > switches and took > globals().get("_longest", 0):
                globals()["_longest"] = took
                open({str(LONGEST)!r}, "w").write(str(took))
"""


@pytest.mark.parametrize("away", [journald_stopped, socket_missing])
def test_a_journald_that_takes_nothing_in_a_storm_blocks_nothing_and_soon_has_all(
    daemon: Daemon, away: Callable[[Daemon], AbstractContextManager[None]]
) -> None:
    LONGEST.write_text("0")
    with (
        settings(daemon, '[capture]\nring_size = "16MiB"\n[entry]\nreduce_from = 1\n'),
        changed(daemon, "record/loop.py", TURN, TIMED),
    ):
        daemon.restart()
        began, here = beginning(daemon), live.now()
        with storming(at_most=AT_MOST) as reaped, away(daemon):
            # On a slow machine, journald's queue may have room for all kills until now.
            live.wait_for("status that says so", lambda: "waiting for journald: " in daemon.status(), 60, daemon.status)
        delta, ended = live.vmstat_kills() - began.vmstat, time.monotonic()
        live.wait_for("all entries", lambda: len(kills(daemon, here)) >= delta, 10, daemon.status)
        took = time.monotonic() - ended
        assert_balanced(daemon, began, delta, sum(reaped))
    longest = float(LONGEST.read_text())
    LONGEST.unlink()
    print(f"{delta} kills; all readable {took:.1f} s later; the loop stood still for {longest * 1000:.1f} ms at most")
    assert longest <= NEVER_BLOCKS_SECONDS
