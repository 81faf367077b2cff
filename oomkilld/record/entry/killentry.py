# SPDX-License-Identifier: Apache-2.0
"""Turns what is known of a kill, or of a spared process, into the fields of its journal entry."""

from collections.abc import Iterable, Mapping

from oomkilld import schema
from oomkilld.host.cgrouppath import outermost
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.enrich.enrich import Context, LedUp
from oomkilld.record.enrich.owner import Identity
from oomkilld.record.entry.machine import at_kill, counters, families
from oomkilld.record.entry.message import kill_message, resident_pages, spared_message
from oomkilld.record.entry.origin import Origin, Values, common
from oomkilld.record.kill import KillRecord, decision_id, kill_id

_LONG_MAX = (1 << 63) - 1
# Bound of a reduced entry, however long the names of strangers' cgroups are; the first room for them that fits is used.
MAX_REDUCED_BYTES = 3000
_ROOMS = (schema.MAX_PATH_BYTES, 256, 48)
_VICTIM_FIELDS = tuple(name.encode() for name in schema.VICTIM_FIELDS)
# Kept in memory for every victim that is watched.
MAX_VICTIM_BYTES = 512


def kill_entry(kill: KillRecord, cause: Cause, context: Context, origin: Origin) -> list[bytes]:
    """All fields of the entry of a kill or of a spared process, as ``NAME=value``."""
    if context.reduced:
        return _reduced(kill, cause, context, origin)
    values = _values(kill, cause, context, origin, schema.MAX_PATH_BYTES)
    return schema.format_fields(values) + families(kill, context, origin.page_bytes)


def _reduced(kill: KillRecord, cause: Cause, context: Context, origin: Origin) -> list[bytes]:
    fields: list[bytes] = []
    for room in _ROOMS:
        fields = schema.format_reduced(_values(kill, cause, context, origin, room), room)
        if sum(map(len, fields)) <= MAX_REDUCED_BYTES:
            break
    return fields


def victim_fields(kill_fields: Iterable[bytes]) -> bytes:
    """The fields of a kill's entry that describe its victim, one field a line; bounded."""
    by_name = {field.partition(b"=")[0]: field for field in kill_fields}
    kept = b""
    for field in (by_name[name] for name in _VICTIM_FIELDS if name in by_name):
        if len(kept) + len(field) < MAX_VICTIM_BYTES:
            kept += field + b"\n"
    return kept[:-1]


def _values(kill: KillRecord, cause: Cause, context: Context, origin: Origin, room: int) -> Values:
    if kill.spared:
        yield from common("spared", spared_message(kill, cause, context), schema.MESSAGE_ID_SPARED, 5, origin)
    else:
        message = kill_message(kill, cause, context, origin.page_bytes)
        yield from common("kill", message, schema.MESSAGE_ID_KILL, origin.priority, origin)
    yield "OOM_KILL_ID", kill_id(kill, origin.boot_id)
    yield "OOM_DECISION_ID", decision_id(kill, origin.boot_id)
    yield from facts(kill, cause, context, origin, room)


def facts(kill: KillRecord, cause: Cause, context: Context, origin: Origin, room: int) -> Values:
    """All fields but those of the kind of entry. ``room``: bytes for a path."""
    sample = context.sample
    yield "OOM_TIMESTAMP", (sample.boot_realtime_ns + kill.kill_boottime_ns) // 1000
    yield "OOM_BOOTTIME_TIMESTAMP", kill.kill_boottime_ns // 1000
    yield "OOM_DETAIL", "reduced" if context.reduced else "full"
    yield from _tasks(kill, sample.boot_realtime_ns)
    yield "OOM_TRIGGER_CMDLINE", context.command_lines.trigger
    yield "OOM_VICTIM_CMDLINE", context.command_lines.victim
    yield from _memory(kill, origin.page_bytes)
    for role, identity in (("TRIGGER", context.trigger), ("VICTIM", context.victim), ("DOMAIN", context.domain)):
        yield from _whose(role, identity, room)
    yield from _cause(kill, cause, origin)
    yield from counters(context)
    yield from _led_up(context.led_up)
    yield from _for_journalctl(context, room)
    yield from at_kill(kill, origin.page_bytes)
    yield "OOM_SAMPLE_DELAY_USEC", sample.delay_ns // 1000
    if sample.load_average is not None:
        yield "OOM_LOADAVG", sample.load_average.line
        yield from zip(("OOM_LOADAVG_1", "OOM_LOADAVG_5", "OOM_LOADAVG_15"), sample.load_average.averages, strict=True)
    for resource, stalls in sample.pressure.items():
        for kind, stall in stalls.items():
            yield from zip(schema.pressure_names(resource, kind), (*stall.averages, stall.total_usec), strict=True)


def _tasks(kill: KillRecord, boot_realtime_ns: int) -> Values:
    yield "OOM_TRIGGER_PID", kill.trigger_pid
    yield "OOM_TRIGGER_TID", kill.trigger_tid
    yield "OOM_TRIGGER_COMM", kill.trigger_comm
    yield "OOM_TRIGGER_UID", kill.trigger_uid
    yield "OOM_TRIGGER_NS_PID", kill.trigger_ns_pid
    yield "OOM_TRIGGER_PARENT_PID", kill.trigger_parent_pid
    yield "OOM_TRIGGER_PARENT_COMM", kill.trigger_parent_comm
    yield "OOM_TRIGGER_START_TIMESTAMP", _wall_clock(kill.trigger_start_boottime_ns, boot_realtime_ns)
    yield "OOM_TRIGGER_EXE_NAME", kill.trigger_exe
    yield "OOM_VICTIM_PID", kill.victim_pid
    yield "OOM_VICTIM_TID", kill.victim_tid
    yield "OOM_VICTIM_COMM", kill.victim_comm
    yield "OOM_VICTIM_UID", kill.victim_uid
    yield "OOM_VICTIM_NS_PID", kill.victim_ns_pid
    yield "OOM_VICTIM_PARENT_PID", kill.victim_parent_pid
    yield "OOM_VICTIM_PARENT_COMM", kill.victim_parent_comm
    started_ns = kill.victim_start_boottime_ns
    yield "OOM_VICTIM_START_TIMESTAMP", _wall_clock(started_ns, boot_realtime_ns)
    yield "OOM_VICTIM_AGE_USEC", None if started_ns is None else (kill.kill_boottime_ns - started_ns) // 1000
    yield "OOM_VICTIM_EXE_NAME", kill.victim_exe
    yield "OOM_VICTIM_OOM_SCORE_ADJ", kill.victim_oom_score_adj
    yield "OOM_VICTIM_BADNESS", _badness(kill)


def _wall_clock(boottime_ns: int | None, boot_realtime_ns: int) -> int | None:
    return None if boottime_ns is None else (boot_realtime_ns + boottime_ns) // 1000


def _badness(kill: KillRecord) -> int | None:
    """Badness of the chosen process. None: another member of its group, or the kernel computed none."""
    if kill.victim_pid != kill.chosen_pid or kill.chosen_points == _LONG_MAX:
        return None
    allocating_task = kill.reason is not None and b"oom_kill_allocating_task" in kill.reason
    return None if allocating_task else kill.chosen_points


def _memory(kill: KillRecord, page_bytes: int) -> Values:
    for name, pages in (
        ("TOTAL_VM", kill.victim_total_vm_pages),
        ("RSS", resident_pages(kill)),
        ("RSS_ANON", kill.victim_anon_pages),
        ("RSS_FILE", kill.victim_file_pages),
        ("RSS_SHMEM", kill.victim_shmem_pages),
        ("SWAP", kill.victim_swap_pages),
    ):
        yield f"OOM_VICTIM_{name}_BYTES", None if pages is None else pages * page_bytes
    yield "OOM_VICTIM_PGTABLES_BYTES", kill.victim_pgtables_bytes


def _cause(kill: KillRecord, cause: Cause, origin: Origin) -> Values:
    yield "OOM_DOMAIN", cause.domain
    yield "OOM_CONSTRAINT", cause.constraint
    yield "OOM_DOMAIN_LIMIT_BYTES", cause.limit
    yield "OOM_DOMAIN_USAGE_BYTES", cause.usage
    yield "OOM_DOMAIN_SWAP_LIMIT_BYTES", cause.swap_limit
    yield "OOM_DOMAIN_SWAP_USAGE_BYTES", cause.swap_usage
    yield "OOM_DOMAIN_NODES", kill.domain_nodes
    yield "OOM_DOMAIN_CPUSET", kill.domain_cpuset
    yield "OOM_TOTAL_PAGES", kill.total_pages
    yield "OOM_TOTAL_BYTES", cause.capacity
    yield "OOM_GFP_MASK", kill.gfp_mask
    if kill.gfp_mask is not None:
        yield "OOM_GFP_FLAGS", flag_names(kill.gfp_mask, origin.gfp_names)
    yield "OOM_ORDER", kill.order
    if kill.order is not None and 0 <= kill.order < 64:
        yield "OOM_ORDER_BYTES", origin.page_bytes << kill.order
    yield "OOM_REASON", kill.reason
    yield "OOM_CANDIDATES", kill.candidates
    yield "OOM_CANDIDATES_EXEMPT", kill.candidates_exempt
    pages = kill.candidates_pages
    yield "OOM_CANDIDATES_BYTES", None if pages is None else pages * origin.page_bytes
    yield "OOM_GROUP_KILL", kill.group_kill


def _led_up(led_up: LedUp | None) -> Values:
    if led_up is None:
        return
    for number, (path, size) in enumerate(led_up.grew, start=1):
        yield f"OOM_GREW_{number}_CGROUP", path
        yield f"OOM_GREW_{number}_BYTES", size
    yield "OOM_GREW_WINDOW_USEC", None if led_up.window_ns is None else led_up.window_ns // 1000
    yield "OOM_TREND", led_up.trend


def _whose(role: str, identity: Identity | None, room: int) -> Values:
    """The names from a cgroup's path, in the order of the field table."""
    if identity is None:
        return
    names, pod = identity.names, identity.pod
    if not identity.is_around:
        path = outermost(identity.cgroup, room)
        yield f"OOM_{role}_CGROUP", path
        yield f"OOM_{role}_CGROUP_CUT", 1 if identity.cut or path != identity.cgroup else None
    yield f"OOM_{role}_UNIT", names.unit
    yield f"OOM_{role}_USER_UNIT", names.user_unit
    yield f"OOM_{role}_SLICE", names.slice
    yield f"OOM_{role}_SESSION", names.session
    yield f"OOM_{role}_MACHINE", names.machine
    yield f"OOM_{role}_CONTAINER_ID", names.container_id
    yield f"OOM_{role}_CONTAINER_RUNTIME", names.container_runtime
    yield f"OOM_{role}_CONTAINER_NAME", pod.container
    yield f"OOM_{role}_INNER_CONTAINER_ID", names.inner_container_id
    yield f"OOM_{role}_INNER_CONTAINER_RUNTIME", names.inner_container_runtime
    yield f"OOM_{role}_POD_UID", names.pod_uid
    yield f"OOM_{role}_POD_NAMESPACE", pod.namespace
    yield f"OOM_{role}_POD_NAME", pod.pod


def _for_journalctl(context: Context, room: int) -> Values:
    """Fields that journald accepts from root; by them, journalctl and systemctl find the entry by the victim's unit."""
    identity = context.victim
    if identity is None:
        return
    yield "OBJECT_SYSTEMD_UNIT", identity.names.unit
    yield "OBJECT_SYSTEMD_USER_UNIT", identity.names.user_unit
    yield "OBJECT_SYSTEMD_SLICE", identity.names.slice
    is_whole = not identity.cut and outermost(identity.cgroup, room) == identity.cgroup
    yield "OBJECT_SYSTEMD_CGROUP", identity.cgroup if is_whole else None
    yield "OBJECT_SYSTEMD_INVOCATION_ID", context.invocation_id


def flag_names(mask: int, names: Mapping[str, int]) -> str | None:
    """``GFP_HIGHUSER_MOVABLE|__GFP_COMP``, as this kernel prints it; None: the names are unknown.

    ``names``: mask by name in the kernel's order, from the arming stage. Bits without a name are the last word,
    ``0x200``. The log and tracing follow the same rules (format_flags() of lib/vsprintf.c, trace_print_flags_seq() of
    kernel/trace/trace_output.c). They differ only for an empty mask: tracing prints ``none``, as here; the log prints
    nothing, ``gfp_mask=0x0()``.
    """
    if not names:
        return None
    words = []
    left = mask
    for name, flags in names.items():
        if left and left & flags == flags:
            words.append(name)
            left &= ~flags
    if left:
        words.append(hex(left))
    return "|".join(words) or "none"
