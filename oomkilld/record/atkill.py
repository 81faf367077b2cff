# SPDX-License-Identifier: Apache-2.0
"""The whole machine at the decision, and the cgroup that ran out, by the kernel's own counts, as fields."""

from collections.abc import Iterator

from oomkilld.layout import LOAD_UNIT
from oomkilld.record.decode import KillRecord


def at_kill(kill: KillRecord, page_bytes: int) -> Iterator[tuple[str, int | float | None]]:
    """Names and values; None is left out. In the order of the field table."""
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
