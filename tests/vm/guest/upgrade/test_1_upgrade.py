# SPDX-License-Identifier: Apache-2.0
"""A program from before the rooms, installed and running, becomes this one while processes are killed."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import live, pace
from tests.support.storm import door
from tests.vm.guest.service import run

BEFORE = Path("/mnt/before")
# Between kills: the kernel log has room for the lines of all kills while the new program is compiled.
PAUSE_USEC = 300_000
SECONDS = 120
KILLS = 10


@contextmanager
def killing() -> Iterator[list[int]]:
    """Kill processes, one after the other, during the block; afterwards the list has their number."""
    reaped: list[int] = []
    with live.cgroup("upgrade", 2 << 20) as group:
        command = [live.hog_program(), str(door(group)), "storm=0", f"pause={PAUSE_USEC}"]
        hog = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield reaped
        finally:
            hog.terminate()
            reaped.append(int(hog.communicate(timeout=30 * pace.patience())[0]))


def succeeded(*command: str) -> None:
    result = run(*command)
    assert result.returncode == 0, f"{result.stdout}{result.stderr}{live.service_journal()}"


def program() -> str:
    """The directory of rooms is the new program's."""
    return "new" if Path("/opt/oomkilld/lib/oomkilld/record/deliver").is_dir() else "old"


def test_an_upgrade_during_kills_misses_none_and_doubles_none(here: live.Moment) -> None:
    before = live.vmstat_kills()
    assert before == 0
    succeeded(str(BEFORE / "packaging/install"))
    assert program() == "old"
    succeeded("systemctl", "enable", "--now", "oomkilld")

    def entries() -> list[live.Entry]:
        return live.service_entries("kill", here)

    def told() -> str:
        ids = {int(entry["OOM_VICTIM_TID"]) for entry in entries()}
        lines = [line["MESSAGE"] for line in live.journal("_TRANSPORT=kernel", here.after_cursor)]
        without = [line for line in lines if (kill := live.kernel_line(line)) and kill.tid not in ids]
        status = live.show("oomkilld", "StatusText")
        return f"{len(ids)} entries; {status}; without an entry: {without}\n{live.service_journal()}"

    with killing() as reaped:
        live.wait_for("entries of the old program", lambda: len(entries()) >= KILLS, SECONDS, told)
        succeeded("packaging/install")
        assert program() == "new"
        old = live.main_pid()
        succeeded("systemctl", "restart", "oomkilld")
        assert live.main_pid() != old
        had = len(entries())
        live.wait_for("entries of the new program", lambda: len(entries()) >= had + KILLS, SECONDS, told)
    (kills,) = reaped
    live.wait_for("all entries", lambda: len(entries()) >= kills, SECONDS, told)
    ids = Counter(entry["OOM_KILL_ID"] for entry in entries())
    from_log = sum(entry["OOM_SOURCE"] == "kmsg" for entry in entries())
    print(f"{kills} kills, {len(ids)} ids, {ids.total()} entries, {from_log} of the kernel log; {told()}")
    assert (len(ids), ids.total()) == (kills, kills)
    counts = live.settled_counts()
    live.Books(counts.kills, counts.repeats, counts.missing, live.vmstat_kills(), kills).check()
    assert live.service_entries("missed", here) == []
