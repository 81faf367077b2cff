# SPDX-License-Identifier: Apache-2.0
"""What is known of an event becomes the fields of its journal entry, one function for each kind of event."""

from _blake2 import blake2b  # hashlib would load OpenSSL: 4 MB resident
from collections.abc import Iterable, Mapping, Sequence

from oomkilld import schema
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.atkill import at_kill
from oomkilld.record.cause import Cause
from oomkilld.record.decode import KillRecord
from oomkilld.record.enrich import Context
from oomkilld.record.families import families
from oomkilld.record.gfp import flag_names
from oomkilld.record.message import (
    in_parentheses,
    kill_message,
    own_number,
    process_name,
    resident_pages,
    spared_message,
)
from oomkilld.record.missed import BEFORE_FIRST_START, NOT_RUNNING, UNCONFIRMED
from oomkilld.record.victim import Gone, Stuck, Victim
from oomkilld.record.whose import Values, for_journalctl, whose
from oomkilld.text import counted, grouped

_LONG_MAX = (1 << 63) - 1
# Of one in a flood, whatever strangers have called their groups; and how much of these names is told, as fits in there.
MAX_REDUCED_BYTES = 3000
_ROOMS = (schema.MAX_PATH_BYTES, 256, 48)
# They are kept for every victim that is watched.
MAX_VICTIM_BYTES = 512


class Origin(NamedTuple):
    """What is the same in every entry of this run."""

    boot_id: bytes
    kernel_release: bytes
    level: str
    priority: int
    page_bytes: int
    constraints: Sequence[str]  # the kernel's names, by number
    gfp_names: Mapping[str, int]  # the kernel's names of allocation flags, in its order


def kill_entry(kill: KillRecord, cause: Cause, context: Context, origin: Origin) -> list[bytes]:
    """All fields of the entry of a kill or of a spared process, as ``NAME=value``."""
    if context.reduced:
        return _reduced(kill, cause, context, origin)
    return schema.format_fields(_values(kill, cause, context, origin, schema.MAX_PATH_BYTES)) + families(context)


def _reduced(kill: KillRecord, cause: Cause, context: Context, origin: Origin) -> list[bytes]:
    fields: list[bytes] = []
    for room in _ROOMS:
        fields = schema.format_reduced(_values(kill, cause, context, origin, room), room)
        if sum(map(len, fields)) <= MAX_REDUCED_BYTES:
            break
    return fields


def why_not_better(failures: Mapping[str, str]) -> str:
    """For the end of a sentence: why each better capture level does not work; nothing where there is none."""
    return f" (not {'; not '.join(grouped(failures))})" if failures else ""


def level_entry(before: str | None, failures: Mapping[str, str], origin: Origin) -> list[bytes]:
    """Fields of the entry that tells a change of the capture level. ``before`` None: this is the first in this boot."""
    change = "" if before is None else f" instead of {before}"
    message = f"OOM kills are recorded at level {origin.level}{change}{why_not_better(failures)}"
    head = common("level", message, schema.MESSAGE_ID_LEVEL, 4 if failures else 5, origin)
    return schema.format_fields([*head, ("OOM_LEVEL_FROM", before), ("OOM_LEVEL_TO", origin.level)])


def missed_entry(missed: int, total: int, reason: str, origin: Origin) -> list[bytes]:
    """Fields of the entry that says how many kills have no entry of their own; in all of this boot ``total``."""
    priority = 3
    message = f"{counted(missed, 'kill')} of the OOM killer could not be recorded ({reason}; {total} in this boot)"
    if reason == BEFORE_FIRST_START:
        # Nobody had asked for them yet.
        them = "it" if missed == 1 else "them"
        priority, reason = 6, NOT_RUNNING
        message = (
            f"{counted(missed, 'kill')} of the OOM killer before the first start of oomkilld in this boot: "
            f"not recorded, for nothing was found of {them} in the kernel's log"
        )
    elif reason == UNCONFIRMED:
        priority = 4
        message = (
            f"the kernel's count (oom_kill in /proc/vmstat) has {counted(missed, 'kill')} of the OOM killer of which "
            f"nothing was seen nor found in the kernel's log ({reason}; {total} in this boot)"
        )
    head = common("missed", message, schema.MESSAGE_ID_MISSED, priority, origin)
    return schema.format_fields([*head, ("OOM_MISSED", missed), ("OOM_MISSED_REASON", reason)])


def victim_fields(kill_fields: Iterable[bytes]) -> bytes:
    """Of the entry of a kill what tells of its victim, one field a line; bounded."""
    by_name = {field.partition(b"=")[0].decode(): field for field in kill_fields}
    kept = b""
    for field in (by_name[name] for name in schema.VICTIM_FIELDS if name in by_name):
        if len(kept) + len(field) < MAX_VICTIM_BYTES:
            kept += field + b"\n"
    return kept[:-1]


def stuck_entry(stuck: Stuck, origin: Origin) -> list[bytes]:
    """Fields of the entry of a victim that is still there."""
    after = _seconds(stuck.after_ns)
    message = f"Out of memory: process {_who(stuck.victim)} is still there {after} s after it was killed"
    if stuck.state is not None:
        message += f" (state {stuck.state})"
    head = common("stuck", message, schema.MESSAGE_ID_STUCK, 4, origin)
    return schema.format_fields(head) + stuck.victim.fields.split(b"\n")


def gone_entry(gone: Gone, origin: Origin) -> list[bytes]:
    """Fields of the entry of a victim that is not there any more."""
    if gone.after_ns is None:
        message, exit_after_usec = f"Out of memory: process {_who(gone.victim)}, which was killed, is gone", None
    else:
        after = _seconds(gone.after_ns)
        message = f"Out of memory: process {_who(gone.victim)} was gone {after} s after it was killed"
        exit_after_usec = gone.after_ns // 1000
    head = common("gone", message, schema.MESSAGE_ID_GONE, 5, origin)
    fields = schema.format_fields([*head, ("OOM_EXIT_AFTER_USEC", exit_after_usec)])
    return fields + gone.victim.fields.split(b"\n")


def kill_id(kill: KillRecord, origin: Origin) -> str:
    """Names this kill among all kills of all boots, however often it is sent."""
    if kill.logged_usec is not None:
        return logged_kill_id(kill, origin.boot_id)
    return _digest(origin.boot_id, b"kill", kill.victim_tid, kill.kill_boottime_ns)


def logged_kill_id(kill: KillRecord, boot_id: bytes) -> str:
    """Of a kill that was read in the kernel's log."""
    assert kill.logged_usec is not None
    # The line's own time: what is made of it by other clocks is not the same at each reading.
    return _digest(boot_id, b"logged kill", kill.victim_tid, kill.logged_usec)


def _decision_id(kill: KillRecord, origin: Origin) -> str | None:
    if kill.decision_logged_usec is not None:
        return _digest(origin.boot_id, b"logged decision", 0, kill.decision_logged_usec)
    if kill.decision_boottime_ns is None or kill.trigger_tid is None:
        return None
    return _digest(origin.boot_id, b"decision", kill.trigger_tid, kill.decision_boottime_ns)


def _values(kill: KillRecord, cause: Cause, context: Context, origin: Origin, room: int) -> Values:
    if kill.spared:
        yield from common("spared", spared_message(kill, cause, context), schema.MESSAGE_ID_SPARED, 5, origin)
    else:
        message = kill_message(kill, cause, context, origin.page_bytes)
        yield from common("kill", message, schema.MESSAGE_ID_KILL, origin.priority, origin)
    yield "OOM_KILL_ID", kill_id(kill, origin)
    yield "OOM_DECISION_ID", _decision_id(kill, origin)
    yield from facts(kill, cause, context, origin, room)


def facts(kill: KillRecord, cause: Cause, context: Context, origin: Origin, room: int) -> Values:
    """All but what kind of entry it is. ``room``: in bytes, of a path."""
    sample = context.sample
    yield "OOM_TIMESTAMP", (sample.boot_realtime_ns + kill.kill_boottime_ns) // 1000
    yield "OOM_BOOTTIME_TIMESTAMP", kill.kill_boottime_ns // 1000
    yield "OOM_DETAIL", "reduced" if context.reduced else "full"
    yield from _tasks(kill, sample.boot_realtime_ns)
    yield "OOM_TRIGGER_CMDLINE", context.command_lines.trigger
    yield "OOM_VICTIM_CMDLINE", context.command_lines.victim
    yield from _memory(kill, origin.page_bytes)
    for role, identity in (("TRIGGER", context.trigger), ("VICTIM", context.victim), ("DOMAIN", context.domain)):
        yield from whose(role, identity, room)
    yield from _cause(kill, cause, origin)
    yield from for_journalctl(context, room)
    yield from at_kill(kill, origin.page_bytes)
    yield "OOM_SAMPLE_DELAY_USEC", sample.delay_ns // 1000
    if sample.load_average is not None:
        yield "OOM_LOADAVG", sample.load_average.line
        yield from zip(("OOM_LOADAVG_1", "OOM_LOADAVG_5", "OOM_LOADAVG_15"), sample.load_average.averages, strict=True)
    for resource, stalls in sample.pressure.items():
        for kind, stall in stalls.items():
            yield from zip(schema.pressure_names(resource, kind), (*stall.averages, stall.total_usec), strict=True)


def common(event: str, message: str, message_id: str, priority: int, origin: Origin) -> Values:
    """What every entry has."""
    yield "MESSAGE", message
    yield "MESSAGE_ID", message_id
    yield "PRIORITY", priority
    yield "SYSLOG_IDENTIFIER", "oomkilld"
    yield "DOCUMENTATION", "man:oomkilld(8)"
    yield "OOM_EVENT", event
    yield "OOM_SCHEMA", schema.SCHEMA_VERSION
    yield "OOM_SOURCE", origin.level
    yield "OOM_KERNEL_RELEASE", origin.kernel_release


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
    """Points of the chosen process; not of its group's members, nor where the kernel counted none."""
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
    yield "OOM_GROUP_KILL", kill.group_kill


def _who(victim: Victim) -> str:
    fields = dict(field.decode().split("=", 1) for field in victim.fields.split(b"\n"))
    comm, namespace_pid = fields.get("OOM_VICTIM_COMM"), fields.get("OOM_VICTIM_NS_PID")
    words = [] if comm is None else [process_name(comm)]
    own = own_number(victim.pid, None if namespace_pid is None else int(namespace_pid))
    return in_parentheses(str(victim.pid), [*words, *own])


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.3f}"


def _digest(boot_id: bytes, kind: bytes, tid: int, boottime_ns: int) -> str:
    text = b"%s %s %d %d" % (boot_id, kind, tid, boottime_ns)
    return str(blake2b(text, digest_size=16).hexdigest())
