# SPDX-License-Identifier: Apache-2.0
"""Groups with names of one's choice, as whoever was given a group makes them below it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import live
from trial.memorycgroup import memory_cgroup

USER_1000 = "user.slice/user-1000.slice/user@1000.service"
USER_1001 = "user.slice/user-1001.slice/user@1001.service"


def _root() -> Path:
    """Of the hierarchy of the memory controller, or of what this container may see of it."""
    group = Path(os.environ["OOMKILLD_TEST_CGROUP"])
    while (group.parent / "cgroup.procs").exists():
        group = group.parent
    return group


@contextmanager
def group_at(path: str, limit: int) -> Iterator[live.Cgroup]:
    """With all that is missing above it."""
    where = _root() / path
    made = [each for each in reversed(where.parents) if not each.exists()]
    for each in made:
        _let_children_be_limited(each.parent)
        each.mkdir()
    _let_children_be_limited(where.parent)
    try:
        with memory_cgroup(where, limit):
            yield live.Cgroup(where)
    finally:
        for each in reversed(made):
            each.rmdir()


def _let_children_be_limited(group: Path) -> None:
    """What version 1 always does."""
    control = group / "cgroup.subtree_control"
    if control.exists() and "memory" not in control.read_text().split():
        control.write_text("+memory")


def seen_from_the_root(where: live.Cgroup, entry: live.Entry) -> bool:
    """Whether this is not in a container, below whose own group the host sees all that is made here."""
    first = where.path.relative_to(_root()).parts[0]
    return bool(entry["OOM_VICTIM_CGROUP"].startswith(f"/{first}/"))
