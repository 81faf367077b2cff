# SPDX-License-Identifier: Apache-2.0
"""What filled a domain: what kinds of memory, and which cgroups below it use most. Read right after a kill."""

import heapq
import re
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from oomkilld.record.cgroupfs import (
    CGROUP_ROOT,
    Budget,
    BudgetSpent,
    Cgroup,
    Hierarchy,
    MonotonicClock,
    OutsideTheTree,
    gone,
    memory_hierarchy,
    path_names,
)
from oomkilld.record.wanted import kept

TOP = 5
MAX_FILES = 200
MAX_MILLISECONDS = 20

_KEY = re.compile(rb"[a-z0-9_]+")
_MAX_DIGITS = 20  # of 2^64 - 1
# So begin the keys of counters of events: see stat_bytes().
_EVENTS = (b"workingset_", b"pg")
_SUM = b"total_"


class Contents(NamedTuple):
    """What filled a domain, in bytes. What could not be read is not there."""

    stat: dict[str, int]  # rows of memory.stat
    top: list[tuple[bytes, int]]  # cgroups (path from the hierarchy's root) that use most, and how much; most first
    complete: bool  # False: there may be more to ``top``, or it is not known


NOTHING = Contents({}, [], False)


class ContentsReader:
    """Reads the memory controller's tree, which it looks for once, below ``root``.

    A reading opens at most MAX_FILES files and directories, and none any more MAX_MILLISECONDS after it began:
    one file can take longer where the kernel first sums up what its CPUs have counted (memory.stat).
    ``stat_keys``: the rows of that to keep, see wanted.Wanted.
    """

    def __init__(
        self, clock: MonotonicClock, root: str = CGROUP_ROOT, *, stat_keys: Collection[str] | None = None
    ) -> None:
        self._clock = clock
        self._stat_keys = stat_keys
        self._hierarchy = memory_hierarchy(root)

    def read(self, path: bytes | None) -> Contents:
        """Of the cgroup of that path, from the hierarchy's root, or of the whole machine (None).

        ``top`` of a cgroup are its children: five, or none at all where not every one could be read. Of the machine
        they are cgroups without children, and exact as far as they go when the budget ends; a cgroup whose children
        cannot be read stands for them. Those that use nothing are left out.
        """
        if self._hierarchy is None:
            return NOTHING
        budget = Budget(self._clock, MAX_FILES, MAX_MILLISECONDS)
        try:
            names = [] if path is None else path_names(path)
            with Cgroup.opened(self._hierarchy.root, names, budget) as cgroup:
                reading = _Reading(cgroup, self._hierarchy)
                found = reading.machine() if path is None else reading.domain(b"".join(b"/" + name for name in names))
        except (OSError, BudgetSpent, OutsideTheTree):
            return NOTHING
        return found._replace(stat=kept(found.stat, self._stat_keys))


class _Reading:
    """One reading of the directory of a cgroup, or of the hierarchy's root."""

    def __init__(self, cgroup: Cgroup, hierarchy: Hierarchy) -> None:
        self._cgroup = cgroup
        self._hierarchy = hierarchy

    def domain(self, path: bytes) -> Contents:
        # First what takes little time: memory.stat by itself may take more than there is.
        try:
            usages = self._usages(b"")
        except (OSError, BudgetSpent):
            return Contents(self._stat(), [], False)
        return Contents(self._stat(), [(path + b"/" + child, -usage) for usage, child in sorted(usages)[:TOP]], True)

    def machine(self) -> Contents:
        # Likewise; and kinds of memory are in /proc/meminfo, too.
        top, complete = self._largest_leaves()
        return Contents(self._stat(), [(b"/" + path, usage) for path, usage in top], complete)

    def _largest_leaves(self) -> tuple[list[tuple[bytes, int]], bool]:
        """Best first: a cgroup uses at least what each one below it does, so what comes next is the largest left.

        So it is on version 1 where memory.use_hierarchy is set: by systemd, and for good since Linux commit
        bef8620cd8e0 ("mm: memcg: deprecate the non-hierarchical mode").
        """
        top: list[tuple[bytes, int]] = []
        complete = True
        try:
            heap = self._usages(b"")
            heapq.heapify(heap)
            while heap and len(top) < TOP:
                usage, path = heapq.heappop(heap)
                try:
                    below = self._usages(path)
                except OSError as error:
                    if gone(error):
                        continue
                    complete = False  # a stranger may have closed his own cgroups to us
                    below = []
                except BudgetSpent:
                    complete = False  # or have made more of them than we can look at
                    top.append((path, -usage))
                    break
                for each in below:
                    heapq.heappush(heap, each)
                if not below:
                    top.append((path, -usage))
        except (OSError, BudgetSpent):
            complete = False
        return top, complete

    def _usages(self, path: bytes) -> list[tuple[int, bytes]]:
        """(-bytes, path) of every cgroup right below that uses memory and has the controller.

        Raises OSError or BudgetSpent when one that is still there could not be read.
        """
        usages = []
        for child in self._cgroup.children(path):
            try:
                usage = _number(self._cgroup.read(child + b"/" + self._hierarchy.usage_file))
            except OSError as error:
                if not gone(error):
                    raise
                continue
            if usage:
                usages.append((-usage, child))
        return usages

    def _stat(self) -> dict[str, int]:
        with suppress(OSError, BudgetSpent):
            return stat_bytes(self._cgroup.read(b"memory.stat"), self._hierarchy.version)
        return {}


def stat_bytes(raw: bytes, version: int) -> dict[str, int]:
    """Of memory.stat the rows that are sizes, by the kernel's key; those of cgroups below are counted in.

    Version 2 has the state first and then the events, whose first row is ``workingset_refault…`` in Linux 5.10 to 7.3
    (mm/memcontrol.c, memory_stats[] and memcg_stat_format()) and ``pgfault`` before: all before it is in bytes, all
    behind it is not, whatever is added to either. Version 1 has ``total_…`` rows for what is summed up, kept here
    without that word, where events stand in between.
    """
    stat: dict[str, int] = {}
    # A row that was cut off has no end.
    for row in raw[: raw.rfind(b"\n") + 1].split(b"\n"):
        key, _space, number = row.partition(b" ")
        if version == 1:
            if not key.startswith(_SUM):
                continue
            key = key.removeprefix(_SUM)
        if key.startswith(_EVENTS):
            if version == 1:
                continue
            break
        if _KEY.fullmatch(key) and number.isdigit() and len(number) <= _MAX_DIGITS:
            stat[key.decode()] = int(number)
    return stat


def _number(raw: bytes) -> int:
    """Of a file with nothing else; 0 where it is not as the kernel writes it."""
    digits = raw.rstrip(b"\n")
    return int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else 0
