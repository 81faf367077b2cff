# SPDX-License-Identifier: Apache-2.0
"""The service knows what it missed: while it did not run, and if its probe does not see what the kernel counts."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.host.service.daemon import (
    KMSG,
    Daemon,
    assert_balanced,
    beginning,
    changed,
    forge,
    kills,
    kills_after,
    overwrite_the_log,
    settings,
    settled,
)
from tests.support import live

MIB = 1 << 20
# The planned minute, and a sixth of it.
DOWN_SECONDS = 60 if "OOMKILLD_TEST_FULL" in os.environ else 10
RUNTIME = Path("/run/oomkilld")
CEILING = RUNTIME / "level"


def missed(daemon: Daemon, here: live.Moment) -> list[live.Entry]:
    return live.service_entries("missed", here, sender=daemon.sender)


def level_changes(daemon: Daemon, here: live.Moment) -> list[live.Entry]:
    return live.service_entries("level", here, sender=daemon.sender)


def level_of(daemon: Daemon) -> str:
    return live.wait_for("status", daemon.status, 15).removeprefix("Level ").partition(":")[0]


def kill(count: int) -> list[int]:
    """The ids of the killed processes."""
    with live.cgroup("audited", 4 * MIB) as where:
        return [live.kill_one(where).pid for _ in range(count)]


def test_kills_while_it_did_not_run_come_from_the_kernel_log_whatever_others_claim(daemon: Daemon) -> None:
    began, here = beginning(daemon), live.now()
    daemon.stop()
    tids = kill(3)
    forge(tids[0])
    time.sleep(DOWN_SECONDS)
    daemon.restart()
    # The log also has lines of these when the service reads it.
    seen = kill(2)
    told = settled(daemon)
    entries = kills(daemon, here)
    recalled = [entry for entry in entries if entry["OOM_SOURCE"] == "kmsg"]
    assert len(entries) == len(recalled) + len(seen)
    if KMSG.is_char_device():
        assert [int(entry["OOM_VICTIM_TID"]) for entry in recalled] == tids
        assert {entry["OOM_VICTIM_COMM"] for entry in recalled} == {"hog"}
        for entry in recalled:
            ages = (int(entry["__REALTIME_TIMESTAMP"]) - int(entry["OOM_TIMESTAMP"])) / 1e6
            print(f"recorded {ages:.1f} s after the kill")
            assert DOWN_SECONDS < ages < DOWN_SECONDS + 60
        assert missed(daemon, here) == []
    else:  # a container has no kernel log
        (said,) = missed(daemon, here)
        assert (said["OOM_MISSED"], said["OOM_MISSED_REASON"], said["PRIORITY"]) == ("3", "not-running", "3")
    kill(2)
    entries = kills_after(daemon, here, len(entries) + 2)
    counts = assert_balanced(daemon, began, len(entries), 7, missing=7 - len(entries))
    assert counts.kills == told.kills + 2
    # Nothing is found twice.
    daemon.restart()
    assert settled(daemon) == counts
    assert len(kills(daemon, here)) == len(entries)


def test_kills_that_the_log_has_lost_are_counted_and_reported_once(daemon: Daemon) -> None:
    began, here = beginning(daemon), live.now()
    daemon.stop()
    kill(2)
    if KMSG.is_char_device():
        overwrite_the_log()
    kill(1)
    daemon.restart()
    settled(daemon)
    entries = kills(daemon, here)
    counts = assert_balanced(daemon, began, len(entries), 3, missing=3 - len(entries))
    assert len(entries) == (1 if KMSG.is_char_device() else 0)
    (said,) = missed(daemon, here)
    missing = str(3 - len(entries))
    assert (said["OOM_MISSED"], said["OOM_MISSED_REASON"], said["PRIORITY"]) == (missing, "not-running", "3")
    # The counters survive a restart without a kill.
    daemon.restart()
    assert settled(daemon) == counts
    assert len(missed(daemon, here)) == 1


def test_kills_without_room_in_the_ring_are_found_if_the_log_has_them(daemon: Daemon) -> None:
    with settings(daemon, '[capture]\nring_size = "4KiB"\n'):
        daemon.restart()
        began, here = beginning(daemon), live.now()
        os.kill(daemon.pid(), signal.SIGSTOP)
        try:
            kill(20)
            in_the_log = KMSG.is_char_device()
            if in_the_log:
                overwrite_the_log()
            kill(4)
        finally:
            os.kill(daemon.pid(), signal.SIGCONT)
        (said,) = live.wait_for("missed entry", lambda: missed(daemon, here), 15, daemon.status)
        settled(daemon)
        entries = kills(daemon, here)
        found = sum(entry["OOM_SOURCE"] == "kmsg" for entry in entries)
        assert_balanced(daemon, began, len(entries), 24, missing=24 - len(entries))
        assert found == (4 if in_the_log else 0)
        assert len(entries) > found
        (said,) = missed(daemon, here)
        assert (said["OOM_MISSED"], said["OOM_MISSED_REASON"]) == (str(24 - len(entries)), "ring-full")


def test_missed_kills_before_the_first_start_in_a_boot_are_no_error(daemon: Daemon) -> None:
    settled(daemon)
    here = live.now()
    daemon.stop()
    # As if no run of this boot had left anything.
    for left in RUNTIME.iterdir():
        left.unlink()
    kill(2)
    if KMSG.is_char_device():
        overwrite_the_log()
    daemon.restart()
    counts = settled(daemon)
    (said,) = missed(daemon, here)
    assert (said["OOM_MISSED_REASON"], said["PRIORITY"]) == ("not-running", "6")
    assert "before the first start of oomkilld in this boot: no entry, because nothing about" in said["MESSAGE"]
    assert int(said["OOM_MISSED"]) == counts.missing >= 2
    # The books still cover the whole boot.
    assert sum(counts) == live.vmstat_kills()
    # There was no earlier level, so the level gets an entry only if it is not the best.
    changes = [(change.get("OOM_LEVEL_FROM"), change["OOM_LEVEL_TO"]) for change in level_changes(daemon, here)]
    assert changes == ([] if level_of(daemon) == "kprobe" else [(None, level_of(daemon))])


# By level: the hook that sees kills, another one that no test triggers, and the level that the service steps down to.
WRONG = {
    "kprobe": ('"mark_oom_victim", "on_mark"', '"oom_killer_disable", "on_mark"', "fentry"),
    "tracepoint": ('"mark_victim"', '"skip_task_reaping"', "kmsg"),
}


@contextmanager
def attached_to_the_wrong_place(daemon: Daemon, level: str) -> Iterator[None]:
    """The probe is attached to the other hook during the block."""
    hook, other, _below = WRONG[level]
    try:
        with changed(daemon, "host/levels.py", hook, other):
            yield
    finally:
        with suppress(FileNotFoundError):
            CEILING.unlink()
        daemon.restart()


def test_a_probe_that_misses_kills_is_noticed_and_its_level_set_aside(daemon: Daemon) -> None:
    began, here = beginning(daemon), live.now()
    level = level_of(daemon)
    with attached_to_the_wrong_place(daemon, level):
        daemon.restart()
        assert level_of(daemon) == level
        pid = daemon.pid()
        kill(1)
        # The log has the kill, but the service knows that the probe missed it.
        in_the_log = KMSG.is_char_device()
        if in_the_log:
            (entry,) = kills_after(daemon, here, 1, 60)
            assert entry["OOM_SOURCE"] == "kmsg"
            assert missed(daemon, here) == []
        else:
            (said,) = live.wait_for("missed entry", lambda: missed(daemon, here), 15, daemon.status)
            assert (said["OOM_MISSED"], said["OOM_MISSED_REASON"]) == ("1", "not-seen")
        # In a container nothing confirms it: the kernel log is missing, or a pipe is in its place.
        below = WRONG[level][2]
        if in_the_log:
            daemon.wait_for_the_run_after(pid)
            assert level_of(daemon) == below
            (change,) = live.wait_for("level entry", lambda: level_changes(daemon, here), 15, daemon.status)
            # One that has an obstacle of its own is not there for this.
            reason = "set aside in this boot: the probe missed 1 kill that the kernel log has"
            assert re.search(rf"[ (]not (fentry, )?{level}: {reason}\)$", change["MESSAGE"]), change["MESSAGE"]
            kill(1)
            kills_after(daemon, here, 2)
    seen = len(kills(daemon, here))
    kill(1)
    entries = kills_after(daemon, here, seen + 1)
    assert entries[-1]["OOM_SOURCE"] == level
    missing = 0 if in_the_log else 1
    assert_balanced(daemon, began, len(entries), len(entries) + missing, missing)
