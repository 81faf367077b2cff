# SPDX-License-Identifier: Apache-2.0
"""What a cgroup counts about itself, as its files say it around a kill."""

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import live, pace
from tests.vm.guest.kills import LIMIT, MIB, kills_after

HIGH = LIMIT - MIB
PROTECTED = 2 * MIB
SLEEPERS, THREADS = 2, 3  # processes, and threads of each beside its first
# Not in /tmp, which is a tmpfs: its pages would stay charged to the cgroup that wrote them.
ON_DISK = Path("/var/tmp/oomkilld-tests")


class Counts(NamedTuple):
    """Of one moment, by the ends of the fields' names. None: this kernel has no such count."""

    PEAK_BYTES: int | None
    TASKS: int | None
    EVENTS_HIGH: int
    EVENTS_MAX: int
    EVENTS_OOM_KILL: int


def counts(where: Path) -> Counts:
    local, whole = (rows(where / f"memory.events{kind}") for kind in (".local", ""))
    peak, tasks = (int(file.read_text()) if file.exists() else None for file in files(where))
    return Counts(peak, tasks, local["high"], local["max"], whole["oom_kill"])


def files(where: Path) -> tuple[Path, Path]:
    """Those that not every kernel or cgroup has."""
    return where / "memory.peak", where / "pids.current"


def rows(file: Path) -> dict[str, int]:
    return {key: int(count) for key, count in re.findall(r"^(\w+) (\d+)$", file.read_text(), re.MULTILINE)}


@contextmanager
def controllers_below(where: Path, *names: str) -> Iterator[None]:
    """Cgroups directly below may have these controllers."""
    for name in names:
        (where / "cgroup.subtree_control").write_text(f"+{name}")
    try:
        yield
    finally:
        for name in reversed(names):
            (where / "cgroup.subtree_control").write_text(f"-{name}")


def read_in(where: live.Cgroup) -> None:
    """Read a file there that is larger than the limit: the kernel frees the pages read before, and kills nothing."""
    with ON_DISK.open("wb") as whole:
        for _ in range(2 * LIMIT // MIB):
            whole.write(bytes(MIB))
        whole.flush()
        os.fsync(whole.fileno())
        # Otherwise its pages stay charged to the cgroup that wrote them.
        os.posix_fadvise(whole.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        command = f"echo 0 >{where.procs} && exec dd if={ON_DISK} of=/dev/null bs=1M status=none"
        subprocess.run(["sh", "-c", command], check=True)
    finally:
        ON_DISK.unlink()


def killed_and_not_reaped(where: live.Cgroup) -> "subprocess.Popen[str]":
    """A hog that was killed there; the cgroup counts it until somebody waits for it."""
    for _attempt in range(10):
        hog = where.start("adjust=500", "eat")
        end = os.pidfd_open(hog.pid)
        try:
            assert select.select([end], [], [], 60 * pace.patience())[0], "a hog lives on"
        finally:
            os.close(end)
        ended = os.waitid(os.P_PID, hog.pid, os.WEXITED | os.WNOWAIT)
        if ended is not None and ended.si_status == signal.SIGKILL:
            return hog
        hog.wait()
    raise AssertionError("ten hogs were refused memory instead of being killed")


class Scene(NamedTuple):
    """A domain with processes, where another one can be killed."""

    domain: Path
    where: live.Cgroup
    first: Counts  # before the domain was at its limit
    then: Counts  # when it had been, several times


@contextmanager
def at_its_limit_before() -> Iterator[Scene]:
    """It was at its limit, a cgroup below it was at one of its own, where a process was killed; one is protected."""
    parent = Path(os.environ["OOMKILLD_TEST_CGROUP"])
    with controllers_below(parent, "pids"), live.cgroup("counted", LIMIT) as domain, ExitStack() as stack:
        stack.enter_context(controllers_below(domain.path, "memory", "pids"))
        small = stack.enter_context(live.cgroup("counted/small", 4 * MIB))
        held = stack.enter_context(live.cgroup("counted/held", None))
        where = stack.enter_context(live.cgroup("counted/where", None))
        (held.path / "memory.min").write_text(str(PROTECTED))
        live.kill_one(small)
        for cgroup, words in ((held, ("hold=4",)), *(SLEEPERS * ((where, (f"threads={THREADS}",)),))):
            sleeper = cgroup.start(*words, "sleep")
            stack.callback(sleeper.wait)
            stack.callback(sleeper.kill)
        first = counts(domain.path)
        read_in(where)
        then = counts(domain.path)
        (domain.path / "memory.high").write_text(str(HIGH))
        yield Scene(domain.path, where, first, then)


@pytest.mark.each_kernel
@pytest.mark.matrix("the domain's counters")
def test_the_counters_of_the_domain_are_those_of_its_files(level: str) -> None:
    with at_its_limit_before() as scene:
        here = live.now()
        victim = killed_and_not_reaped(scene.where)
        try:
            (entry,) = kills_after(here, 1, level)
            after = counts(scene.domain)
        finally:
            victim.wait()
        of_all = rows(scene.domain / "memory.events")["max"]
    print(f"at first {scene.first}, then {scene.then}; after the kill {after}; with those below: max {of_all}")
    told = {name: int(entry[field]) for name in Counts._fields if (field := f"OOM_DOMAIN_{name}") in entry}
    print(f"told: {told}")
    # What a cgroup below counts about its own limit is not the domain's.
    assert scene.first.EVENTS_MAX == 0
    assert scene.then.EVENTS_MAX >= 2
    assert (scene.then.EVENTS_OOM_KILL, after.EVENTS_OOM_KILL) == (1, 2)
    if level == "tracepoint" and "OOM_DOMAIN_CGROUP" not in entry:
        assert not told
        return
    assert_told(told, scene.then, after, of_all)
    assert int(entry["OOM_DOMAIN_HIGH_BYTES"]) == HIGH
    assert protected(entry) == {"held": PROTECTED}


def assert_told(told: dict[str, int], before: Counts, after: Counts, of_all: int) -> None:
    """``of_all``: how often the domain or a cgroup below it was at a limit."""
    # A count that this kernel lacks is not told, and every other one is.
    assert told.keys() == {name for name, count in after._asdict().items() if count is not None}
    # The domain may be at its limit once more while the victim exits.
    assert before.EVENTS_MAX < told["EVENTS_MAX"] <= after.EVENTS_MAX < of_all
    assert before.EVENTS_HIGH < told["EVENTS_HIGH"] <= after.EVENTS_HIGH
    assert told["EVENTS_OOM_KILL"] == after.EVENTS_OOM_KILL
    # The victim counts until it is reaped, which was after the entry.
    threads = 1 + SLEEPERS * (1 + THREADS)
    assert (before.TASKS, told["TASKS"], after.TASKS) == (threads, threads + 1, threads + 1)
    if after.PEAK_BYTES is not None and before.PEAK_BYTES is not None:
        assert before.PEAK_BYTES <= told["PEAK_BYTES"] <= after.PEAK_BYTES
        assert abs(told["PEAK_BYTES"] - LIMIT) <= MIB


def protected(entry: live.Entry) -> dict[str, int]:
    """The protection of the largest cgroups, by name."""
    found = {}
    for number in range(1, 6):
        if f"OOM_TOP_{number}_MIN_BYTES" in entry:
            name = entry[f"OOM_TOP_{number}_CGROUP"].rpartition("/")[2]
            found[name] = int(entry[f"OOM_TOP_{number}_MIN_BYTES"])
    return found


@pytest.mark.each_kernel
def test_what_is_not_set_or_not_counted_for_the_domain_is_left_out(here: live.Moment, level: str) -> None:
    with live.cgroup("plain", LIMIT) as where:
        live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
        kills = counts(where.path).EVENTS_OOM_KILL
        is_there = [file.exists() for file in files(where.path)]
    assert not [name for name in entry if name.endswith(("_HIGH_BYTES", "_MIN_BYTES"))]
    if level != "tracepoint":
        assert [f"OOM_DOMAIN_{name}" in entry for name in ("PEAK_BYTES", "TASKS")] == is_there
        assert int(entry["OOM_DOMAIN_EVENTS_OOM_KILL"]) == kills == 1
        assert entry["OOM_DOMAIN_EVENTS_HIGH"] == "0"
