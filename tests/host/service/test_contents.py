# SPDX-License-Identifier: Apache-2.0
"""The contents of a domain are read whatever a user does to his cgroups below it, on this machine's hierarchy.

Read directly, not from an entry: the capture level that works here need not give the domain.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from oomkilld.host.cgroupfs import CGROUP_ROOT
from oomkilld.record.enrich.memcgusage import MAX_FILES
from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.host.service.daemon import Daemon, kills_after
from tests.support import live

MIB = 1 << 20
NOBODY = 65534
# Like the service, without the capability to read files that are closed to others.
WITHOUT_RIGHT = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
READ = """
import sys
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.host.clock import KernelClock
path = sys.argv[1].encode()
found = ContentsReader(KernelClock()).read(path, first=[path + b"/mine/inner"])
for path, size in found.top:
    print(path.decode().rpartition("/")[2], size is not None)
"""
COUNT = """
import json
import sys
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.host.clock import KernelClock
print(json.dumps(ContentsReader(KernelClock()).read(sys.argv[1].encode()).counters._asdict()))
"""


@contextmanager
def holding(cgroup: Path) -> Iterator[None]:
    sleeper = live.Cgroup(cgroup).start("hold=6", "sleep")
    try:
        yield
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A cgroup with a limit, and below it one that holds memory."""
    with live.cgroup("shared", 30 * MIB) as where, ExitStack() as stack:
        if (control := where.path / "cgroup.subtree_control").exists():
            control.write_text("+memory")
        mine = stack.enter_context(memory_cgroup(where.path / "mine", None))
        stack.enter_context(holding(mine.path))
        yield where.path


def tops(cgroup: Path) -> list[str]:
    """The names of the largest cgroups, and whether they have a size."""
    return read(READ, cgroup)


def from_the_root(cgroup: Path) -> Path:
    """Its path from the root of its hierarchy, as far as this system sees it."""
    return cgroup.relative_to(next(parent for parent in cgroup.parents if parent.is_mount()))


def read(program: str, cgroup: Path) -> list[str]:
    found = subprocess.run(
        [*WITHOUT_RIGHT, sys.executable, "-c", program, f"/{from_the_root(cgroup)}"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return found.stdout.splitlines()


def test_a_cgroup_that_its_owner_closed_hides_no_other(shared: Path) -> None:
    with memory_cgroup(shared / "closed", None) as closed, holding(closed.path):
        assert sorted(tops(shared)) == ["closed True", "mine True"]
        os.chown(closed.path, NOBODY, NOBODY)
        closed.path.chmod(0)
        assert tops(shared) == ["mine True", "closed False"]


def test_more_cgroups_than_can_be_read_do_not_hide_the_victims(shared: Path) -> None:
    with ExitStack() as stack:
        for number in range(MAX_FILES + 100):
            stack.enter_context(memory_cgroup(shared / f"empty-{number}", None))
        assert tops(shared) == ["mine True", "shared False"]


def rows(file: Path) -> dict[str, int]:
    return {key: int(count) for key, count in map(str.split, file.read_text().splitlines())}


def number_in(file: Path) -> int | None:
    """None: there is no such file."""
    return int(file.read_text()) if file.exists() else None


@contextmanager
def counted_by_pids(cgroup: Path) -> Iterator[Path]:
    """The directory with the cgroup's pids.current: on version 1, one of the same path in another hierarchy."""
    control = cgroup.parent / "cgroup.subtree_control"
    if control.exists():
        there = (cgroup.parent / "cgroup.controllers").read_text().split()
        is_off = "pids" in there and "pids" not in control.read_text().split()
        if is_off:
            control.write_text("+pids")
        yield cgroup
        if is_off:
            control.write_text("-pids")
        return
    same = Path(CGROUP_ROOT, "pids") / from_the_root(cgroup)
    made = [each for each in reversed([same, *same.parents]) if not each.exists()]
    # A container may not have that hierarchy, or may not write to it.
    if not made or not os.access(made[0].parent / "cgroup.procs", os.W_OK):
        made = []
    for each in made:
        each.mkdir()
    try:
        yield same
    finally:
        for each in reversed(made):
            each.rmdir()


def own_counts(cgroup: Path, pids: Path) -> dict[str, int | None]:
    """What the cgroup's files say now."""
    found: dict[str, int | None] = {"high": None, "tasks": number_in(pids / "pids.current")}
    if (cgroup / "memory.events").exists():
        local = rows(cgroup / "memory.events.local")
        found |= {"peak": number_in(cgroup / "memory.peak"), "times_high": local["high"]}
        found["times_max"] = local["max"] or None
        return {**found, "oom_kills": rows(cgroup / "memory.events")["oom_kill"]}
    found |= {"peak": number_in(cgroup / "memory.max_usage_in_bytes"), "times_high": None}
    found["times_max"] = number_in(cgroup / "memory.failcnt") or None  # Linux 6.18 does not count it
    return {**found, "oom_kills": rows(cgroup / "memory.oom_control")["oom_kill"]}


def test_the_counters_are_those_of_the_cgroups_files(daemon: Daemon, here: live.Moment) -> None:
    """After two kills, with two processes of four threads each."""
    with live.cgroup("counted", 30 * MIB) as where, counted_by_pids(where.path) as pids, ExitStack() as stack:
        for _ in range(2):
            sleeper = where.start("threads=3", "sleep")
            stack.callback(sleeper.wait)
            stack.callback(sleeper.kill)
            if pids != where.path and (pids / "cgroup.procs").exists():
                (pids / "cgroup.procs").write_text(str(sleeper.pid))
        for _ in range(2):
            live.kill_one(where, "adjust=500")
        entries = kills_after(daemon, here, 2)
        (line,) = read(COUNT, where.path)
        told, own = json.loads(line), own_counts(where.path, pids)
    print(f"told: {told}; counters of the entries: {[entry.get('OOM_DOMAIN_EVENTS_OOM_KILL') for entry in entries]}")
    assert told == own
    assert told["oom_kills"] == 2
    assert (told["times_max"] or 2) >= 2
    assert told["tasks"] in (8, None)
    assert told["peak"] is None or abs(told["peak"] - 30 * MIB) <= MIB
    for number, entry in enumerate(entries, start=1):
        if "OOM_DOMAIN_EVENTS_OOM_KILL" in entry:
            assert number <= int(entry["OOM_DOMAIN_EVENTS_OOM_KILL"]) <= 2
            assert 0 < int(entry.get("OOM_DOMAIN_EVENTS_MAX", 1)) <= (told["times_max"] or 1)
