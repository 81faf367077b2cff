# SPDX-License-Identifier: Apache-2.0
"""Nested cgroups with the longest names: deeper than any path that a system call takes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oomkilld import recordlayout
from tests.support import live

NAME = "d" * 255
_LEVELS = 32


@contextmanager
def below(top: Path, levels: int, limit: int | None = None) -> Iterator[live.Cgroup]:
    """The innermost of ``levels`` groups below ``top``, each called NAME; ``limit``: its memory limit.

    In version 2, a group has the memory controller only if a limit is given.
    """
    unified = (top / "cgroup.controllers").exists()
    fd = os.open(top, os.O_RDONLY)
    where = Path(f"/proc/{os.getpid()}/fd/{fd}")
    try:
        for _level in range(levels):
            if unified and limit is not None:
                (where / "cgroup.subtree_control").write_text("+memory")
            os.mkdir(NAME, dir_fd=fd)
            _move(fd, NAME)
        if limit is not None:
            (where / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(limit))
            if unified and (where / "memory.swap.max").exists():
                (where / "memory.swap.max").write_text("0")
        try:
            yield live.Cgroup(where)
        finally:
            live.wait_for("end of its processes", lambda: not (where / "cgroup.procs").read_text(), 30)
            for _level in range(levels):
                _move(fd, "..")
                live.wait_for("end of the group", lambda: _removed(fd), 30)
    finally:
        os.close(fd)


def outermost(path: str, room: int = recordlayout.PATH_ROOM) -> str:
    """The part of a path for which a record has room: whole names, from the root inwards."""
    kept, used = "", 1
    for name in path.split("/")[1 : _LEVELS + 1]:
        used += len(os.fsencode(name)) + 1
        if used > room:
            break
        kept += f"/{name}"
    return kept


def _move(fd: int, name: str) -> None:
    there = os.open(name, os.O_RDONLY, dir_fd=fd)
    os.dup2(there, fd)
    os.close(there)


def _removed(fd: int) -> bool:
    try:
        os.rmdir(NAME, dir_fd=fd)
    except OSError:
        return False  # processes that have ended may still be there for a moment
    return True
