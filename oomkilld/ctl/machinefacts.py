# SPDX-License-Identifier: Apache-2.0
"""The facts around a kill: what filled the limit, and the machine's memory, load and pressure."""

from collections.abc import Iterator, Mapping

from oomkilld.ctl.killfacts import Facts, span, with_name
from oomkilld.ctl.sheet import Row

_NUMBERS = range(1, 10)
_EXEMPT = -1000
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
# Rows of memory.stat that another row contains, and which: the first one that is there. See
# Documentation/admin-guide/cgroup-v2.rst of the kernel; the last two lines are for cgroup version 1.
_WHOLES = {
    **dict.fromkeys(("kernel_stack", "pagetables", "percpu", "vmalloc", "slab"), ("kernel",)),
    **dict.fromkeys(("slab_reclaimable", "slab_unreclaimable"), ("slab", "kernel")),
    **dict.fromkeys(("file_mapped", "file_dirty", "file_writeback", "file_thp"), ("file",)),
    "anon_thp": ("anon",),
    "shmem": ("file", "cache"),
    **dict.fromkeys(("mapped_file", "dirty", "writeback"), ("cache",)),
    "rss_huge": ("rss",),
}
# The same pages once more, by the list on which they are.
_LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
_RESOURCES = ("MEMORY", "IO", "CPU")
_BYTES = "_BYTES"


def candidates(facts: Facts) -> Iterator[Row]:
    """The processes that the kernel chose from."""
    entry = facts.entry
    number, exempt = entry.number("OOM_CANDIDATES"), entry.number("OOM_CANDIDATES_EXEMPT")
    if number is None:
        return
    whole = entry.number("OOM_CANDIDATES_BYTES")
    items = [f"{number} process{'es' * (number != 1)}", *facts.size("OOM_CANDIDATES_BYTES", "in all")]
    yield Row("Chosen from", [*items, *([f"{exempt} of them exempt"] if exempt else [])])
    label = "Largest"
    for at in _NUMBERS:
        pid, size = entry.text(f"OOM_CANDIDATE_{at}_PID"), entry.number(f"OOM_CANDIDATE_{at}_BYTES")
        if pid is None or size is None:
            continue
        name, unit = entry.text(f"OOM_CANDIDATE_{at}_COMM"), facts.text(f"OOM_CANDIDATE_{at}_UNIT")
        what = ["the victim"] if pid == entry.text("OOM_VICTIM_PID") else []
        if entry.number(f"OOM_CANDIDATE_{at}_OOM_SCORE_ADJ") == _EXEMPT:
            what.append("exempt")
        yield Row(
            label,
            [f"{facts.bytes(size):>7} {with_name(pid, name, *unit)}", *what],
            share=size / whole if whole else None,
        )
        label = ""


def filled(facts: Facts) -> Iterator[Row]:
    """What filled the domain."""
    by_kernel = [item for key, what in _IN_DOMAIN for item in facts.size(f"OOM_AT_KILL_DOMAIN_{key}_BYTES", what)]
    yield Row("Filled with", by_kernel)
    yield Row("Left after", _left(facts))
    label = "Largest left"
    usage = facts.entry.number("OOM_DOMAIN_USAGE_BYTES")
    for number in _NUMBERS:
        path, size = facts.entry.text(f"OOM_TOP_{number}_CGROUP"), facts.entry.number(f"OOM_TOP_{number}_BYTES")
        if path is not None:
            shown = "-" if size is None else facts.bytes(size)
            items = [f"{shown:>7} {path}", *_protected(facts, number, size)]
            yield Row(label, items, share=size / usage if size is not None and usage else None)
            label = ""


def _protected(facts: Facts, number: int, size: int | None) -> list[str]:
    """What reclaim leaves to one of the largest cgroups."""
    minimum = facts.entry.number(f"OOM_TOP_{number}_MIN_BYTES")
    if not minimum:
        return []
    part = "all" if size is not None and minimum >= size else facts.bytes(minimum)
    return [f"{part} of it protected (memory.min)"]


def _left(facts: Facts) -> list[str]:
    """The rows of memory.stat, the largest first: the service reads them after the kill."""
    rows = [
        (size, name.removeprefix("OOM_DOMAIN_STAT_").removesuffix(_BYTES).lower())
        for name in facts.entry.fields
        if name.startswith("OOM_DOMAIN_STAT_") and (size := facts.entry.number(name))
    ]
    rows.sort(key=lambda row: (-row[0], row[1]))
    shown = {name: size for size, name in (rows if facts.is_exact else rows[:_MOST_ROWS])}
    items = _parts(facts, shown, None)
    lists = [f"{facts.bytes(size)} {name}" for name, size in shown.items() if name in _LISTS]
    if items and lists:
        lists[0] = f"of all this {lists[0]}"
    items += lists
    return [f"{_since(facts)}: {items[0]}", *items[1:]] if items else []


def _parts(facts: Facts, rows: Mapping[str, int], whole: str | None) -> list[str]:
    """The rows that this one contains; None: those that no other row contains."""
    items: list[str] = []
    for name, size in rows.items():
        if name not in _LISTS and next((each for each in _WHOLES.get(name, ()) if each in rows), None) == whole:
            own, parts = f"{facts.bytes(size)} {name}", _parts(facts, rows, name)
            if parts:
                parts[0] = f"{own} (of it {parts[0]}"
                parts[-1] += ")"
            items += parts or [own]
    return items


def _since(facts: Facts) -> str:
    """How long after the kill the domain was read. Of a group kill, one reading serves all victims."""
    if facts.entry.number("OOM_GROUP_KILL"):
        return "the first kill of the group"
    delay = facts.entry.number("OOM_SAMPLE_DELAY_USEC")
    return "the kill" if delay is None else span(delay)


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
