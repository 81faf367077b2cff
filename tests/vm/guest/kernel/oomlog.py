# SPDX-License-Identifier: Apache-2.0
"""Everything that the kernel logs about a decision: who asked for what, the state of the machine, the victim."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.support import live


class Task(NamedTuple):
    """A row of the kernel's task list. ``size``: resident, swapped out and page tables, in bytes."""

    pid: int
    comm: str
    size: int
    oom_score_adj: int


class Report(NamedTuple):
    """The kernel's lines about one kill, from "invoked oom-killer" to "Killed process"."""

    trigger_comm: str
    trigger_tid: int
    trigger_oom_score_adj: int
    gfp_mask: str
    gfp_flags: str
    order: int
    ram_pages: int | None  # of the machine; None in a report about a cgroup
    swap_bytes: int | None  # as above
    free_pages: int | None  # as above
    free_swap_bytes: int | None  # as above
    constraint: str
    scope: str
    victim_cgroup: str
    victim_comm: str
    victim_tid: int
    victim_uid: int
    reason: str
    domain_stat: dict[str, int]  # the first rows of the cgroup's memory.stat; empty if no cgroup's limit was hit
    tasks: list[Task]
    killed: live.KernelLine


_INVOKED = re.compile(
    r"^(.*) invoked oom-killer: gfp_mask=(0x[0-9a-f]+)\((\S*)\), order=(-?\d+), oom_score_adj=(-?\d+)$", re.MULTILINE
)
_TRIGGER = re.compile(r"^CPU: \d+ (?:UID: \d+ )?PID: (\d+) Comm: ", re.MULTILINE)
_PRESENT = re.compile(r"^(\d+) pages RAM$", re.MULTILINE)
_RESERVED = re.compile(r"^(\d+) pages reserved$", re.MULTILINE)
_SWAP = re.compile(r"^Total swap = (\d+)kB$", re.MULTILINE)
_FREE = re.compile(r"^ free:(\d+) free_pcp:", re.MULTILINE)
_FREE_SWAP = re.compile(r"^Free swap  = (\d+)kB$", re.MULTILINE)
_CHOSEN = re.compile(
    r"^oom-kill:constraint=(\w+),.*,(global_oom|oom_memcg=.*),task_memcg=(.*),task=(.*),pid=(\d+),uid=(\d+)$",
    re.MULTILINE,
)
_STAT = re.compile(r"^Memory cgroup stats for .*:((?:\n[a-z_]+ \d+)+)", re.MULTILINE)
_COLUMNS = re.compile(r"^\[ *pid *\] +(uid .*) name$", re.MULTILINE)
_TASK = re.compile(r"^\[ *\d+\] +(\d.*)$", re.MULTILINE)
_REASON = re.compile(r"^(.*): Killed process ", re.MULTILINE)


def reports(since: live.Moment) -> list[Report]:
    """Complete reports since then; the kernel leaves most lines out if there are many kills."""
    return [_report(text) for text in _stretches(since) if _INVOKED.search(text) and _CHOSEN.search(text)]


def _stretches(since: live.Moment) -> Iterator[str]:
    """The kernel log, cut after each kill and before each call of the OOM killer."""
    lines: list[str] = []
    for entry in live.journal("_TRANSPORT=kernel", since.after_cursor):
        if _INVOKED.search(entry["MESSAGE"]):
            lines = []
        lines.append(entry["MESSAGE"])
        if live.KILLED.search(entry["MESSAGE"]):
            yield "\n".join(lines)
            lines = []


def _report(text: str) -> Report:
    trigger_comm, gfp_mask, gfp_flags, order, adjust = _groups(_INVOKED, text)
    (trigger_tid,) = _groups(_TRIGGER, text)
    ram, swap, free, free_swap = None, None, None, None
    if _PRESENT.search(text):
        (present,), (reserved,), (kilobytes,) = (_groups(pattern, text) for pattern in (_PRESENT, _RESERVED, _SWAP))
        ram, swap = int(present) - int(reserved), int(kilobytes) << 10
        free, free_swap = int(_groups(_FREE, text)[0]), int(_groups(_FREE_SWAP, text)[0]) << 10
    constraint, scope, victim_cgroup, victim_comm, victim_tid, victim_uid = _groups(_CHOSEN, text)
    (reason,) = _groups(_REASON, text)
    stat = _STAT.search(text)
    killed = live.kernel_line(text)
    assert killed
    return Report(
        trigger_comm=trigger_comm,
        trigger_tid=int(trigger_tid),
        trigger_oom_score_adj=int(adjust),
        gfp_mask=gfp_mask,
        gfp_flags=gfp_flags,
        order=int(order),
        ram_pages=ram,
        swap_bytes=swap,
        free_pages=free,
        free_swap_bytes=free_swap,
        constraint=constraint,
        scope=scope,
        victim_cgroup=victim_cgroup,
        victim_comm=victim_comm,
        victim_tid=int(victim_tid),
        victim_uid=int(victim_uid),
        reason=reason,
        domain_stat={key: int(size) for key, size in re.findall(r"([a-z_]+) (\d+)", stat[1] if stat else "")},
        tasks=list(_tasks(text)),
        killed=killed,
    )


def _tasks(text: str) -> Iterator[Task]:
    """The rows of the task list."""
    columns = _groups(_COLUMNS, text)[0].split()
    for row in _TASK.findall(text):
        *numbers, comm = row.split(None, len(columns))
        values = dict(zip(columns, map(int, numbers), strict=True))
        size = (values["rss"] + values["swapents"]) * live.PAGE + values["pgtables_bytes"]
        yield Task(values["tgid"], comm, size, values["oom_score_adj"])


def _groups(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = pattern.search(text)
    assert found, f"no {pattern.pattern!r} in:\n{text}"
    return found.groups()
