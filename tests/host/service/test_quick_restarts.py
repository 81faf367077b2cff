# SPDX-License-Identifier: Apache-2.0
"""However soon it is stopped and started again, each kill has one entry, and what is counted never falls."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.host.service.daemon import Daemon
from tests.host.service.watched import Watched


@pytest.mark.parametrize("restarts", [2, 3, 10])
def test_restarted_at_once_again_and_again_it_tells_each_kill_once(watched: Watched, restarts: int) -> None:
    watched.kill_many()
    for restart in range(restarts):
        watched.restart()
        if restarts == 3:
            watched.kill_one()
        if restart == 7:
            watched.kill_many()
    watched.check()


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
    watched.check(journald_knew_who=False)
