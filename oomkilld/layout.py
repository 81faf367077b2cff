# SPDX-License-Identifier: Apache-2.0
"""The layout of what the BPF program hands to user space: one table, read by both sides.

The arming stage renders it as C for the BPF program (``arm/headers.py``), the resident stage as a
``struct`` format for the decoder (``record/decode.py``). Standard library only: both stages import it.
"""

from typing import NamedTuple


class Member(NamedTuple):
    """One member of the record. ``fact``: it may be unknown, and bit ``1 << index`` of ``present`` tells."""

    name: str
    c_type: str
    length: int = 1
    fact: bool = True


# Widest members first, so that the compiler adds no padding: the struct format below has none.
KILL_RECORD = (
    Member("present", "u64", fact=False),
    Member("kill_boottime_ns", "u64", fact=False),
    Member("decision_boottime_ns", "u64"),
    Member("total_pages", "u64"),
    Member("chosen_points", "s64"),
    Member("victim_start_boottime_ns", "u64"),
    Member("victim_total_vm_pages", "u64"),
    Member("victim_anon_pages", "s64"),
    Member("victim_file_pages", "s64"),
    Member("victim_shmem_pages", "s64"),
    Member("victim_swap_pages", "s64"),
    Member("victim_pgtables_bytes", "u64"),
    Member("layout", "u32", fact=False),
    Member("victim_pid", "u32", fact=False),
    Member("victim_tid", "u32", fact=False),
    Member("victim_uid", "u32"),
    Member("trigger_pid", "u32", fact=False),
    Member("trigger_tid", "u32", fact=False),
    Member("trigger_uid", "u32"),
    Member("chosen_pid", "u32"),
    Member("constraint", "u32"),
    Member("order", "s32"),
    Member("gfp_mask", "u32"),
    Member("victim_oom_score_adj", "s16"),
    Member("spared", "u16", fact=False),  # 1: marked by the OOM killer while exiting anyway, not killed
    Member("victim_comm", "char", length=16),
    Member("trigger_comm", "char", length=16),
    Member("reason", "char", length=64),
)

# Slots of the counters array, in order; each a u64 that only grows while the map lives.
COUNTERS = (
    "decisions",  # oom_kill_process entered; not at level tracepoint
    "attempts",  # __oom_kill_process entered; not at level tracepoint
    "kills",  # mark_oom_victim after an attempt by the same task: what vmstat's oom_kill counts
    "repeats",  # kills of a process that the same decision had killed before: no record of their own
    "spared",  # decisions closed without a kill, or marks of processes that were exiting anyway
    "lost",  # kills for which the ring had no room
    "lost_spared",  # the same of records that are no kills
)

_FORMATS = {"u64": "Q", "s64": "q", "u32": "I", "s32": "i", "u16": "H", "s16": "h", "char": "s"}


def struct_format() -> str:
    """The record as a ``struct`` format: native byte order, no padding but the declared."""
    return "=" + "".join(f"{m.length if m.length > 1 else ''}{_FORMATS[m.c_type]}" for m in KILL_RECORD)


def fact_bits() -> dict[str, int]:
    """Member name -> its bit in ``present``, for the members that may be unknown."""
    return {m.name: 1 << i for i, m in enumerate(KILL_RECORD) if m.fact}


def layout_id() -> int:
    """A number that changes with the table (FNV-1a, 32 bits): records of another layout are refused."""
    value = 0x811C9DC5
    for byte in repr((KILL_RECORD, COUNTERS)).encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def c_declarations() -> str:
    """The table as C: the struct, its fact bits, the counter slots."""
    members = "\n".join(f"\t{m.c_type} {m.name}{f'[{m.length}]' if m.length > 1 else ''};" for m in KILL_RECORD)
    bits = "\n".join(f"#define FACT_{name} {bit:#x}ULL" for name, bit in fact_bits().items())
    slots = "\n".join(f"#define COUNT_{name} {slot}" for slot, name in enumerate(COUNTERS))
    return (
        f"struct kill_record {{\n{members}\n}};\n{bits}\n{slots}\n"
        f"#define COUNTER_SLOTS {len(COUNTERS)}\n#define LAYOUT_ID {layout_id():#x}U\n"
    )
