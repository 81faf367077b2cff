# SPDX-License-Identifier: Apache-2.0
"""In a storm, the service and journald are killed again and again: no kill is missing, none has two ids."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

import pytest

from tests.host.service.daemon import Daemon, assert_balanced, beginning, settings
from tests.support import live
from tests.support.storm import storming

FULL = "OOMKILLD_TEST_FULL" in os.environ
SERVICE_FAULTS, JOURNALD_FAULTS, LEAST = (50, 40, 20_000) if FULL else (8, 6, 1000)
# Entries that a killed run sent are known to be lost with journald only if it dies this much later.
APART_SECONDS = 2.5
# So that the ring, which holds 6,000 of these kills, has room while neither of the two runs. A fast machine made 470 a
# second, and 6 % of them were lost, as the service said.
AT_MOST = 200


def journald_killed(daemon: Daemon) -> None:
    # After the last kill it may still be about to start.
    os.kill(live.wait_for("journald", lambda: daemon.journald, 20), signal.SIGKILL)


def journald_restarted(_daemon: Daemon) -> None:
    subprocess.run(["systemctl", "restart", "systemd-journald"], check=True)


@pytest.fixture
def reduced(daemon: Daemon) -> Iterator[None]:
    """This test counts entries."""
    with settings(daemon, "[entry]\nreduce_from = 1\n"):
        daemon.restart()
        yield


@pytest.mark.usefixtures("reduced")
def test_whatever_is_killed_in_a_storm_nothing_is_missing(daemon: Daemon) -> None:
    began, here = beginning(daemon), live.now()
    journald_faults = cycle((journald_killed, journald_restarted))
    with storming(at_most=AT_MOST) as reaped:
        for fault in range(max(SERVICE_FAULTS, JOURNALD_FAULTS)):
            if fault < SERVICE_FAULTS:
                pid = daemon.pid()
                os.kill(pid, signal.SIGKILL)
                daemon.wait_for_the_run_after(pid)
            if fault < JOURNALD_FAULTS:
                time.sleep(APART_SECONDS)
                next(journald_faults)(daemon)
        while live.vmstat_kills() - began.vmstat < LEAST:
            time.sleep(1)
    delta = live.vmstat_kills() - began.vmstat

    def entries() -> list[live.Entry]:
        """Entries with only the fields that are asserted, because they are many."""
        wanted = "OOM_KILL_ID,OOM_SOURCE,OOM_VICTIM_TID,OOM_BOOTTIME_TIMESTAMP"
        matches = [*daemon.sender, "_UID=0", "OOM_EVENT=kill", here.after_cursor]
        found = live.journal(f"--output-fields={wanted}", *matches)
        return [entry for entry in found if int(entry["OOM_BOOTTIME_TIMESTAMP"]) >= here.boottime_usec]

    def ids() -> set[str]:
        return {entry["OOM_KILL_ID"] for entry in entries()}

    live.wait_for(
        "all entries", lambda: len(ids()) >= delta, 120, lambda: f"{len(ids())} of {delta}; {daemon.status()}", every=5
    )
    told = Counter(entry["OOM_KILL_ID"] for entry in entries())
    print(
        f"{SERVICE_FAULTS} times the service, {JOURNALD_FAULTS} times journald; "
        f"{told.total() - len(told)} with two entries; "
        f"{sum(entry['OOM_SOURCE'] == 'kmsg' for entry in entries())} from the kernel log"
    )
    assert_balanced(daemon, began, len(told), sum(reaped))
    # No victim has two ids.
    assert len({(entry["OOM_VICTIM_TID"], entry["OOM_BOOTTIME_TIMESTAMP"]) for entry in entries()}) == len(told)
