# SPDX-License-Identifier: Apache-2.0
"""What filled a limit is told whatever somebody did to cgroups of his own below it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from oomkilld.record.contents import MAX_FILES
from tests.host.service.daemon import Daemon, kills_after
from tests.support import live
from trial.memorycgroup import memory_cgroup

MIB = 1 << 20
NOBODY = 65534


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
    """A limit, and below it a cgroup that holds memory, also after a kill in it."""
    with live.cgroup("shared", 30 * MIB) as where, memory_cgroup(where.path / "mine", None) as mine:
        if (control := where.path / "cgroup.subtree_control").exists():
            control.write_text("+memory")
        with holding(mine.path):
            yield where.path


def tops(entry: live.Entry) -> list[tuple[str, bool]]:
    """Their names, and whether a size is told."""
    found = [(number, entry.get(f"OOM_TOP_{number}_CGROUP")) for number in range(1, 6)]
    return [(Path(path).name, f"OOM_TOP_{number}_BYTES" in entry) for number, path in found if path]


def test_a_cgroup_that_its_owner_has_closed_hides_no_other(daemon: Daemon, here: live.Moment, shared: Path) -> None:
    with memory_cgroup(shared / "closed", None) as closed, holding(closed.path):
        os.chown(closed.path, NOBODY, NOBODY)
        closed.path.chmod(0)
        live.kill_one(live.Cgroup(shared / "mine"))
        (entry,) = kills_after(daemon, here, 1)
    assert tops(entry) == [("mine", True), ("closed", False)]


def test_more_cgroups_than_are_read_do_not_hide_the_victims(daemon: Daemon, here: live.Moment, shared: Path) -> None:
    with ExitStack() as stack:
        for number in range(MAX_FILES + 100):
            stack.enter_context(memory_cgroup(shared / f"empty-{number}", None))
        live.kill_one(live.Cgroup(shared / "mine"))
        (entry,) = kills_after(daemon, here, 1)
    assert tops(entry) == [("mine", True), ("shared", False)]
