# SPDX-License-Identifier: Apache-2.0
"""Chooses the cgroups to sample: one walk through the memory controller's tree, in steps.

Those with a limit come first, then the largest. A cgroup without others below it has two links (kernfs counts
directories as other file systems do), so its directory is never listed: most cgroups are such leaves.
"""

import heapq
import os
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress

from oomkilld.host.cgroupfs import GONE, Hierarchy, open_directory, open_file
from oomkilld.host.procformats import is_number
from oomkilld.lighttyping import NamedTuple

# Of one walk: the cgroups that it looks at, breadth first, and those within one unit or container (the outermost
# cgroup below the slices), whose owner may create as many as he likes, with limits that he chooses.
MAX_VISITED = 4096
MAX_OF_UNIT = 1024
MAX_LIMITED_OF_UNIT = 64
MAX_PATH_BYTES = 1024
# Whoever is sampled already keeps its place until another one is larger by a quarter.
_KEEP_SHIFT = 2
_LEAF_LINKS = 2
_NUMBER_BYTES = 24
# memory.limit_in_bytes of version 1 without a limit: PAGE_COUNTER_MAX pages.
_UNLIMITED = 1 << 62


class Found(NamedTuple):
    """A cgroup. ``path``: from the hierarchy's root, ``/system.slice``. ``limit``: in bytes; None: it has none."""

    is_limited: bool  # it counts as one with a limit
    usage: int  # in bytes, by which it is compared
    path: bytes
    inode: int
    limit: int | None


class Seen(NamedTuple):
    """What a walk shows of cgroups that it did not find. ``highest``: the highest inode of a cgroup that it saw.

    The kernel numbers cgroups in ascending order (Linux commit 40430452fd5d, "kernfs: use 64bit inos if ino_t is
    64bit"). So if the walk ``is_whole``, having passed none over, one with a higher inode was created after
    ``began_ns``. ``left_out``, ``limited_left_out``: whether some, with a limit, had no place among the best.
    """

    began_ns: int
    highest: int
    is_whole: bool
    left_out: bool
    limited_left_out: bool

    def since_ns(self, inode: int) -> int | None:
        """Since when a cgroup can exist at most; None: unknown."""
        return self.began_ns if self.is_whole and inode > self.highest else None


class _Unit:
    """What was seen within one unit or container."""

    __slots__ = ("limited", "visited")

    def __init__(self) -> None:
        self.visited = self.limited = 0


class Walk:
    """``root``: file descriptor of the hierarchy. ``usage_of``: bytes of a cgroup (path, inode) that is sampled.

    Once ``go_on`` returns True, ``best`` are at most ``wanted`` cgroups; ``outdone``: those sampled that are not.
    """

    def __init__(
        self, hierarchy: Hierarchy, root: int, wanted: int, usage_of: Callable[[bytes, int], int | None], now_ns: int
    ) -> None:
        self._usage_file = b"/" + hierarchy.usage_file
        self._limit_file = b"/memory.max" if hierarchy.version == 2 else b"/memory.limit_in_bytes"
        self._root = root
        self._wanted = wanted
        self._usage_of = usage_of
        self.began_ns = now_ns
        self.best: list[Found] = []
        self.outdone: set[bytes] = set()
        self._highest = 0
        self._is_whole = True
        self._left_out = self._limited_left_out = False
        self._visited = 0
        self._pending: deque[tuple[bytes, _Unit | None]] = deque([(b"", None)])
        self._steps = self._walk()

    def go_on(self, is_time_up: Callable[[], bool]) -> bool:
        """Look at cgroups until ``is_time_up``. Returns whether the walk has ended."""
        return not any(is_time_up() for _step in self._steps)

    def seen(self) -> Seen:
        return Seen(self.began_ns, self._highest, self._is_whole, self._left_out, self._limited_left_out)

    def close(self) -> None:
        """Close what an unfinished walk has open."""
        self._steps.close()

    def _walk(self) -> Generator[None, None, None]:
        while self._pending:
            path, unit = self._pending.popleft()
            try:
                yield from self._list(path, unit)
            except OSError as error:
                self._is_whole &= error.errno in GONE  # else its owner may have closed it

    def _list(self, path: bytes, unit: _Unit | None) -> Generator[None, None, None]:
        directory = open_directory(path[1:] or b".", self._root)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield
                        if not self._may_visit_more(unit):
                            self._is_whole = False
                            return  # there may be any number of others
                        with suppress(OSError):
                            self._visit(directory, path, os.fsencode(entry.name), unit)
        finally:
            os.close(directory)

    def _visit(self, directory: int, parent: bytes, name: bytes, unit: _Unit | None) -> None:
        path = parent + b"/" + name
        if unit is None and not name.endswith(b".slice"):
            unit = _Unit()
        self._visited += 1
        if unit is not None:
            unit.visited += 1
        if len(path) > MAX_PATH_BYTES:
            self._is_whole = False
            return
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        self._highest = max(self._highest, status.st_ino)
        usage = self._usage_of(path, status.st_ino)
        is_sampled = usage is not None
        if usage is None:
            usage = self._number(directory, name + self._usage_file)
        if usage is None:
            return  # without the memory controller, and so are those below it
        limit = self._number(directory, name + self._limit_file)
        limit = None if limit is None or limit >= _UNLIMITED else limit
        is_limited = limit is not None
        if is_limited and unit is not None:
            unit.limited += 1
            is_limited = unit.limited <= MAX_LIMITED_OF_UNIT
        compared = usage + (usage >> _KEEP_SHIFT) if is_sampled else usage
        self._consider(Found(is_limited, compared, path, status.st_ino, limit))
        if status.st_nlink != _LEAF_LINKS:
            self._pending.append((path, unit))

    def _may_visit_more(self, unit: _Unit | None) -> bool:
        return self._visited < MAX_VISITED and (unit is None or unit.visited < MAX_OF_UNIT)

    def _consider(self, found: Found) -> None:
        if len(self.best) < self._wanted:
            heapq.heappush(self.best, found)
            return
        least = heapq.heappushpop(self.best, found)
        self._left_out = True
        if self._usage_of(least.path, least.inode) is not None:
            self.outdone.add(least.path)
        self._limited_left_out |= least.is_limited

    def _number(self, directory: int, path: bytes) -> int | None:
        """The number in a file; None: there is no such file, or it has a word (``max``)."""
        try:
            fd = open_file(path, directory)
        except OSError:
            return None
        try:
            digits = os.read(fd, _NUMBER_BYTES).rstrip(b"\n")
        finally:
            os.close(fd)
        return int(digits) if is_number(digits) else None
