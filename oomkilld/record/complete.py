# SPDX-License-Identifier: Apache-2.0
"""Completes a record from other sources: the process of a thread, and why it was killed."""

from oomkilld.host.procfs import ThreadStatus
from oomkilld.record.kill import KillRecord
from oomkilld.record.loglines import LogLines
from oomkilld.record.processes import KernelProcesses


class Completer:
    """``lines``: of the kernel log, if records come from elsewhere and the log is readable."""

    def __init__(self, processes: KernelProcesses, lines: LogLines | None = None) -> None:
        self._processes = processes
        self._lines = lines

    def ready(self, kill: KillRecord) -> bool:
        """Whether ``completed()`` can be called without waiting."""
        return self._lines is None or self._lines.ready(kill)

    def at_once(self, kill: KillRecord) -> KillRecord | None:
        """Completed; None: what completes it is to come."""
        return self.completed(kill) if self._lines is None or self._lines.has(kill) else None

    def completed(self, kill: KillRecord) -> KillRecord:
        kill = self._lines.joined(kill) if self._lines else kill
        # Look for the process if the kernel gave only the thread's id, or if the record is of a log line.
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


def _confirmed(kill: KillRecord, found: ThreadStatus) -> KillRecord:
    """A line's time is not exact, and its thread id may be another one's by now: so the other facts must fit, too."""
    if (found.comm, found.uid) != (kill.victim_comm, kill.victim_uid) or kill.victim_pid not in (None, found.pid):
        return kill
    kill = kill._replace(victim_pid=found.pid, victim_parent_pid=found.parent_pid)
    if kill.victim_cgroup is None or kill.victim_cgroup_cut:
        kill = kill._replace(victim_cgroup=found.cgroup or kill.victim_cgroup, victim_cgroup_cut=found.cgroup is None)
    return kill._replace(trigger_pid=found.pid) if kill.trigger_tid == kill.victim_tid else kill
