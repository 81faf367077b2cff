# SPDX-License-Identifier: Apache-2.0
"""Kills that only the kernel's counter reports, which may be wrong."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oomkilld.testkill import mounts
from tests.host.service.daemon import Daemon, changed, overwrite_the_log, settled
from tests.host.service.test_audit import CEILING, level_of, missed
from tests.support import live

BOOKS = Path("/run/oomkilld/ledger")
VMSTAT = Path("/proc/vmstat")
SLACK = "    slack_ns = _AROUND_NS + clocks.now_ns * DRIFT_PPM // 10**6\n"


@contextmanager
def count_that_nothing_confirms(daemon: Daemon, scratch: Path) -> Iterator[Callable[[int], None]]:
    """During the block, the service sees the kernel's count of kills plus a number that the test sets."""
    daemon.stop()
    books, true = BOOKS.read_bytes(), VMSTAT.read_text()
    feigned = scratch / "vmstat"
    feigned.write_text(true)

    def add(kills: int) -> None:
        before, count, after = re.split(r"(?<=^oom_kill )(\d+)", true, maxsplit=1, flags=re.MULTILINE)
        feigned.write_text(f"{before}{int(count) + kills}{after}")

    subprocess.run(["mount", "--bind", feigned, VMSTAT], check=True)
    try:
        with (
            changed(daemon, "record/loop.py", "TICK_SECONDS = 12.0", "TICK_SECONDS = 1.0"),
            # Otherwise the storms of other tests, half a minute before, leave a log that is not whole.
            changed(daemon, "record/lookup/whole.py", SLACK, "    slack_ns = 10**9\n"),
        ):
            daemon.restart()
            yield add
    finally:
        mounts.unmount(str(VMSTAT))
        daemon.stop()
        # The next tests must not depend on the changed count.
        BOOKS.write_bytes(books)
        daemon.restart()


def said_missing(daemon: Daemon, here: live.Moment, kills: int, reason: str) -> None:
    """It reports this in time."""
    said = live.wait_for("missed entry", lambda: missed(daemon, here)[kills // 2000 - 1 :], 30, daemon.status)
    expected = ("2000", reason, "4" if reason == "unconfirmed" else "3")
    assert [(each["OOM_MISSED"], each["OOM_MISSED_REASON"], each["PRIORITY"]) for each in said] == [expected]


def test_kills_that_only_the_counter_reports_are_a_warning_and_change_no_level(daemon: Daemon, tmp_path: Path) -> None:
    """If the log is not whole, nobody knows whether it confirms the kills: that is an error."""
    level, began = level_of(daemon), settled(daemon)
    with count_that_nothing_confirms(daemon, tmp_path) as add:
        pid, here = daemon.pid(), live.now()
        add(2000)
        said_missing(daemon, here, 2000, "unconfirmed")
        overwrite_the_log()
        add(4000)
        said_missing(daemon, here, 4000, "not-seen")
        assert settled(daemon).missing == began.missing + 4000
        assert (level_of(daemon), daemon.pid()) == (level, pid)
        assert not CEILING.exists()
    assert settled(daemon) == began
