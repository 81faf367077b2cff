# SPDX-License-Identifier: Apache-2.0
"""The contents of a domain are read whatever a user does to his cgroups below it, on this machine's hierarchy.

Without a kill: the capture level that works here does not give the domain.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from oomkilld.record.enrich.memcgusage import MAX_FILES
from oomkilld.testkill.memorycgroup import memory_cgroup
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
    root = next(parent for parent in cgroup.parents if parent.is_mount())
    found = subprocess.run(
        [*WITHOUT_RIGHT, sys.executable, "-c", READ, f"/{cgroup.relative_to(root)}"],
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
