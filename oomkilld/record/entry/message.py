# SPDX-License-Identifier: Apache-2.0
"""MESSAGE of kill, spared and unkillable entries, one sentence for a person: ``Out of memory in …: killed …``."""

from collections.abc import Sequence

from oomkilld.host.cgrouppath import is_unit_name
from oomkilld.host.cgrouppath import names as names_of
from oomkilld.host.kubelet import PodNames
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.enrich.enrich import Context
from oomkilld.record.enrich.owner import Identity, shown
from oomkilld.record.kill import KillRecord
from oomkilld.recordlayout import EXEMPT
from oomkilld.text import PASTEABLE_QUOTE, as_name, counted, human_bytes, printable, quoted

_WHERE = {
    "host": "on this host",
    "cgroup": "in a cgroup",
    "cpuset": "in a cpuset",
    "mempolicy": "under a memory policy",
}
# What makes another one worth naming: times the victim's memory, times its cgroup's growth, and part of the domain.
_LARGER, _OUTGREW, _PART = 4, 3, 8
_BY_HAND = -1  # oom_control.order of sysrq-f
_ALLOCATING_TASK = b"oom_kill_allocating_task"


def kill_message(kill: KillRecord, cause: Cause, context: Context, page_bytes: int) -> str:
    """MESSAGE of a kill."""
    text = f"{_where(kill, cause, context)}: killed process {_victim(kill, context)}"
    text += _size(kill, page_bytes) + _culprit(kill, cause, context, page_bytes) + _asked(kill, context)
    load = context.sample.load_average
    if load is not None:
        text += "; load " + " ".join(f"{average:.2f}" for average in load.averages)
    return text


def spared_message(kill: KillRecord, cause: Cause, context: Context) -> str:
    """MESSAGE of a process that was exiting already."""
    where = _where(kill, cause, context)
    return f"{where}: spared process {_victim(kill, context)}, which was exiting already{_asked(kill, context)}"


def unkillable_message(decision: KillRecord, cause: Cause, context: Context, again: int) -> str:
    """MESSAGE of a decision that found nothing to kill; ``again``: how many others since the last such entry."""
    text = f"{_where(decision, cause, context)}: no process can be killed{_asked(decision, context)}"
    return f"{text}; {counted(again, 'more time')} since the last such entry" if again else text


def _where(kill: KillRecord, cause: Cause, context: Context) -> str:
    text = "Out of memory"
    if cause.domain is not None:
        identity = context.domain
        text += f" {_place(kill, cause.domain)}" if identity is None else f" in {identity.label()}"
        text += _limit(kill, cause, context)
    if kill.order == _BY_HAND:
        text += ", called by hand (sysrq-f)"
    elif kill.reason is not None and _ALLOCATING_TASK in kill.reason:
        text += " (oom_kill_allocating_task)"
    return text


def _place(kill: KillRecord, domain: str) -> str:
    if kill.domain_cpuset is None:
        return _WHERE[domain]
    return f"in cpuset {as_name(shown(kill.domain_cpuset), PASTEABLE_QUOTE)}"


def _limit(kill: KillRecord, cause: Cause, context: Context) -> str:
    if cause.domain == "host":
        return _whole_machine(cause)
    nodes = kill.domain_nodes
    words = [] if nodes is None else [f"node{'' if nodes.isdigit() else 's'} {shown(nodes)}"]
    limit = cause.capacity if cause.limit is None else cause.limit
    words += [] if limit is None else [f"limit {human_bytes(limit)}"]
    shared = cause.shared
    if shared is None and context.contents is not None:
        shared = context.contents.stat.get("shmem")
    if limit is not None and shared is not None and cause.usage is not None and 2 * shared > cause.usage:
        words.append(f"{human_bytes(shared)} of it shared memory or tmpfs")
    domain, victim = context.domain, context.victim
    if domain is not None and victim is not None and victim.cgroup.startswith(domain.cgroup.rstrip(b"/") + b"/"):
        inner = victim.label() if victim.owner() == domain.owner() else _short_owner(victim, domain)
        words += [] if inner == domain.label() else [f"an ancestor of {inner}"]
    return f" ({', '.join(words)})" if words else ""


def _whole_machine(cause: Cause) -> str:
    if cause.limit is None:
        return "" if cause.capacity is None else f" ({human_bytes(cause.capacity)} of RAM and swap)"
    swap = f" and {human_bytes(cause.swap_limit)} of swap" if cause.swap_limit else ""
    return f" ({human_bytes(cause.limit)} of RAM{swap})"


def resident_pages(kill: KillRecord) -> int | None:
    """Resident pages of the victim. None: a part is unknown."""
    parts = (kill.victim_anon_pages, kill.victim_file_pages, kill.victim_shmem_pages)
    known = [pages for pages in parts if pages is not None]
    return sum(known) if len(known) == len(parts) else None


def _size(kill: KillRecord, page_bytes: int) -> str:
    """Resident memory; shared or swapped-out memory only if it is the larger part."""
    resident = resident_pages(kill)
    shared, swapped = kill.victim_shmem_pages, kill.victim_swap_pages
    text = "" if resident is None else f", {human_bytes(resident * page_bytes)} resident"
    if resident is not None and shared is not None and 2 * shared > resident:
        text += f" ({human_bytes(shared * page_bytes)} of it shared)"
    if resident is not None and swapped is not None and swapped > resident:
        text += f" and {human_bytes(swapped * page_bytes)} swapped out"
    return text + (", in memory that others use, too" if kill.victim_memory_sharers else "")


def _culprit(kill: KillRecord, cause: Cause, context: Context, page_bytes: int) -> str:
    """Who took or had far more memory than the victim, and much of the domain's. Empty: nobody, or part of a flood."""
    capacity, own = cause.limit if cause.capacity is None else cause.capacity, _memory(kill)
    if context.reduced or capacity is None or own is None:
        return ""
    least = capacity // _PART
    return _grew(kill, context, max(least, own * page_bytes)) or _larger(kill, context, own, least, page_bytes)


def _memory(kill: KillRecord) -> int | None:
    """Pages of the victim, resident and swapped out."""
    resident = resident_pages(kill)
    return None if resident is None else resident + (kill.victim_swap_pages or 0)


def _grew(kill: KillRecord, context: Context, least: int) -> str:
    """The cgroup that grew most, by ``least`` bytes, if it is none that the victim was in."""
    victim, led_up = kill.victim_cgroup, context.led_up
    if victim is None or led_up is None or led_up.window_ns is None:
        return ""
    own = max((size for path, size in led_up.grew if _is_below(path, victim)), default=0)
    for path, size in led_up.grew:
        if not _is_below(victim, path) and size >= max(least, _OUTGREW * own):
            label = Identity(path, names_of(path), PodNames(None, None, None)).label()
            return f"; {label} grew {human_bytes(size)} in {_duration(led_up.window_ns)}"
    return ""


def _is_below(path: bytes, cgroup: bytes) -> bool:
    """Whether it is that cgroup, or below it."""
    return (path + b"/").startswith(cgroup.rstrip(b"/") + b"/")


def _duration(span_ns: int) -> str:
    minutes = round(span_ns / 60e9)
    return f"{round(span_ns / 1e9)} s" if minutes < 2 else f"{minutes} min"


def _larger(kill: KillRecord, context: Context, own: int, least: int, page_bytes: int) -> str:
    """The largest process that the kernel could have killed instead, if it had ``least`` bytes."""
    if not kill.largest_candidates:
        return ""
    pages, pid, comm, adj = kill.largest_candidates[0]
    # In a group kill all die but those that are exempt.
    dies = pid == kill.victim_pid or (kill.group_kill and adj != EXEMPT)
    if dies or pages < _LARGER * own or pages * page_bytes < least:
        return ""
    words = [process_name(printable(comm))]
    unit = context.candidate_units[0] if context.candidate_units else None
    told = [identity.names.unit for identity in (context.victim, context.domain) if identity is not None]
    if unit is not None and unit not in told:
        words.append(shown(unit))
    text = f"; process {in_parentheses(str(pid), words)} had {human_bytes(pages * page_bytes)}"
    is_spared = kill.victim_oom_score_adj is not None and adj < kill.victim_oom_score_adj
    return text + (f" and oom_score_adj {adj}" if is_spared else "")


def _victim(kill: KillRecord, context: Context) -> str:
    process = f"of thread {kill.victim_tid}" if kill.victim_pid is None else str(kill.victim_pid)
    words = _words(_names(kill.victim_comm, kill.victim_exe), context.victim, context.domain)
    return in_parentheses(process, [*words, *own_number(kill.victim_pid, kill.victim_ns_pid)])


def _asked(kill: KillRecord, context: Context) -> str:
    """Who asked for memory. Empty: unknown, or a kernel thread that acts for somebody (sysrq-f)."""
    if kill.trigger_tid is None or kill.order == _BY_HAND:
        return ""
    process = f"thread {kill.trigger_tid}" if kill.trigger_pid is None else str(kill.trigger_pid)
    names = _names(kill.trigger_comm, kill.trigger_exe)
    words = _words(names, context.trigger, context.domain or context.victim)
    asker = in_parentheses(process, [*words, *own_number(kill.trigger_pid, kill.trigger_ns_pid)])
    return f"; asked by {asker}"


def in_parentheses(process: str, words: Sequence[str]) -> str:
    """``4242 (java, app.service)``."""
    return f"{process} ({', '.join(words)})" if words else process


def own_number(pid: int | None, namespace_pid: int | None) -> list[str]:
    """The process id in a PID namespace of its own, if it is not the host's."""
    return [] if namespace_pid in (None, pid) else [f"pid {namespace_pid} in its PID namespace"]


def _names(comm: bytes | None, exe: bytes | None) -> list[str]:
    """Adds the program if the name is only a number, as after systemd started a process by a file descriptor."""
    names = [] if comm is None else [process_name(printable(comm))]
    if comm is not None and comm.isdigit() and exe not in (None, comm):
        names.append(f"program {process_name(printable(exe or b''))}")
    return names


def _words(names: Sequence[str], identity: Identity | None, told: Identity | None) -> list[str]:
    """The names of a process, and its owner unless ``told`` shows it already."""
    words = [*names]
    # The victim's identity may be the domain's, if its own is unknown.
    known = told is not None and identity is not None and identity.cgroup == told.cgroup
    if identity is not None and not known and (told is None or identity.owner() != told.owner()):
        words.append(_short_owner(identity, told))
    return words


def process_name(printed: str) -> str:
    """A name that the process chose: in quotes if it could be read as more, or as a unit's name."""
    return quoted(printed) if is_unit_name(printed.encode()) else as_name(printed)


def _short_owner(identity: Identity, domain: Identity | None) -> str:
    """The owner; of a container in the pod that ran out, only its name."""
    in_pod = domain is not None and domain.names.pod_uid is not None and domain.names.pod_uid == identity.names.pod_uid
    is_whole = in_pod and identity.pod.container and identity.names.inner_container_id is None
    return f"container {as_name(printable(identity.pod.container or b''))}" if is_whole else identity.owner()
