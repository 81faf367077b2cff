# SPDX-License-Identifier: Apache-2.0
"""The service's files are closed to others: nobody can hold its lock or read what it knows about the kernel."""

from pathlib import Path

from tests.host.service.daemon import Daemon, assert_balanced, beginning, kills_after
from tests.host.service.lockwaiter import lock_waiter
from tests.support import live

DIRECTORY = Path("/run/oomkilld")


def test_it_starts_again_whoever_waits_for_its_lock(daemon: Daemon, here: live.Moment) -> None:
    began = beginning(daemon)
    with lock_waiter() as opened, live.cgroup("waited", 4 << 20) as where:
        for _ in range(2):
            daemon.restart()
            live.kill_one(where)
        kills_after(daemon, here, 2)
    assert_balanced(daemon, began, 2, 2)
    assert opened == []


def test_only_root_can_read_its_files(daemon: Daemon) -> None:
    assert daemon.pid()
    assert [path for path in (DIRECTORY, *DIRECTORY.iterdir()) if path.stat().st_mode & 0o077] == []
