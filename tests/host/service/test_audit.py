# SPDX-License-Identifier: Apache-2.0
"""What is missing is known: while it did not run, and when its probe does not see what the kernel counts."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.host.service.daemon import Daemon, kills, kills_after, settled
from tests.support import live

MIB = 1 << 20
CEILING = Path("/run/oomkilld/level")


def missed(daemon: Daemon, here: live.Moment) -> list[live.Entry]:
    return live.service_entries("missed", here, sender=daemon.sender)


def level_of(daemon: Daemon) -> str:
    return live.wait_for("status", daemon.status, 15).removeprefix("Level ").partition(":")[0]


def kill(count: int) -> None:
    with live.cgroup("audited", 4 * MIB) as where:
        for _ in range(count):
            live.kill_one(where)


def test_kills_while_it_did_not_run_are_said_once_at_the_next_start(daemon: Daemon, here: live.Moment) -> None:
    before, vmstat = settled(daemon), live.vmstat_kills()
    daemon.stop()
    kill(3)
    daemon.restart()
    (said,) = live.wait_for("missed entry", lambda: missed(daemon, here), 15, daemon.status)
    assert (said["OOM_MISSED"], said["OOM_MISSED_REASON"], said["PRIORITY"]) == ("3", "not-running", "3")
    kill(2)
    entries = kills_after(daemon, here, 2)
    counts = settled(daemon)
    assert counts.missing == before.missing + 3
    live.Books(
        len(entries),
        counts.repeats - before.repeats,
        counts.missing - before.missing,
        live.vmstat_kills() - vmstat,
        5,
    ).check()
    # What is counted goes on over a start without a kill.
    daemon.restart()
    assert settled(daemon) == counts
    assert len(missed(daemon, here)) == 1


# By level: the hook that sees kills, another that no test brings about, and the level that is taken then.
WRONG = {
    "kprobe": ('"mark_oom_victim", "on_mark"', '"oom_killer_disable", "on_mark"', "fentry"),
    "tracepoint": ('"mark_victim"', '"skip_task_reaping"', "kmsg"),
}


@contextmanager
def attached_to_the_wrong_place(daemon: Daemon, level: str) -> Iterator[None]:
    """Until this is left."""
    module = daemon.package / "arm/levels.py"
    right = module.read_text()
    hook, other, _below = WRONG[level]
    assert hook in right
    module.write_text(right.replace(hook, other))
    try:
        yield
    finally:
        module.write_text(right)
        with suppress(FileNotFoundError):
            CEILING.unlink()
        daemon.restart()


def test_a_probe_that_does_not_see_what_the_kernel_counts_is_noticed_and_set_aside(
    daemon: Daemon, here: live.Moment
) -> None:
    before, vmstat = settled(daemon), live.vmstat_kills()
    level = level_of(daemon)
    with attached_to_the_wrong_place(daemon, level):
        daemon.restart()
        assert level_of(daemon) == level
        pid = daemon.pid()
        kill(1)
        (said,) = live.wait_for("missed entry", lambda: missed(daemon, here), 15, daemon.status)
        assert (said["OOM_MISSED"], said["OOM_MISSED_REASON"]) == ("1", "not-seen")
        assert kills(daemon, here) == []
        # In a container there may be no other level: the kernel's log is not there, or what stands for it is a pipe.
        below = WRONG[level][2]
        if below != "kmsg" or Path("/dev/kmsg").is_char_device():
            daemon.wait_for_the_run_after(pid)
            assert level_of(daemon) == below
            reason = f"{level}: set aside in this boot: the kernel counted 1 kills that were not seen"
            assert reason in live.wait_for("status", daemon.status, 15)
            kill(1)
            kills_after(daemon, here, 1)
    kill(1)
    entries = live.wait_for("entry", lambda: kills(daemon, here), 5, daemon.status)
    assert entries[-1]["OOM_SOURCE"] == level
    counts = settled(daemon)
    live.Books(
        len(entries),
        counts.repeats - before.repeats,
        counts.missing - before.missing,
        live.vmstat_kills() - vmstat,
        len(entries) + 1,
    ).check()
