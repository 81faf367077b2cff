# SPDX-License-Identifier: Apache-2.0
"""Cgroups with chosen names, as anybody can make them below a cgroup of his own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.support import live

USER_1000 = "user.slice/user-1000.slice/user@1000.service"
USER_1001 = "user.slice/user-1001.slice/user@1001.service"


def _root() -> Path:
    """The root of the memory controller's hierarchy, or the part that this container sees."""
    group = Path(os.environ["OOMKILLD_TEST_CGROUP"])
    while (group.parent / "cgroup.procs").exists():
        group = group.parent
    return group


@contextmanager
def group_at(path: str, limit: int) -> Iterator[live.Cgroup]:
    """Create the cgroup and its missing parents."""
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
    """Whether this runs outside of a container; in one, the host sees these cgroups below the container's own."""
    first = where.path.relative_to(_root()).parts[0]
    return bool(entry["OOM_VICTIM_CGROUP"].startswith(f"/{first}/"))
