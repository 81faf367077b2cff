# SPDX-License-Identifier: Apache-2.0
"""The cgroups that are sampled: each has a column of the rings, and its file of usage stays open."""

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress

from oomkilld.errors import NO_ROOM
from oomkilld.host.cgroupfs import GONE, MAX_FILE_BYTES, Hierarchy, open_file
from oomkilld.record.enrich.memcgusage import stat_bytes
from oomkilld.record.history.rings import HOST, Rings, stored
from oomkilld.record.history.signs import Signs
from oomkilld.record.history.tree import Found, Seen, Walk

# The samples of a removed cgroup stay for at least this long: the entries about its kill need them.
KEEP_NS = 30 * 10**9
# In percent of its limit: from where on a cgroup is near it, and below which it is not any more.
_NEAR, _FAR = 90, 84
# A cgroup that grows this part of its limit in a minute, not counting page cache, reaches it within an hour.
_GROWTH_SHARE = 64
# Of one look: the cgroups near their limit whose memory.stat is read, some 0.1 ms each.
_MOST_STATS = 16
_NUMBER_BYTES = 24


class Sampled:
    """``since_ns``: it was created after that time; None: it was there before. ``pages``, ``read_ns``: its last sample.

    ``fd`` is -1 once it was removed, or was not among the best any more, at ``left_ns``. ``is_forgotten``: its column
    belongs to another one. ``limit`` in pages; it came near it at ``near_ns``, 0: it was there before.
    ``events_fd``: of memory.events.local; -1: not opened yet; it ``is_awaited`` if its next change wakes the loop.
    """

    __slots__ = (
        *("core", "events_fd", "fd", "inode", "is_awaited", "is_forgotten", "is_near", "left_ns", "limit", "near_ns"),
        *("pages", "path", "read_ns", "since_ns"),
    )

    def __init__(self, path: bytes, inode: int, fd: int, since_ns: int | None) -> None:
        self.path = path
        self.inode = inode
        self.fd = fd
        self.since_ns = since_ns
        self.limit: int | None = None
        self.read_ns = self.left_ns = self.near_ns = self.pages = 0
        self.is_near = self.is_forgotten = self.is_awaited = False
        self.events_fd = -1
        self.core: int | None = None  # pages without page cache, when it was last near its limit


class Cgroups:
    """``root``: file descriptor of ``hierarchy``. There is room for ``wanted`` of them. ``read``: as os.pread."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        root: int,
        rings: Rings,
        page_bytes: int,
        read: Callable[[int, int, int], bytes] = os.pread,
    ) -> None:
        self.hierarchy = hierarchy
        self._root = root
        self._rings = rings
        self._page_bytes = page_bytes
        self._read = read
        self.wanted = rings.columns - HOST
        self._columns: list[Sampled | None] = [None] * self.wanted
        self._by_path: dict[bytes, tuple[int, Sampled]] = {}
        self.cannot_open: OSError | None = None  # no more files can be opened

    def __iter__(self) -> Iterator[tuple[int, Sampled]]:
        """Those with samples, also if they were removed: column and cgroup."""
        for column, cgroup in enumerate(self._columns, HOST):
            if cgroup is not None:
                yield column, cgroup

    def at(self, path: bytes) -> tuple[int, Sampled] | None:
        """The one that is, or was last, at that path."""
        return self._by_path.get(path)

    def usage_of(self, path: bytes, inode: int) -> int | None:
        """Bytes, at the last sample. None: it is not sampled."""
        _column, cgroup = self._by_path.get(path, (0, None))
        is_it = cgroup is not None and cgroup.fd >= 0 and cgroup.inode == inode
        return cgroup.pages * self._page_bytes if cgroup is not None and is_it else None

    def read(self, values: "array[int]", now_ns: int) -> list[bytes]:
        """Write the usage of each to its column. Returns the paths of those that have come near their limit."""
        came_near = []
        for column, cgroup in enumerate(self._columns, HOST):
            if cgroup is None or cgroup.fd < 0:
                values[column] = 0
                continue
            pages = self.pages(cgroup, now_ns)
            if pages is None:
                values[column] = 0
                continue
            values[column] = stored(pages)
            if cgroup.limit is not None and self._comes_near(cgroup, cgroup.limit, pages):
                came_near.append(cgroup.path)
        return came_near

    def pages(self, cgroup: Sampled, now_ns: int) -> int | None:
        """Its usage now; None: unknown, or it was removed."""
        if cgroup.fd < 0:
            return None
        try:
            pages = int(self._read(cgroup.fd, _NUMBER_BYTES, 0)) // self._page_bytes
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in GONE:
                self._leave(cgroup, now_ns)
            return None
        cgroup.pages, cgroup.read_ns = pages, now_ns
        return pages

    def _comes_near(self, cgroup: Sampled, limit: int, pages: int) -> bool:
        """Whether it was not near its limit before; the first look at one that was there before says nothing."""
        if pages * 100 < limit * _FAR:
            cgroup.is_near = False
        elif pages * 100 >= limit * _NEAR and not cgroup.is_near:
            cgroup.is_near = True
            cgroup.near_ns = cgroup.read_ns
            cgroup.core = self._core(cgroup, pages)
            return True
        return False

    def await_limits(self, signs: Signs, does_not_count: Callable[[bytes], bool]) -> None:
        """Let each wake the loop when it reaches its limit, if it is not near it, and ``does_not_count`` (a path)."""
        for _column, cgroup in self:
            wanted = cgroup.limit is not None and not cgroup.is_near and cgroup.fd >= 0
            if wanted and not cgroup.is_awaited and not does_not_count(cgroup.path):
                # Version 1 of control groups has no such file; and this one may have just been removed.
                with suppress(OSError):
                    self._await_limit(cgroup, signs)

    def _await_limit(self, cgroup: Sampled, signs: Signs) -> None:
        if cgroup.events_fd < 0:
            cgroup.events_fd = open_file(cgroup.path[1:] + b"/memory.events.local", self._root)
        signs.await_change(cgroup.events_fd)
        cgroup.is_awaited = True

    def at_limit(self, changed: set[int]) -> list[bytes]:
        """The paths of those whose files have ``changed``: each has reached its limit."""
        reached = [cgroup for _column, cgroup in self if cgroup.events_fd in changed]
        for cgroup in reached:
            cgroup.is_awaited = False
        return [cgroup.path for cgroup in reached]

    def grow_without_cache(self, now_ns: int) -> bool:
        """Whether one near its limit has grown since the last call, not counting page cache."""
        grew = False
        near = [cgroup for _column, cgroup in self if cgroup.is_near and cgroup.fd >= 0 and cgroup.limit]
        # Those that have been near it for long are most likely full of page cache.
        near.sort(key=lambda cgroup: -cgroup.near_ns)
        for cgroup in near[:_MOST_STATS]:
            pages = self.pages(cgroup, now_ns)
            core = None if pages is None else self._core(cgroup, pages)
            if core is not None and cgroup.core is not None and cgroup.limit:
                grew |= (core - cgroup.core) * _GROWTH_SHARE >= cgroup.limit
            cgroup.core = core
        return grew

    def _core(self, cgroup: Sampled, pages: int) -> int | None:
        """Pages that are no page cache, which the kernel could drop."""
        with suppress(OSError):
            fd = open_file(cgroup.path[1:] + b"/memory.stat", self._root)
            try:
                stat = stat_bytes(os.read(fd, MAX_FILE_BYTES), self.hierarchy.version)
            finally:
                os.close(fd)
            cache = stat.get("file", stat.get("cache", 0)) - stat.get("shmem", 0)
            return pages - cache // self._page_bytes
        return None

    def choose(self, walk: Walk, before: Seen | None, now_ns: int) -> None:
        """Sample those that the walk found best. ``before``: what the walk before it saw; None: it is the first one."""
        self.cannot_open = None
        best = {found.path: found for found in walk.best}
        for _column, cgroup in self:
            if cgroup.fd < 0:
                continue
            found = best.get(cgroup.path)
            if found is not None and found.inode == cgroup.inode:
                self._limit(cgroup, found)
                del best[found.path]
            elif found is not None or cgroup.path in walk.outdone or walk.seen().is_whole:
                self._leave(cgroup, now_ns)  # else the walk may have passed it over
        free = iter(self._free(now_ns))
        for found in sorted(best.values(), reverse=True):
            index = next(free, None)
            if index is None or not self._open(index, found, before, now_ns):
                return

    def _open(self, index: int, found: Found, before: Seen | None, now_ns: int) -> bool:
        """False: no more files can be opened."""
        try:
            fd = open_file(found.path[1:] + b"/" + self.hierarchy.usage_file, self._root)
        except OSError as error:
            # Its owner may also have closed it since the walk.
            self.cannot_open = error if error.errno in NO_ROOM else None
            return self.cannot_open is None
        cgroup = Sampled(found.path, found.inode, fd, before.since_ns(found.inode) if before else None)
        column = HOST + index
        if (left := self._columns[index]) is not None:
            left.is_forgotten = True
            if self._by_path.get(left.path) == (column, left):
                del self._by_path[left.path]
        self._rings.clear(column)
        self._columns[index] = cgroup
        self._by_path[cgroup.path] = column, cgroup
        self._limit(cgroup, found)
        if (pages := self.pages(cgroup, now_ns)) is None:
            return True
        self._rings.amend(now_ns, column, stored(pages))
        if cgroup.limit is not None and cgroup.since_ns is None:
            cgroup.is_near = pages * 100 >= cgroup.limit * _NEAR
            if cgroup.is_near:
                cgroup.core = self._core(cgroup, pages)
        return True

    def _limit(self, cgroup: Sampled, found: Found) -> None:
        cgroup.limit = None if found.limit is None else found.limit // self._page_bytes

    def _free(self, now_ns: int) -> list[int]:
        """Places without samples that are needed: those never used first, then by how long ago they were left."""
        left = [
            (-1 if cgroup is None else cgroup.left_ns, index)
            for index, cgroup in enumerate(self._columns)
            if cgroup is None or (cgroup.fd < 0 and now_ns - cgroup.left_ns >= KEEP_NS)
        ]
        return [index for _left_ns, index in sorted(left)]

    def _leave(self, cgroup: Sampled, now_ns: int) -> None:
        self._close(cgroup)
        cgroup.left_ns = now_ns

    def _close(self, cgroup: Sampled) -> None:
        os.close(cgroup.fd)
        if cgroup.events_fd >= 0:
            os.close(cgroup.events_fd)
        cgroup.fd = cgroup.events_fd = -1
        cgroup.is_awaited = False

    def close(self) -> None:
        """Close all files."""
        for _column, cgroup in self:
            if cgroup.fd >= 0:
                self._close(cgroup)
