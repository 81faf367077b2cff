# SPDX-License-Identifier: Apache-2.0
"""Which rows of the kernel's tables an entry has.

Every row is a field name of its own, and names are scarce. Before systemd 258, journald begins a new file once a file
has 250 of them (three quarters of its 333 places, see DEFAULT_FIELD_HASH_TABLE_SIZE in systemd's journal-file.c), and
keeps 100 files. One entry with all rows would fill a file by itself.
"""

from collections.abc import Collection

from oomkilld.lighttyping import NamedTuple, TypeVar

# It includes every row that is also read at the kill, so that the two can be compared.
COMMON_MEMINFO = (
    *("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "SwapTotal", "SwapFree"),
    *("Active(file)", "Inactive(file)", "Unevictable", "AnonPages", "Mapped"),
    *("Shmem", "Slab", "SUnreclaim", "KernelStack", "PageTables", "Percpu", "Dirty", "Writeback"),
    *("Committed_AS", "Hugetlb", "HugePages_Free", "Mlocked", "SecPageTables", "Balloon"),
)
# The second line is for cgroup version 1.
COMMON_STAT = (
    *("anon", "file", "kernel", "kernel_stack", "pagetables", "percpu", "sock", "vmalloc", "shmem", "file_dirty"),
    *("rss", "cache", "mapped_file", "swap", "dirty"),
    *("unevictable", "slab_reclaimable", "slab_unreclaimable"),
)
COMMON_VMSTAT = (
    *("oom_kill", "pgscan_direct", "pgscan_kswapd", "pgsteal_direct", "pgsteal_kswapd", "pswpin", "pswpout"),
    *("workingset_refault_anon", "workingset_refault_file", "nr_zspages"),
)
COMMON_PRESSURE = ("memory",)

_Row = TypeVar("_Row")


class Wanted(NamedTuple):
    """Keys by table: /proc/meminfo, memory.stat, /proc/vmstat, /proc/pressure. None: all rows."""

    meminfo: Collection[str] | None = None
    stat: Collection[str] | None = None
    vmstat: Collection[str] | None = None
    pressure: Collection[str] | None = None


ALL = Wanted()


def wanted(meminfo: str | list[str], statistics: str) -> Wanted:
    """From the settings of these names: ``common``, ``all`` or, for ``meminfo``, keys."""
    keys = {"common": COMMON_MEMINFO, "all": None}[meminfo] if isinstance(meminfo, str) else meminfo
    if statistics == "all":
        return Wanted(meminfo=keys)
    return Wanted(keys, COMMON_STAT, COMMON_VMSTAT, COMMON_PRESSURE)


def kept(rows: dict[str, _Row], keys: Collection[str] | None) -> dict[str, _Row]:
    """The wanted rows that exist."""
    return rows if keys is None else {key: row for key, row in rows.items() if key in keys}
