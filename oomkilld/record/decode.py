# SPDX-License-Identifier: Apache-2.0
"""The kernel's bytes become a kill record; what cannot be one is refused."""

import struct
from typing import NamedTuple

from oomkilld import layout


class KillRecord(NamedTuple):
    """One kill, or one process that was spared, as the kernel saw it; None is a fact that was not to be had.

    Times are nanoseconds of CLOCK_BOOTTIME. ``pid`` is a process, ``tid`` a thread. Names are raw bytes.
    """

    kill_boottime_ns: int
    spared: int  # 1: marked by the OOM killer while exiting anyway, not killed
    victim_pid: int
    victim_tid: int
    trigger_pid: int
    trigger_tid: int
    victim_comm: bytes | None
    victim_uid: int | None
    victim_start_boottime_ns: int | None
    victim_oom_score_adj: int | None
    victim_total_vm_pages: int | None
    victim_anon_pages: int | None
    victim_file_pages: int | None
    victim_shmem_pages: int | None
    victim_swap_pages: int | None
    victim_pgtables_bytes: int | None
    trigger_comm: bytes | None
    trigger_uid: int | None
    decision_boottime_ns: int | None
    total_pages: int | None
    chosen_points: int | None
    chosen_pid: int | None
    constraint: int | None
    order: int | None
    gfp_mask: int | None
    reason: bytes | None


class BadRecord(ValueError):
    """Bytes that are no kill record: what was found and what was expected."""


_STRUCT = struct.Struct(layout.struct_format())
_LAYOUT_ID = layout.layout_id()
_FACT_BITS = layout.fact_bits()
_TEXTS = frozenset(m.name for m in layout.KILL_RECORD if m.c_type == "char")
# Counted apart per CPU, they can be below zero for a moment; the kernel's own line shows 0 then.
_CLAMPED = frozenset(m.name for m in layout.KILL_RECORD if m.name.endswith("_pages") and m.c_type == "s64")
_NAMES = tuple(name for m in layout.KILL_RECORD for name in ([m.name] if m.c_type == "char" else [m.name] * m.length))


def decode(raw: bytes) -> KillRecord:
    """Raises BadRecord unless ``raw`` is a whole record of this layout that names a process."""
    if len(raw) != _STRUCT.size:
        raise BadRecord(f"found {len(raw)} bytes, expected {_STRUCT.size}")
    values = dict(zip(_NAMES, _STRUCT.unpack(raw), strict=True))
    if values["layout"] != _LAYOUT_ID:
        raise BadRecord(f"found layout {values['layout']:#x}, expected {_LAYOUT_ID:#x}")
    if not (values["victim_pid"] and values["victim_tid"]):
        raise BadRecord(f"found victim {values['victim_pid']}/{values['victim_tid']}, expected process and thread ids")
    present = values["present"]
    return KillRecord._make(_value(name, values[name], present) for name in KillRecord._fields)


def _value(name: str, value: int | bytes, present: int) -> int | bytes | None:
    if name in _FACT_BITS and not present & _FACT_BITS[name]:
        return None
    if isinstance(value, bytes):
        return value.partition(b"\0")[0]
    return max(0, value) if name in _CLAMPED else value
