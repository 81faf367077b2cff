# SPDX-License-Identifier: Apache-2.0
"""Kill records for tests, as the kernel would write them."""

import struct

from oomkilld import layout
from oomkilld.record.entry import Origin

ORIGIN = Origin(
    boot_id=b"0f2c1f0e-9a3b-4f6a-8f1d-2f1f5a0c9e11",
    kernel_release=b"6.12.0-test",
    level="kprobe",
    priority=2,
    page_bytes=4096,
    constraints=["CONSTRAINT_NONE", "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_MEMCG"],
)

FACTS: dict[str, int | bytes] = {
    "kill_boottime_ns": 5_000_000_000,
    "decision_boottime_ns": 4_999_000_000,
    "total_pages": 7680,
    "chosen_points": 7600,
    "victim_start_boottime_ns": 3_000_000_000,
    "victim_total_vm_pages": 9000,
    "victim_anon_pages": 7000,
    "victim_file_pages": 500,
    "victim_shmem_pages": 4,
    "victim_swap_pages": 0,
    "victim_pgtables_bytes": 65536,
    "layout": layout.layout_id(),
    "spared": 0,
    "victim_pid": 4242,
    "victim_tid": 4243,
    "victim_uid": 1000,
    "trigger_pid": 4240,
    "trigger_tid": 4241,
    "trigger_uid": 1001,
    "chosen_pid": 4242,
    "constraint": 3,
    "order": 0,
    "gfp_mask": 0xCC0,
    "victim_oom_score_adj": -17,
    "victim_comm": b"victim",
    "trigger_comm": b"trigger",
    "reason": b"Memory cgroup out of memory",
}


def raw_record(*, unknown: tuple[str, ...] = (), **changes: int | bytes) -> bytes:
    """The bytes of a record; ``unknown`` facts are not present."""
    facts = {**FACTS, **changes}
    present = sum(bit for name, bit in layout.fact_bits().items() if name not in unknown)
    facts.setdefault("present", present)
    values: list[int | bytes] = []
    for member in layout.KILL_RECORD:
        value = facts.get(member.name, 0)
        repeated = member.length if member.c_type != "char" else 1
        values += [value] * repeated
    return struct.pack(layout.struct_format(), *values)
