# SPDX-License-Identifier: Apache-2.0
"""A kill and its sample become the fields of a journal entry."""

from _blake2 import blake2b  # hashlib would load OpenSSL: 4 MB resident
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from oomkilld import schema
from oomkilld.record.decode import KillRecord
from oomkilld.record.enrich import Sample
from oomkilld.schema import FieldValue
from oomkilld.text import human_bytes, printable

_DOMAINS = {
    "CONSTRAINT_NONE": "host",
    "CONSTRAINT_MEMCG": "cgroup",
    "CONSTRAINT_CPUSET": "cpuset",
    "CONSTRAINT_MEMORY_POLICY": "mempolicy",
}
_WHERE = {
    "host": "on this host",
    "cgroup": "in a cgroup",
    "cpuset": "in a cpuset",
    "mempolicy": "under a memory policy",
}
_LONG_MAX = (1 << 63) - 1

Values = Iterator[tuple[str, FieldValue | None]]


class Origin(NamedTuple):
    """What is the same in every entry of this run."""

    boot_id: bytes
    kernel_release: bytes
    level: str
    priority: int
    page_bytes: int
    constraints: list[str]  # the kernel's names, by number


def kill_entry(kill: KillRecord, sample: Sample, origin: Origin) -> list[bytes]:
    """All fields of the entry of a kill or of a spared process, as ``NAME=value``."""
    fields = schema.format_fields(_values(kill, sample, origin))
    for key, row in sample.meminfo.items():
        family = schema.MEMINFO_BYTES if row.in_bytes else schema.MEMINFO_COUNT
        fields.append(schema.format_field(family, row.value, schema.family_name(family, key)))
    return fields


def level_entry(before: str, failures: Mapping[str, str], origin: Origin) -> list[bytes]:
    """Fields of the entry that tells a change of the capture level, with why each better one does not work."""
    reasons = "; ".join(f"{level}: {reason}" for level, reason in failures.items())
    message = f"OOM kills are recorded at level {origin.level} instead of {before}" + (
        f" ({reasons})" if reasons else ""
    )
    common = _common("level", message, schema.MESSAGE_ID_LEVEL, 4 if failures else 5, origin)
    return schema.format_fields([*common, ("OOM_LEVEL_FROM", before), ("OOM_LEVEL_TO", origin.level)])


def missed_entry(missed: int, reason: str, origin: Origin) -> list[bytes]:
    """Fields of the entry that says how many kills have no entry of their own."""
    plural = "kill" if missed == 1 else "kills"
    message = f"{missed} {plural} of the OOM killer could not be recorded ({reason})"
    common = _common("missed", message, schema.MESSAGE_ID_MISSED, 3, origin)
    return schema.format_fields([*common, ("OOM_MISSED", missed), ("OOM_MISSED_REASON", reason)])


def kill_id(kill: KillRecord, origin: Origin) -> str:
    """Names this kill among all kills of all boots, however often it is sent."""
    return _digest(origin.boot_id, b"kill", kill.victim_tid, kill.kill_boottime_ns)


def _values(kill: KillRecord, sample: Sample, origin: Origin) -> Values:
    if kill.spared:
        yield from _common("spared", _spared_message(kill), schema.MESSAGE_ID_SPARED, 5, origin)
    else:
        yield from _common("kill", _message(kill, sample, origin), schema.MESSAGE_ID_KILL, origin.priority, origin)
    yield "OOM_KILL_ID", kill_id(kill, origin)
    if kill.decision_boottime_ns is not None:
        yield (
            "OOM_DECISION_ID",
            _digest(origin.boot_id, b"decision", kill.trigger_tid, kill.decision_boottime_ns),
        )
    yield "OOM_TIMESTAMP", (sample.boot_realtime_ns + kill.kill_boottime_ns) // 1000
    yield "OOM_BOOTTIME_TIMESTAMP", kill.kill_boottime_ns // 1000
    yield "OOM_DETAIL", "full"
    yield from _tasks(kill, sample)
    yield from _memory(kill, origin.page_bytes)
    yield from _cause(kill, origin)
    yield "OOM_SAMPLE_DELAY_USEC", sample.delay_ns // 1000
    if sample.load_average is not None:
        yield "OOM_LOADAVG", sample.load_average.line
        yield from zip(("OOM_LOADAVG_1", "OOM_LOADAVG_5", "OOM_LOADAVG_15"), sample.load_average.averages, strict=True)


def _common(event: str, message: str, message_id: str, priority: int, origin: Origin) -> Values:
    yield "MESSAGE", message
    yield "MESSAGE_ID", message_id
    yield "PRIORITY", priority
    yield "SYSLOG_IDENTIFIER", "oomkilld"
    yield "DOCUMENTATION", "man:oomkilld(8)"
    yield "OOM_EVENT", event
    yield "OOM_SCHEMA", schema.SCHEMA_VERSION
    yield "OOM_SOURCE", origin.level
    yield "OOM_KERNEL_RELEASE", origin.kernel_release


def _tasks(kill: KillRecord, sample: Sample) -> Values:
    yield "OOM_TRIGGER_PID", kill.trigger_pid
    yield "OOM_TRIGGER_TID", kill.trigger_tid
    yield "OOM_TRIGGER_COMM", kill.trigger_comm
    yield "OOM_TRIGGER_UID", kill.trigger_uid
    yield "OOM_VICTIM_PID", kill.victim_pid
    yield "OOM_VICTIM_TID", kill.victim_tid
    yield "OOM_VICTIM_COMM", kill.victim_comm
    yield "OOM_VICTIM_UID", kill.victim_uid
    started_ns = kill.victim_start_boottime_ns
    if started_ns is not None:
        yield "OOM_VICTIM_START_TIMESTAMP", (sample.boot_realtime_ns + started_ns) // 1000
        yield "OOM_VICTIM_AGE_USEC", (kill.kill_boottime_ns - started_ns) // 1000
    yield "OOM_VICTIM_OOM_SCORE_ADJ", kill.victim_oom_score_adj
    yield "OOM_VICTIM_BADNESS", _badness(kill)


def _badness(kill: KillRecord) -> int | None:
    """Points of the chosen process; not of its group's members, nor where the kernel counted none."""
    if kill.victim_pid != kill.chosen_pid or kill.chosen_points == _LONG_MAX:
        return None
    allocating_task = kill.reason is not None and b"oom_kill_allocating_task" in kill.reason
    return None if allocating_task else kill.chosen_points


def _memory(kill: KillRecord, page_bytes: int) -> Values:
    for name, pages in (
        ("TOTAL_VM", kill.victim_total_vm_pages),
        ("RSS", _resident_pages(kill)),
        ("RSS_ANON", kill.victim_anon_pages),
        ("RSS_FILE", kill.victim_file_pages),
        ("RSS_SHMEM", kill.victim_shmem_pages),
        ("SWAP", kill.victim_swap_pages),
    ):
        yield f"OOM_VICTIM_{name}_BYTES", None if pages is None else pages * page_bytes
    yield "OOM_VICTIM_PGTABLES_BYTES", kill.victim_pgtables_bytes


def _resident_pages(kill: KillRecord) -> int | None:
    parts = (kill.victim_anon_pages, kill.victim_file_pages, kill.victim_shmem_pages)
    known = [pages for pages in parts if pages is not None]
    return sum(known) if len(known) == len(parts) else None


def _cause(kill: KillRecord, origin: Origin) -> Values:
    yield "OOM_DOMAIN", _domain(kill, origin)
    yield "OOM_CONSTRAINT", _constraint(kill, origin)
    yield "OOM_TOTAL_PAGES", kill.total_pages
    yield "OOM_TOTAL_BYTES", None if kill.total_pages is None else kill.total_pages * origin.page_bytes
    yield "OOM_GFP_MASK", kill.gfp_mask
    yield "OOM_ORDER", kill.order
    if kill.order is not None and 0 <= kill.order < 64:
        yield "OOM_ORDER_BYTES", origin.page_bytes << kill.order
    yield "OOM_REASON", kill.reason


def _constraint(kill: KillRecord, origin: Origin) -> str | None:
    number = kill.constraint
    if number is None or number >= len(origin.constraints):
        return None
    return origin.constraints[number] or None


def _domain(kill: KillRecord, origin: Origin) -> str | None:
    constraint = _constraint(kill, origin)
    return _DOMAINS.get(constraint) if constraint else None


def _message(kill: KillRecord, sample: Sample, origin: Origin) -> str:
    domain = _domain(kill, origin)
    where = f" {_WHERE[domain]}" if domain else ""
    if domain == "cgroup" and kill.total_pages is not None:
        where += f" (memory and swap limit {human_bytes(kill.total_pages * origin.page_bytes)})"
    text = f"Out of memory{where}: killed process {_process(kill.victim_pid, kill.victim_comm)}"
    resident = _resident_pages(kill)
    if resident is not None:
        text += f", {human_bytes(resident * origin.page_bytes)} resident"
    text += f"; asked by {_process(kill.trigger_pid, kill.trigger_comm)}"
    if sample.load_average is not None:
        text += "; load " + " ".join(f"{average:.2f}" for average in sample.load_average.averages)
    return text


def _spared_message(kill: KillRecord) -> str:
    victim = _process(kill.victim_pid, kill.victim_comm)
    trigger = _process(kill.trigger_pid, kill.trigger_comm)
    return f"Out of memory: spared process {victim}, which was exiting already; asked by {trigger}"


def _process(pid: int, comm: bytes | None) -> str:
    return f"{pid}" if comm is None else f"{pid} ({printable(comm)})"


def _digest(boot_id: bytes, kind: bytes, tid: int, boottime_ns: int) -> str:
    text = b"%s %s %d %d" % (boot_id, kind, tid, boottime_ns)
    return str(blake2b(text, digest_size=16).hexdigest())
