# SPDX-License-Identifier: Apache-2.0
"""What the flight recorder costs, and that a machine full of cgroups does not hurt it."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.host.service.daemon import Daemon
from tests.host.service.test_recorder import recording
from tests.support import live

MIB = 1 << 20
SECONDS, LEAVE = 600, 15
WAKE_UPS_A_MINUTE = 6


class Used:
    """What the service has used, in seconds of CPU, wake-ups, kilobytes and open files."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.at = time.monotonic()
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.cpu = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        self.woke = live.process_status(pid, "voluntary_ctxt_switches")
        self.kilobytes = live.process_status(pid, "RssAnon")
        self.files = len(os.listdir(f"/proc/{pid}/fd"))

    def since(self) -> tuple[float, float]:
        """Percent of one CPU, and wake-ups a minute, since then."""
        now = Used(self._pid)
        seconds = now.at - self.at
        return 100 * (now.cpu - self.cpu) / seconds, 60 * (now.woke - self.woke) / seconds


@contextmanager
def parent_of_cgroups() -> Iterator[Path]:
    with live.cgroup("recorded", None) as where:
        if (control := where.path / "cgroup.subtree_control").exists():
            control.write_text("+memory")
        yield where.path


@pytest.mark.parametrize(("cgroups", "percent"), [(200, 0.05), (1000, 0.1)])
def test_it_costs_next_to_nothing_while_nothing_happens(daemon: Daemon, cgroups: int, percent: float) -> None:
    with parent_of_cgroups() as parent, ExitStack() as stack:
        for number in range(cgroups):
            stack.enter_context(memory_cgroup(parent / f"idle-{number}", 64 * MIB if number % 2 else None))
        time.sleep(LEAVE)
        without = Used(daemon.pid())
        time.sleep(SECONDS)
        usual, _woke = without.since()
        with recording(daemon):
            time.sleep(LEAVE)
            began = Used(daemon.pid())
            time.sleep(SECONDS)
            cpu, woke = began.since()
            print(f"{cgroups} cgroups: {cpu:.3f} % of a CPU (without it {usual:.3f} %), {woke:.1f} wake-ups a minute")
            print(f"{began.kilobytes - without.kilobytes} kB more anonymous memory than without")
            assert began.kilobytes - without.kilobytes <= 1024
            assert woke <= WAKE_UPS_A_MINUTE
            assert cpu - usual <= percent


def test_cgroups_full_of_page_cache_do_not_keep_it_awake(daemon: Daemon, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(bytes(64 * MIB))
    with parent_of_cgroups() as parent, ExitStack() as stack:
        for number in range(10):
            full = stack.enter_context(memory_cgroup(parent / f"cache-{number}", 8 * MIB))
            copy = tmp_path / f"copy-{number}"
            script = f"echo 0 > {full.procs}; exec cp {content} {copy}"
            assert os.spawnlp(os.P_WAIT, "sh", "sh", "-c", script) == 0
        with recording(daemon):
            time.sleep(LEAVE)
            began = Used(daemon.pid())
            time.sleep(SECONDS)
            _cpu, woke = began.since()
            print(f"{woke:.1f} wake-ups a minute")
            assert woke <= WAKE_UPS_A_MINUTE


def test_cgroups_that_come_and_go_leave_nothing_behind(daemon: Daemon) -> None:
    here = live.now()
    with parent_of_cgroups() as parent, recording(daemon), ExitStack() as stack:
        for number in range(1200):
            stack.enter_context(memory_cgroup(parent / f"stays-{number}", None))
        time.sleep(LEAVE)
        began, pid = Used(daemon.pid()), daemon.pid()
        end = time.monotonic() + SECONDS
        turn = 0
        while time.monotonic() < end:
            begun = time.monotonic()
            made = [parent / f"goes-{turn}-{number}" for number in range(300)]
            for path in made:
                path.mkdir()
            for path in made:
                path.rmdir()
            turn += 1
            time.sleep(max(0.0, 1 - (time.monotonic() - begun)))
        after = Used(pid)
        cpu, _woke = began.since()
        print(
            f"{cpu:.3f} % of a CPU, {after.files - began.files} files more, {after.kilobytes - began.kilobytes} kB more"
        )
        assert daemon.pid() == pid
        assert after.files <= 256 + 64
        assert after.kilobytes - began.kilobytes <= 256
        warnings = [
            entry["MESSAGE"]
            for entry in live.journal(*daemon.sender, "_UID=0", here.after_cursor)
            if int(entry["PRIORITY"]) <= 4 and "OOM_EVENT" not in entry
        ]
        assert warnings == []
