# SPDX-License-Identifier: Apache-2.0
"""Common to tests of kills: waiting for their entries, and comparing these with the kernel's own lines."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence

from tests.support import live

MIB = 1 << 20
LIMIT = 30 * MIB
# On the emulated machine: ten times the promise.
SECONDS = 10.0
# In this time the kernel prints at most ten headers of decisions.
HEADERS_WITHIN_SECONDS = 5.1


def kernel_version() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    assert found
    return int(found[1]), int(found[2])


# percpu_counter_batch on all CPUs: from 6.2 to 6.12 the kernel's own line differs from the exact sum by at most this.
_CPUS = os.cpu_count() or 1
COUNTER_SLACK = max(32, 2 * _CPUS) * _CPUS * live.PAGE if (6, 2) <= kernel_version() <= (6, 12) else 0

# Up to 6.1, a thread keeps back up to 64 counted events (TASK_RSS_EVENTS_THRESH, mm/memory.c) and adds them when it
# ends. On another CPU that may happen between the mark and the kernel's line; on one CPU it never does (5.10: 0 of 40
# kills, on two CPUs 2 of 40).
KEPT_BACK = 64 * live.PAGE if kernel_version() <= (6, 1) else 0

# Fields that level tracepoint lacks, because it sees no decision and the kernel does not print them. Beginnings of
# names.
_UNPRINTED = ("OOM_TOTAL_", "OOM_VICTIM_BADNESS", "OOM_GROUP_KILL", "OOM_AT_KILL_DOMAIN_")


def unprinted(names: Iterable[str]) -> set[str]:
    """The fields of the decision that its lines in the kernel log lack, too."""
    return {name for name in names if name.startswith(_UNPRINTED)}


def kills_after(here: live.Moment, count: int, level: str = "kprobe") -> list[live.Entry]:
    """Wait for this number of kill entries; more, or another capture level, are a failure."""

    def poll() -> list[live.Entry] | None:
        found = live.service_entries("kill", here)
        return found if len(found) >= count else None

    found = live.wait_for(f"{count} entries", poll, SECONDS, live.service_journal)
    assert len(found) == count, "\n".join(f"{entry.get('OOM_DECISION_ID')}: {entry['MESSAGE']}" for entry in found)
    assert {entry["OOM_SOURCE"] for entry in found} == {level}
    return found


def assert_as_the_kernel_says(
    entry: live.Entry, line: live.KernelLine, *, threads: int = 0, reclaimed: int = 0
) -> None:
    """The victim of the entry is that of the kernel's line, to the thread and to the page.

    ``threads``: those beside its first, which may have added pages before the kernel's line; ``reclaimed``: so many
    bytes may have been taken from it before that.
    """
    assert int(entry["OOM_VICTIM_TID"]) == line.tid
    assert entry["OOM_VICTIM_COMM"] == line.comm
    assert int(entry["OOM_VICTIM_UID"]) == line.uid
    assert int(entry["OOM_VICTIM_TOTAL_VM_BYTES"]) == line.total_vm
    assert int(entry["OOM_VICTIM_PGTABLES_BYTES"]) == line.pgtables
    assert int(entry["OOM_VICTIM_OOM_SCORE_ADJ"]) == line.oom_score_adj
    for name, kernel in (("ANON", line.anon), ("FILE", line.file), ("SHMEM", line.shmem)):
        less = kernel - int(entry[f"OOM_VICTIM_RSS_{name}_BYTES"])
        assert -COUNTER_SLACK - reclaimed <= less <= COUNTER_SLACK + threads * KEPT_BACK, name


def wait_until_headers_are_counted() -> None:
    """Earlier, a member of a group may belong to another decision, whose header the kernel left out."""
    since = int(live.show("oomkilld", "ActiveEnterTimestampMonotonic")) / 1e6
    live.wait_for("headers", lambda: time.monotonic() - since > HEADERS_WITHIN_SECONDS, 2 * HEADERS_WITHIN_SECONDS)


def until_one_is_killed(start: Callable[[], object]) -> None:
    """Start and await a process that takes memory, again if it was refused memory instead of being killed.

    The kernel says which: an entry may come later.
    """
    before = live.vmstat_kills()
    for _attempt in range(10):
        start()
        if live.vmstat_kills() > before:
            return
    raise AssertionError("ten processes were refused memory instead of being killed")


def beginning() -> live.Beginning:
    return live.Beginning(live.settled_counts(), live.vmstat_kills())


def group_kill(here: live.Moment, level: str, *, threads: int = 0) -> list[live.Entry]:
    """A group kill of 6 processes, one of them with ``threads`` more; the books balance."""
    began = beginning()
    with live.cgroup("group", LIMIT, group=True) as where:
        members = [where.start("hold=1", "sleep") for _ in range(4)]
        members.append(where.start("hold=1", f"threads={threads}", "sleep"))
        members.append(where.start("hold=4", "eat"))
        return killed_together(here, level, members, began, threads=threads)


def killed_together(
    here: live.Moment,
    level: str,
    members: Sequence["subprocess.Popen[str]"],
    began: live.Beginning,
    *,
    threads: int = 0,
) -> list[live.Entry]:
    """Their entries; the books balance. ``threads``: those that one of them has beside its first."""
    reaped = sum(live.killed(member) for member in members)
    entries = kills_after(here, len(members), level)
    # The kernel log names threads; these processes have one.
    number = "OOM_VICTIM_TID" if level == "kmsg" else "OOM_VICTIM_PID"
    assert {int(entry[number]) for entry in entries} == {member.pid for member in members}
    counts = live.settled_counts()
    repeats, delta = counts.repeats - began.counts.repeats, live.vmstat_kills() - began.vmstat
    live.Books(len(entries), repeats, counts.missing - began.counts.missing, delta, reaped).check()
    # The kernel may hit a member with threads again through another thread, if its first one is already gone.
    assert len(members) + 1 <= delta <= len(members) + 1 + threads
    assert live.service_entries("spared", here) == []
    return entries
