# SPDX-License-Identifier: Apache-2.0
"""The service manager restarts it at its worst moments: each kill has one entry, and no counter ever falls."""

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


def test_restarted_while_it_asks_what_is_stored_each_kill_has_one_entry(
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


def test_restarted_while_journald_reads_nothing_each_kill_has_one_entry(watched: Watched) -> None:
    watched.kill_many()
    watched.wait_until_told()
    with journald_stopped(watched.daemon):
        for _ in range(2):
            watched.kill_one()
            watched.restart()
        watched.kill_one()
    watched.wait_until_told()
    # The service asks for stored entries, whether or not journald knew the unit of senders that had ended.
    subprocess.run(["systemctl", "restart", "systemd-journald", "oomkilld"], check=True)
    watched.look()
    watched.kill_one()
    watched.check(journald_knew_who=False)


def resident_after(pid: int) -> bool:
    """Whether another run is about to record."""
    now = live.main_pid()
    return now not in (0, pid) and b"import resident" in Path(f"/proc/{now}/cmdline").read_bytes()


def test_stopped_right_after_each_start_each_kill_has_one_entry(watched: Watched) -> None:
    watched.kill_many()
    for _ in range(5):
        pid = watched.daemon.pid()
        subprocess.run(["systemctl", "restart", "--no-block", "oomkilld"], check=True)
        live.wait_for("another run", partial(resident_after, pid), 30, live.service_journal, every=0.001)
        watched.kill_one()
    live.wait_for("start", lambda: live.show("oomkilld", "ActiveState") == "active", 60, live.service_journal)
    watched.look()
    watched.check()


def test_restarted_with_journald_each_kill_has_one_entry(watched: Watched) -> None:
    watched.kill_many()
    subprocess.run(["systemctl", "restart", "systemd-journald", "oomkilld"], check=True)
    watched.look()
    watched.kill_one()
    watched.restart()
    watched.check()
