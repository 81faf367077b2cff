# SPDX-License-Identifier: Apache-2.0
"""Restarted at its worst moments by the service manager, it tells each kill once, and what is counted never falls."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.host.service.daemon import Daemon
from tests.host.service.watched import Watched
from tests.support import live


def test_restarted_while_what_a_run_that_was_killed_has_sent_is_read_back_it_tells_each_kill_once(
    watched: Watched,
) -> None:
    watched.kill_many()
    watched.wait_until_told()
    pid = watched.daemon.pid()
    os.kill(pid, signal.SIGKILL)
    watched.daemon.wait_for_the_run_after(pid)
    watched.look()
    for _ in range(3):
        watched.restart()
        watched.kill_one()
    watched.check()


@contextmanager
def journald_stopped(daemon: Daemon) -> Iterator[None]:
    pid = daemon.journald
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_restarted_while_journald_reads_nothing_it_tells_each_kill_once(watched: Watched) -> None:
    watched.kill_many()
    watched.wait_until_told()
    with journald_stopped(watched.daemon):
        for _ in range(2):
            watched.kill_one()
            watched.restart()
        watched.kill_one()
    watched.wait_until_told()
    # The next one is asked what is stored, whether the one before knew the unit of those that had ended or not.
    subprocess.run(["systemctl", "restart", "systemd-journald", "oomkilld"], check=True)
    watched.look()
    watched.kill_one()
    watched.check(journald_knew_who=False)


def resident_after(pid: int) -> bool:
    """Whether another run has come so far as to be about to record."""
    now = live.main_pid()
    return now not in (0, pid) and b"import resident" in Path(f"/proc/{now}/cmdline").read_bytes()


def test_stopped_right_after_its_start_again_and_again_it_tells_each_kill_once(watched: Watched) -> None:
    watched.kill_many()
    for _ in range(5):
        pid = watched.daemon.pid()
        subprocess.run(["systemctl", "restart", "--no-block", "oomkilld"], check=True)
        live.wait_for("another run", partial(resident_after, pid), 30, live.service_journal, every=0.001)
        watched.kill_one()
    live.wait_for("start", lambda: live.show("oomkilld", "ActiveState") == "active", 60, live.service_journal)
    watched.look()
    watched.check()


def test_restarted_with_journald_it_tells_each_kill_once(watched: Watched) -> None:
    watched.kill_many()
    subprocess.run(["systemctl", "restart", "systemd-journald", "oomkilld"], check=True)
    watched.look()
    watched.kill_one()
    watched.restart()
    watched.check()
