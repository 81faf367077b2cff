# SPDX-License-Identifier: Apache-2.0
"""What used memory, as fields: the whole machine, the cgroup that ran out, the largest processes."""

from collections.abc import Iterator

from oomkilld import schema
from oomkilld.record.enrich.enrich import Context
from oomkilld.record.enrich.memcgusage import Contents
from oomkilld.record.enrich.sample import Sample
from oomkilld.record.kill import KillRecord
from oomkilld.recordlayout import LOAD_UNIT
from oomkilld.schema import FieldValue


def at_kill(kill: KillRecord, page_bytes: int) -> Iterator[tuple[str, int | float | None]]:
    """By the kernel's own counts: names and values, in the order of the field table. None: left out."""
    slab = None
    if kill.machine_slab_reclaimable_pages is not None and kill.machine_slab_unreclaimable_pages is not None:
        slab = kill.machine_slab_reclaimable_pages + kill.machine_slab_unreclaimable_pages
    for key, pages in (
        ("MEMFREE", kill.machine_free_pages),
        ("ANONPAGES", kill.machine_anon_pages),
        ("MAPPED", kill.machine_mapped_pages),
        ("SHMEM", kill.machine_shmem_pages),
        ("SLAB", slab),
        ("DIRTY", kill.machine_dirty_pages),
        ("WRITEBACK", kill.machine_writeback_pages),
        ("SWAPFREE", kill.machine_swap_free_pages),
    ):
        yield f"OOM_AT_KILL_{key}_BYTES", None if pages is None else pages * page_bytes
    for key, pages in (
        ("ANON", kill.domain_anon_pages),
        ("FILE", kill.domain_file_pages),
        ("SHMEM", kill.domain_shmem_pages),
        ("KERNEL", kill.domain_kernel_pages),
    ):
        yield f"OOM_AT_KILL_DOMAIN_{key}_BYTES", None if pages is None else pages * page_bytes
    for minutes, load in ((1, kill.machine_load_1), (5, kill.machine_load_5), (15, kill.machine_load_15)):
        yield f"OOM_AT_KILL_LOADAVG_{minutes}", None if load is None else load / LOAD_UNIT


def counters(context: Context) -> Iterator[tuple[str, int | None]]:
    """What the domain counts about itself: names and values, in the order of the field table. None: left out."""
    if context.contents is None:
        return
    found = context.contents.counters
    yield "OOM_DOMAIN_PEAK_BYTES", found.peak
    yield "OOM_DOMAIN_HIGH_BYTES", found.high
    yield "OOM_DOMAIN_TASKS", found.tasks
    yield "OOM_DOMAIN_EVENTS_HIGH", found.times_high
    yield "OOM_DOMAIN_EVENTS_MAX", found.times_max
    yield "OOM_DOMAIN_EVENTS_OOM_KILL", found.oom_kills


def families(kill: KillRecord, context: Context, page_bytes: int) -> list[bytes]:
    """The machine's state and what filled the domain, as ``NAME=value``: each row of a file or list is a field."""
    rows = (*_machine(context.sample), *_contents(context.contents), *_candidates(kill, context, page_bytes))
    return [schema.format_row(family, key, value) for family, key, value in rows if value is not None]


_Row = tuple[schema.Field, str, FieldValue | None]


def _machine(sample: Sample) -> Iterator[_Row]:
    for key, row in sample.meminfo.items():
        yield schema.MEMINFO_BYTES if row.in_bytes else schema.MEMINFO_COUNT, key, row.value
    for key, count in sample.vmstat.items():
        yield schema.VMSTAT, key, count


def _contents(contents: Contents | None) -> Iterator[_Row]:
    if contents is None:
        return
    for key, size in contents.stat.items():
        yield schema.DOMAIN_STAT, key, size
    for number, (path, usage) in enumerate(contents.top, start=1):
        yield schema.TOP_CGROUP, str(number), path
        yield schema.TOP_BYTES, str(number), usage
        yield schema.TOP_MINIMUM, str(number), contents.minimum.get(path)


def _candidates(kill: KillRecord, context: Context, page_bytes: int) -> Iterator[_Row]:
    candidates = kill.largest_candidates or ()
    units = context.candidate_units or (None,) * len(candidates)
    for number, ((pages, pid, comm, adj), unit) in enumerate(zip(candidates, units, strict=True), start=1):
        for family, value in zip(schema.CANDIDATE, (pid, comm, pages * page_bytes, adj, unit), strict=True):
            yield family, str(number), value
