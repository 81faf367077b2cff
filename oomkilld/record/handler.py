# SPDX-License-Identifier: Apache-2.0
"""What is done with each record on its way from the ring to the journal."""

from typing import NamedTuple

from oomkilld.record.cause import cause_of
from oomkilld.record.decode import KillRecord
from oomkilld.record.drift import Judge
from oomkilld.record.enrich import Enricher
from oomkilld.record.entry import Origin, kill_entry, victim_fields
from oomkilld.record.outcome import Outcome
from oomkilld.record.processes import Processes
from oomkilld.record.procfs import ThreadStatus
from oomkilld.record.unkillable import Unkillables


class Beside(NamedTuple):
    """What tells more than kills."""

    outcome: Outcome
    unkillables: Unkillables


class KillHandler:
    """Judges, enriches, renders and has the victims watched; ``delivery.Handler``."""

    def __init__(self, judge: Judge, processes: Processes, enricher: Enricher, origin: Origin, beside: Beside) -> None:
        self._processes = processes
        self._enricher = enricher
        self._origin = origin
        self._outcome = beside.outcome
        self.untrue = judge.untrue
        self.ready = enricher.ready
        self.released = beside.outcome.released
        self.unkillable = beside.unkillables.tell

    def render(self, kill: KillRecord) -> list[bytes]:
        """The entry of a kill, or of a process that was spared."""
        kill = self._completed(kill)
        cause = cause_of(kill, self._origin.constraints, self._origin.page_bytes)
        return kill_entry(kill, cause, self._enricher.context(kill, cause), self._origin)

    def _completed(self, kill: KillRecord) -> KillRecord:
        """With the process of a thread, where the kernel gave no more than that one's number, or its log told it."""
        if kill.victim_pid is not None and kill.logged_usec is None:
            return kill
        found = self._processes.of_thread(kill.victim_tid, kill.kill_boottime_ns)
        if found is None:
            return kill
        if kill.logged_usec is not None:
            return _confirmed(kill, found)
        return kill._replace(
            victim_pid=found.pid,
            victim_comm=found.comm,
            victim_uid=found.uid,
            victim_parent_pid=found.parent_pid,
            victim_cgroup=found.cgroup,
        )

    def sent(self, kill: KillRecord, fields: list[bytes]) -> None:
        """Its entry was taken by journald."""
        self._outcome.watch(kill, victim_fields(fields))


def _confirmed(kill: KillRecord, found: ThreadStatus) -> KillRecord:
    """A line's time is not exact, and its thread's number may be another one's by now: the rest must fit, too."""
    if (found.comm, found.uid) != (kill.victim_comm, kill.victim_uid) or kill.victim_pid not in (None, found.pid):
        return kill
    kill = kill._replace(victim_pid=found.pid, victim_parent_pid=found.parent_pid)
    if kill.victim_cgroup is None or kill.victim_cgroup_cut:
        kill = kill._replace(victim_cgroup=found.cgroup or kill.victim_cgroup, victim_cgroup_cut=found.cgroup is None)
    return kill._replace(trigger_pid=found.pid) if kill.trigger_tid == kill.victim_tid else kill
