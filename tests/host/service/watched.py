# SPDX-License-Identifier: Apache-2.0
"""A service that is restarted while kills happen; in the end each kill must have one entry."""

import os
import subprocess
from collections import Counter

from tests.host.service.daemon import Daemon
from tests.support import live, pace

MIB = 1 << 20
KILLS = 30


def entries_of_kills(here: live.Moment, *sender: str) -> Counter[str]:
    """The number of entries by id, from whichever unit root sent them."""
    found = live.journal("--output-fields=OOM_KILL_ID", *sender, "_UID=0", "OOM_EVENT=kill", here.after_cursor)
    return Counter(entry["OOM_KILL_ID"] for entry in found)


def balanced(daemon: Daemon) -> live.ServiceCounts:
    """Its counts, once they equal the kernel's count of this boot."""

    def all_counted() -> live.ServiceCounts | None:
        counts = live.counts_in(daemon.status())
        return counts if counts and sum(counts) == live.vmstat_kills() else None

    return live.wait_for("balance", all_counted, 30, lambda: f"{daemon.status()}; vmstat {live.vmstat_kills()}")


class Watched:
    """The kills and restarts of a test, and the counts at each start."""

    def __init__(self, daemon: Daemon, here: live.Moment) -> None:
        self.daemon, self.here = daemon, here
        self._began = balanced(daemon)
        self._counted = [self._began.kills]
        self._killed = 0

    def kill_many(self) -> None:
        """KILLS kills and some more, as fast as possible."""
        before = live.vmstat_kills()
        with live.cgroup("quick", 4 * MIB) as where:
            words = [os.environ["OOMKILLD_TEST_HOG"], str(where.procs), "storm=0"]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as storm:
                live.wait_for("kills", lambda: live.vmstat_kills() >= before + KILLS, 60, every=0.01)
                storm.terminate()
                self._killed += int(storm.communicate(timeout=60 * pace.patience())[0])

    def kill_one(self) -> None:
        with live.cgroup("quick", 4 * MIB) as where:
            live.kill_one(where)
        self._killed += 1

    def wait_until_told(self) -> None:
        live.wait_for("entries", lambda: len(entries_of_kills(self.here)) >= self._killed, 30, self.daemon.status)

    def restart(self) -> None:
        self.daemon.restart()
        self.look()

    def look(self) -> None:
        """Take its counts, right after its start."""
        counts = live.wait_for("status", lambda: live.counts_in(self.daemon.status()), 10)
        self._counted.append(counts.kills)

    def check(self, *, journald_knew_who: bool = True) -> None:
        """``journald_knew_who``: whether journald read each entry while its sender was there."""
        self.wait_until_told()
        counts = balanced(self.daemon)
        told = entries_of_kills(self.here)
        shown = entries_of_kills(self.here, *self.daemon.sender)
        print(
            f"{self._killed} killed, {told.total()} entries of {len(told)} kills, {shown.total()} shown; "
            f"counted at starts {self._counted}"
        )
        assert Counter(told.values()) == {1: self._killed}
        assert counts.missing == self._began.missing
        assert counts.kills - self._began.kills == self._killed
        assert self._counted == sorted(self._counted)
        if journald_knew_who:  # then `journalctl -u` shows all
            assert shown == told
