# SPDX-License-Identifier: Apache-2.0
"""Creates cgroups with a memory limit, in the hierarchy (version 1 or 2) that has the memory controller."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_EMPTY_WITHIN_SECONDS = 30


class Hierarchy(NamedTuple):
    """The one with the memory controller. ``controllers``: those mounted together (version 1); None: version 2."""

    controllers: str | None
    own: Path  # this process's cgroup, from the root of the hierarchy

    @property
    def mount_arguments(self) -> tuple[str, str | None]:
        """Type and options for mount(2)."""
        return ("cgroup2", None) if self.controllers is None else ("cgroup", self.controllers)


def hierarchy(own_cgroups: str) -> Hierarchy | None:
    """Parse the text of /proc/self/cgroup; None: the kernel has no memory controller."""
    unified = None
    for line in own_cgroups.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Hierarchy(controllers, Path(path.lstrip("/")))
        if number == "0":
            unified = Hierarchy(None, Path(path.lstrip("/")))
    return unified


@contextmanager
def room_for_groups(mounted: Path, own: Path, *, unified: bool) -> Iterator[Path]:
    """The nearest cgroup of the hierarchy at ``mounted`` whose children may have a memory limit.

    Searches from this process's own cgroup (``own``) upwards. Raises OSError when there is none.
    """
    # A process that was moved into a container has a cgroup outside of the visible part: "/../…".
    if not (mounted / own / "cgroup.procs").exists():
        raise OSError(f"{mounted / own} is no cgroup")
    if not unified:
        yield mounted / own
        return
    for parent in [mounted / own, *(mounted / own).parents][: len(own.parts) + 1]:
        if "memory" in (parent / "cgroup.subtree_control").read_text().split():
            yield parent
            return
        if _enable(parent):
            try:
                yield parent
            finally:
                (parent / "cgroup.subtree_control").write_text("-memory")
            return
    raise OSError("no cgroup above this process allows a memory limit below it")


def _enable(parent: Path) -> bool:
    """False: the cgroup has processes of its own, or does not have the controller itself."""
    try:
        (parent / "cgroup.subtree_control").write_text("+memory")
    except OSError:
        return False
    return True


class MemoryCgroup(NamedTuple):
    """A cgroup that this module created."""

    path: Path

    @property
    def procs(self) -> Path:
        """The file that a process writes 0 to in order to join."""
        return self.path / "cgroup.procs"

    def kills(self) -> int:
        """The kernel's count of OOM kills in this cgroup."""
        events = self.path / ("memory.events" if _is_unified(self.path) else "memory.oom_control")
        counts = dict(line.split() for line in events.read_text().splitlines())
        return int(counts["oom_kill"])


@contextmanager
def memory_cgroup(path: Path, limit_bytes: int | None, *, group_kill: bool = False) -> Iterator[MemoryCgroup]:
    """Create a cgroup, and at the end kill its processes and remove it.

    ``limit_bytes``: of memory, without swap; None: no limit. ``group_kill``: the kernel kills all of its processes
    together (version 2 only).
    """
    path.mkdir()
    try:
        if limit_bytes is not None:
            _limit(path, limit_bytes)
        if group_kill:
            (path / "memory.oom.group").write_text("1")
        yield MemoryCgroup(path)
    finally:
        _remove(path)


def _limit(path: Path, limit_bytes: int) -> None:
    if _is_unified(path):
        (path / "memory.max").write_text(str(limit_bytes))
        _write_if_there(path / "memory.swap.max", "0")
    else:
        (path / "memory.limit_in_bytes").write_text(str(limit_bytes))
        _write_if_there(path / "memory.memsw.limit_in_bytes", str(limit_bytes))


def _is_unified(path: Path) -> bool:
    return (path / "cgroup.controllers").exists()


def _write_if_there(file: Path, text: str) -> None:
    """Does nothing if the file is missing, as without swap accounting."""
    if file.exists():
        file.write_text(text)


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _EMPTY_WITHIN_SECONDS
    while True:
        # A process of another PID namespace appears as 0, which kill(2) takes as our own process group.
        for pid in filter(None, map(int, (path / "cgroup.procs").read_text().split())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
