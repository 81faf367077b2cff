# SPDX-License-Identifier: Apache-2.0
"""What filled a domain: the kinds of memory, and the cgroups below it that use most. Read right after a kill."""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from oomkilld.host.cgroupfs import (
    CGROUP_ROOT,
    GONE,
    Budget,
    BudgetSpent,
    Cgroup,
    Hierarchy,
    OutsideTheTree,
    memory_hierarchy,
    number,
    path_names,
)
from oomkilld.host.clock import KernelClock
from oomkilld.host.procformats import is_key, is_number
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.enrich.counters import NO_COUNTERS, Counters, read_counters, read_minimum
from oomkilld.record.enrich.rows import kept

TOP = 5
MAX_FILES = 200
MAX_MILLISECONDS = 20

# Prefixes of event counters, see stat_bytes().
_EVENTS = (b"workingset_", b"pg")
_SUM = b"total_"


class Contents(NamedTuple):
    """What filled a domain, in bytes. What could not be read is missing."""

    stat: dict[str, int]  # rows of memory.stat
    # The cgroups (path from the hierarchy's root) that use most, and how much, in descending order. None, only for the
    # last: its usage, or that of some cgroups below it, is unknown; there may be others like it.
    top: list[tuple[bytes, int | None]]
    minimum: Mapping[bytes, int] = {}  # memory.min, in bytes, of those in ``top`` that have one, by path
    counters: Counters = NO_COUNTERS  # of the domain, if it is a cgroup


NOTHING = Contents({}, [])


class ContentsReader:
    """Reads the memory controller's tree below ``root``, which it locates once.

    A reading opens at most MAX_FILES files and directories, and none later than MAX_MILLISECONDS after it began. One
    file may take longer, if the kernel must first sum up what its CPUs have counted (memory.stat).
    ``stat_keys``: the rows of memory.stat to keep, see rows.Wanted.
    """

    def __init__(
        self, clock: KernelClock, root: str = CGROUP_ROOT, *, stat_keys: Collection[str] | None = None
    ) -> None:
        self._clock = clock
        self._stat_keys = stat_keys
        self._hierarchy = memory_hierarchy(root)

    def read(self, path: bytes | None, first: Iterable[bytes | None] = ()) -> Contents:
        """Read the cgroup at ``path``, from the hierarchy's root; None: the whole machine.

        ``top`` of a cgroup are its children. Those on the way to the paths ``first`` are read first, because there may
        be more children than one reading can read. ``top`` of the machine are cgroups without children. The largest of
        those whose children could not all be read stands last, without its size. Cgroups that use nothing are left out.
        """
        if self._hierarchy is None:
            return NOTHING
        budget = Budget(self._clock, MAX_FILES, MAX_MILLISECONDS)
        try:
            names = [] if path is None else path_names(path)
            with Cgroup.opened(self._hierarchy.root, names, budget) as cgroup:
                reading = _Reading(cgroup, self._hierarchy, budget)
                found = reading.machine() if path is None else reading.domain(names, first)
        except (OSError, BudgetSpent, OutsideTheTree):
            return NOTHING
        return found._replace(stat=kept(found.stat, self._stat_keys))


class _Below(NamedTuple):
    """The children of a cgroup that use memory and have the controller: (-bytes, path) of each.

    ``closed``: one that could not be read. ``complete`` False: there are more than the budget allowed.
    """

    usages: list[tuple[int, bytes]]
    closed: bytes | None = None
    complete: bool = True


class _Reading:
    """One reading of a cgroup, or of the hierarchy's root."""

    def __init__(self, cgroup: Cgroup, hierarchy: Hierarchy, budget: Budget) -> None:
        self._cgroup = cgroup
        self._hierarchy = hierarchy
        self._budget = budget
        self._has_minimum = hierarchy.version == 2

    def domain(self, names: list[bytes], first: Iterable[bytes | None]) -> Contents:
        # The few files that say most first, memory.stat last: it alone may take all of the time.
        counters = read_counters(self._cgroup, self._hierarchy, names, self._budget)
        below = self._below(b"", [child for path in first if path and (child := _child(names, path))])
        path = b"".join(b"/" + name for name in names)
        unread = path + b"/" + below.closed if below.closed else (path or b"/") if not below.complete else None
        largest = [(path + b"/" + child, -usage) for usage, child in heapq.nsmallest(TOP, below.usages)]
        return self._contents(path, _with_unread(largest, unread), counters)

    def machine(self) -> Contents:
        """Search best first: a cgroup uses at least as much as each one below it, so the next one is the largest left.

        Version 1 counts like that if memory.use_hierarchy is set: systemd sets it, and since Linux commit bef8620cd8e0
        ("mm: memcg: deprecate the non-hierarchical mode") it always is.
        """
        top: list[tuple[bytes, int]] = []
        heap, closed, complete = self._below(b"")
        unread = None if complete else b""
        heapq.heapify(heap)
        while heap and len(top) < TOP:
            usage, path = heapq.heappop(heap)
            try:
                below = self._below(path)
            except OSError:
                continue
            closed = closed or below.closed
            if not below.complete or (below.closed and not below.usages):
                unread = path if unread is None else unread
            elif not below.usages:
                top.append((b"/" + path, -usage))
            else:
                for each in below.usages:
                    heapq.heappush(heap, each)
        unread = closed if unread is None else unread
        largest = _with_unread(top, None if unread is None else b"/" + unread)
        # The slow file last, as above; besides, /proc/meminfo has the kinds of memory, too.
        return self._contents(b"", largest, NO_COUNTERS)

    def _contents(self, own: bytes, top: list[tuple[bytes, int | None]], counters: Counters) -> Contents:
        """``own``: the path of this cgroup, with which those in ``top`` begin."""
        minimum = {}
        for path, usage in top if self._has_minimum else ():
            if usage is not None and (size := read_minimum(self._cgroup, path[len(own) + 1 :])) is not None:
                minimum[path] = size
        return Contents(self._stat(), top, minimum, counters)

    def _below(self, path: bytes, first: Sequence[bytes] | None = None) -> _Below:
        """Read the children of ``path``. ``first``: names to read before all others; None: read all or none.

        Raises OSError if ``path`` itself was removed.
        """
        usages: list[tuple[int, bytes]] = []
        closed = None
        try:
            # A part of the budget is for memory.stat, and for memory.min of the largest.
            kept_back = 1 + TOP * self._has_minimum
            children, complete = self._cgroup.children(path, keep=kept_back + len(first or ()))
            if first is None and not complete:
                return _Below([], complete=False)
            for child in dict.fromkeys((*(first or ()), *children)):
                try:
                    usage = number(self._cgroup.read(child + b"/" + self._hierarchy.usage_file))
                except OSError as error:
                    # The owner of a cgroup may deny us access.
                    if error.errno not in GONE:
                        closed = closed or child
                    continue
                if usage:
                    usages.append((-usage, child))
        except BudgetSpent:
            complete = False
        except OSError as error:
            if error.errno in GONE:
                raise
            complete = False
        return _Below(usages, closed, complete)

    def _stat(self) -> dict[str, int]:
        with suppress(OSError, BudgetSpent):
            return stat_bytes(self._cgroup.read(b"memory.stat"), self._hierarchy.version)
        return {}


def _child(names: list[bytes], path: bytes) -> bytes | None:
    """Name of the child of ``names`` on the way to ``path``; None: ``path`` is not below."""
    try:
        way = path_names(path)
    except OutsideTheTree:
        return None
    return way[len(names)] if len(way) > len(names) and way[: len(names)] == names else None


def _with_unread(top: list[tuple[bytes, int]], unread: bytes | None) -> list[tuple[bytes, int | None]]:
    return [*top] if unread is None else [*top[: TOP - 1], (unread, None)]


def stat_bytes(raw: bytes, version: int) -> dict[str, int]:
    """Rows of memory.stat that are sizes, by the kernel's key, with the cgroups below counted in.

    Version 2 has the state first and then the events, whose first row is ``workingset_refault…`` in Linux 5.10 to 7.3
    (mm/memcontrol.c, memory_stats[] and memcg_stat_format()) and ``pgfault`` before. All rows before that one are in
    bytes, and none after it, whatever a kernel adds to either part. Version 1 has ``total_…`` rows for the sums, with
    events among them; the keys here lack that prefix.
    """
    stat: dict[str, int] = {}
    # A row that was cut off has no newline.
    for row in raw[: raw.rfind(b"\n") + 1].split(b"\n"):
        key, _space, digits = row.partition(b" ")
        if version == 1:
            if not key.startswith(_SUM):
                continue
            key = key.removeprefix(_SUM)
        if key.startswith(_EVENTS):
            if version == 1:
                continue
            break
        if is_key(key) and is_number(digits):
            stat[key.decode()] = int(digits)
    return stat
