# SPDX-License-Identifier: Apache-2.0
"""The fields of the entries about other events than a kill: level, missed, stuck, gone."""

from collections.abc import Mapping

from oomkilld import schema
from oomkilld.record.entry.message import in_parentheses, own_number, process_name
from oomkilld.record.entry.origin import Origin, common
from oomkilld.record.kill import Gone, Stuck, Victim
from oomkilld.schema import BEFORE_FIRST_START, NOT_RUNNING, UNCONFIRMED
from oomkilld.text import counted, grouped


def why_not_better(failures: Mapping[str, str]) -> str:
    """The end of a sentence: why each better capture level does not work; empty if there is none."""
    return f" (not {'; not '.join(grouped(failures))})" if failures else ""


def level_entry(before: str | None, failures: Mapping[str, str], origin: Origin) -> list[bytes]:
    """Fields of the entry about a change of the capture level. ``before`` None: the first start in this boot."""
    change = "" if before is None else f" instead of {before}"
    message = f"OOM kills are recorded at level {origin.level}{change}{why_not_better(failures)}"
    head = common("level", message, schema.MESSAGE_ID_LEVEL, 4 if failures else 5, origin)
    return schema.format_fields([*head, ("OOM_LEVEL_FROM", before), ("OOM_LEVEL_TO", origin.level)])


def missed_entry(missed: int, total: int, reason: str, origin: Origin) -> list[bytes]:
    """Fields of the entry that counts kills without an entry; ``total``: for the same reason, since boot."""
    priority = 3
    message = f"Failed to record {counted(missed, 'OOM kill')} ({reason.replace('-', ' ')}), {total} since boot"
    if reason == BEFORE_FIRST_START:
        # No failure: nobody had started the service yet.
        them = "it" if missed == 1 else "them"
        priority, reason = 6, NOT_RUNNING
        message = (
            f"{counted(missed, 'OOM kill')} before the first start of oomkilld in this boot: no entry, "
            f"because nothing about {them} was found in the kernel log"
        )
    elif reason == UNCONFIRMED:
        priority = 4
        message = (
            f"The kernel counted {counted(missed, 'OOM kill')} (oom_kill in /proc/vmstat) that oomkilld neither saw "
            f"nor found in the kernel log ({reason}), {total} since boot"
        )
    head = common("missed", message, schema.MESSAGE_ID_MISSED, priority, origin)
    return schema.format_fields([*head, ("OOM_MISSED", missed), ("OOM_MISSED_REASON", reason)])


def stuck_entry(stuck: Stuck, origin: Origin) -> list[bytes]:
    """Fields of the entry of a victim that still exists."""
    after = _seconds(stuck.after_ns)
    message = f"Out of memory: process {_who(stuck.victim)} is still there {after} s after it was killed"
    if stuck.state is not None:
        message += f" (state {stuck.state})"
    head = common("stuck", message, schema.MESSAGE_ID_STUCK, 4, origin)
    return schema.format_fields(head) + stuck.victim.fields.split(b"\n")


def gone_entry(gone: Gone, origin: Origin) -> list[bytes]:
    """Fields of the entry of a victim that released its memory or left."""
    if gone.after_ns is None:
        message, exit_after_usec = f"Out of memory: process {_who(gone.victim)}, which was killed, is gone", None
    else:
        after = _seconds(gone.after_ns)
        message = f"Out of memory: process {_who(gone.victim)} was gone {after} s after it was killed"
        exit_after_usec = gone.after_ns // 1000
    head = common("gone", message, schema.MESSAGE_ID_GONE, 5, origin)
    fields = schema.format_fields([*head, ("OOM_EXIT_AFTER_USEC", exit_after_usec)])
    return fields + gone.victim.fields.split(b"\n")


def _who(victim: Victim) -> str:
    fields = dict(field.decode().split("=", 1) for field in victim.fields.split(b"\n"))
    comm, namespace_pid = fields.get("OOM_VICTIM_COMM"), fields.get("OOM_VICTIM_NS_PID")
    words = [] if comm is None else [process_name(comm)]
    own = own_number(victim.pid, None if namespace_pid is None else int(namespace_pid))
    return in_parentheses(str(victim.pid), [*words, *own])


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.3f}"
