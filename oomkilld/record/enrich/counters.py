# SPDX-License-Identifier: Apache-2.0
"""What a cgroup counts about itself: its peak, its threads, and how often it was at its limits."""

from collections.abc import Sequence
from contextlib import suppress

from oomkilld.host.cgroupfs import Budget, BudgetSpent, Cgroup, Hierarchy, number, numbers
from oomkilld.lighttyping import NamedTuple

# Stands for "max" in memory.min: all memory that the cgroup uses.
WITHOUT_END = (1 << 63) - 1


class Counters(NamedTuple):
    """A cgroup's counts. None: unknown, or the kernel has no such count; ``high`` also: none is set."""

    peak: int | None = None  # the most memory that it has used, in bytes
    high: int | None = None  # memory.high, in bytes
    tasks: int | None = None  # threads in it and below it; one that has exited counts until it is reaped
    times_high: int | None = None
    times_max: int | None = None
    oom_kills: int | None = None


NO_COUNTERS = Counters()


def read_counters(cgroup: Cgroup, hierarchy: Hierarchy, names: Sequence[bytes], budget: Budget) -> Counters:
    """Read the counts of ``cgroup``, to which ``names`` lead. A failed read costs only its own counts.

    How often it was at a limit is its own count, not that of the cgroups below it, which have limits of their own. The
    kernel counts ``max`` before each attempt to reclaim (try_charge_memcg()), so one kill may add several. If that is
    zero, the kernel does not count it (6.18 in version 1), and it is unknown.

    A kill is counted where the victim was, and in version 2 in each cgroup above that (unless cgroup2 is mounted with
    memory_localevents). The kernel counts it before it marks the victim (__oom_kill_process()), so a count that is read
    after the kill includes it. A count of zero lacks it, and is unknown. In version 1 the victim was below.

    Unknown for the root: version 2 has none of these files there, and version 1 counts only what is below it.
    """
    if not names:
        return NO_COUNTERS
    # What changes soonest first.
    tasks = _tasks(cgroup, hierarchy, names, budget)
    if hierarchy.version == 1:
        return Counters(
            peak=number(_read(cgroup, b"memory.max_usage_in_bytes")),
            tasks=tasks,
            times_max=number(_read(cgroup, b"memory.failcnt")) or None,
            oom_kills=numbers(_read(cgroup, b"memory.oom_control")).get("oom_kill") or None,
        )
    own = numbers(_read(cgroup, b"memory.events.local"))
    return Counters(
        peak=number(_read(cgroup, b"memory.peak")),
        high=number(_read(cgroup, b"memory.high")),
        tasks=tasks,
        times_high=own.get("high"),
        times_max=own.get("max") or None,
        oom_kills=numbers(_read(cgroup, b"memory.events")).get("oom_kill") or None,
    )


def read_minimum(cgroup: Cgroup, path: bytes) -> int | None:
    """memory.min, in bytes, of the cgroup at ``path`` below ``cgroup``: version 2 only. None: unknown, or none."""
    raw = _read(cgroup, path + b"/memory.min")
    return WITHOUT_END if raw == b"max\n" else number(raw) or None


def _tasks(cgroup: Cgroup, hierarchy: Hierarchy, names: Sequence[bytes], budget: Budget) -> int | None:
    """Version 1 has another hierarchy for this count. systemd and container runtimes use the same names in both."""
    if hierarchy.version == 2:
        return number(_read(cgroup, b"pids.current"))
    with suppress(OSError, BudgetSpent), Cgroup.opened(hierarchy.pids_root, names, budget) as same:
        return number(same.read(b"pids.current"))
    return None


def _read(cgroup: Cgroup, file: bytes) -> bytes:
    """The content; empty, which is no number, if it cannot be read."""
    with suppress(OSError, BudgetSpent):
        return cgroup.read(file)
    return b""
