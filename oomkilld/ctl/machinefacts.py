# SPDX-License-Identifier: Apache-2.0
"""The facts around a kill: what filled the limit, and the machine's memory, load and pressure."""

from collections.abc import Iterator

from oomkilld.ctl.killfacts import Facts, span
from oomkilld.ctl.sheet import Row

_TOP = range(1, 10)
_MOST_ROWS = 8
_IN_DOMAIN = (("ANON", "anonymous"), ("FILE", "file cache"), ("SHMEM", "of it shared or tmpfs"), ("KERNEL", "kernel"))
_AT_KILL = (
    *(("MEMFREE", "free"), ("ANONPAGES", "anonymous"), ("MAPPED", "mapped files"), ("SHMEM", "shared or tmpfs")),
    *(("SLAB", "slab"), ("DIRTY", "dirty"), ("WRITEBACK", "writeback"), ("SWAPFREE", "free swap")),
)
# What a person asks first of /proc/meminfo.
_AFTER = (
    *(("MEMTOTAL", "in total"), ("MEMAVAILABLE", "available"), ("MEMFREE", "free"), ("CACHED", "cached")),
    *(("ANONPAGES", "anonymous"), ("SHMEM", "shared or tmpfs"), ("SLAB", "slab"), ("SWAPTOTAL", "swap")),
    ("SWAPFREE", "free swap"),
)
_RESOURCES = ("MEMORY", "IO", "CPU")
_BYTES = "_BYTES"


def filled(facts: Facts) -> Iterator[Row]:
    """What filled the domain."""
    by_kernel = [item for key, what in _IN_DOMAIN for item in facts.size(f"OOM_AT_KILL_DOMAIN_{key}_BYTES", what)]
    yield Row("Filled with", by_kernel)
    yield Row("Contents", _by_size(facts))
    label = "Largest"
    usage = facts.entry.number("OOM_DOMAIN_USAGE_BYTES")
    for number in _TOP:
        path, size = facts.entry.text(f"OOM_TOP_{number}_CGROUP"), facts.entry.number(f"OOM_TOP_{number}_BYTES")
        if path is not None:
            shown = "-" if size is None else facts.bytes(size)
            yield Row(label, [f"{shown:>7} {path}"], share=size / usage if size is not None and usage else None)
            label = ""


def _by_size(facts: Facts) -> list[str]:
    """The rows of memory.stat, the largest first."""
    rows = [
        (size, name.removeprefix("OOM_DOMAIN_STAT_").removesuffix(_BYTES).lower())
        for name in facts.entry.fields
        if name.startswith("OOM_DOMAIN_STAT_") and (size := facts.entry.number(name))
    ]
    rows.sort(key=lambda row: (-row[0], row[1]))
    shown = rows if facts.is_exact else rows[:_MOST_ROWS]
    return [f"{facts.bytes(size)} {name}" for size, name in shown]


def machine(facts: Facts) -> Iterator[Row]:
    """The machine's memory, load and pressure."""
    entry = facts.entry
    yield Row("Machine", [item for key, what in _AT_KILL for item in facts.size(f"OOM_AT_KILL_{key}_BYTES", what)])
    delay = entry.number("OOM_SAMPLE_DELAY_USEC")
    after = [item for key, what in _AFTER for item in facts.size(f"OOM_MEMINFO_{key}_BYTES", what)]
    yield Row("Right after", after)
    if facts.is_exact:
        yield Row("meminfo", _family(facts, "OOM_MEMINFO_"))
        yield Row("vmstat", _family(facts, "OOM_VMSTAT_"))
    at_kill, later = _averages(facts, "OOM_AT_KILL_LOADAVG_"), _averages(facts, "OOM_LOADAVG_")
    when = "later" if delay is None else f"{span(delay)} later"
    yield Row("Load", [*(f"{loads} at the kill" for loads in at_kill), *(f"{loads} {when}" for loads in later)])
    yield Row("Pressure", _pressure(facts))


def _family(facts: Facts, prefix: str) -> list[str]:
    return [
        f"{name.removeprefix(prefix).lower()} {facts.entry.text(name)}"
        for name in facts.entry.fields
        if name.startswith(prefix)
    ]


def _averages(facts: Facts, prefix: str) -> list[str]:
    loads = [facts.entry.text(f"{prefix}{minutes}") for minutes in (1, 5, 15)]
    known = [load for load in loads if load is not None]
    return [" ".join(known)] if len(known) == len(loads) else []


def _pressure(facts: Facts) -> list[str]:
    """Percent of the last 10, 60 and 300 s."""
    items = []
    for resource in _RESOURCES:
        for kind in ("SOME", "FULL"):
            shares = [facts.entry.text(f"OOM_PSI_{resource}_{kind}_AVG{seconds}") for seconds in (10, 60, 300)]
            known = [share for share in shares if share is not None]
            if len(known) == len(shares):
                items.append(f"{resource.lower()} {kind.lower()} {' '.join(known)}")
    return [*items, "in % of the last 10, 60 and 300 s"] if items else []
