# SPDX-License-Identifier: Apache-2.0
"""Lines of the kernel's log, in order, become records of kills.

A decision's lines stand together, for its lock is held meanwhile: the header, which the kernel leaves out after the
tenth within five seconds; the kill of the process that was chosen; and, where all of a control group go with it, a
line that says so and a kill for each, among them the chosen one again.

A kill behind that line is taken for one of the group only where another decision would have had a header, and where its
message is that of the group's first.
"""

from collections import deque

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.kmsg import KERNEL, Line
from oomkilld.record.kernlog.report import UNKNOWN, Report
from oomkilld.record.kill import KillRecord, Unkillable

# DEFAULT_RATELIMIT_BURST and _INTERVAL, include/linux/ratelimit_types.h; the latter with a tick to spare.
_HEADERS, _WITHIN_USEC = 10, 5_100_000
# Between the lines of one group. The number of a thread does not come back so soon.
_REPEAT_WITHIN_USEC = 2_000_000


class _Group(NamedTuple):
    """A group that is being killed.

    ``decision``: as far as known; ``reason``: the message of its kills; ``chosen``: the process that it began with;
    ``last_usec``: the stamp of its last line.
    """

    decision: KillRecord
    reason: bytes | None
    path: bytes
    chosen: grammar.Killed | None
    report: Report | None
    last_usec: int


class _Last(NamedTuple):
    """The kill right before: what was told of it, and what tells of others of its group."""

    kill: grammar.Killed
    record: KillRecord
    report: Report | None


class LineClock(Protocol):
    """See clock.LogClock."""

    def began_usec(self, usec: int) -> int:
        """The stamp of when the reading began; that of a line, the first, is ``usec``."""

    def boottime_ns(self, usec: int) -> int:
        """When the line with this stamp was written (CLOCK_BOOTTIME); later than all before."""


class Assembler:
    """Must be given every line. ``kills``: lines about kills so far; ``repeats``: those without a record."""

    def __init__(self, clock: LineClock, page_bytes: int) -> None:
        self._clock = clock
        self._page_bytes = page_bytes
        self.kills = 0
        self.repeats = 0
        self._headers_usec: deque[int] = deque(maxlen=_HEADERS)
        self._known_from_usec: int | None = None
        self._report: Report | None = None
        self._last: _Last | None = None
        self._group: _Group | None = None
        self._skipped: bytes | None = None  # the message of the kill that was skipped right before

    def take(self, line: Line) -> KillRecord | Unkillable | None:
        """None: it is neither, or a repeat."""
        # Any writer's line tells the time.
        boottime_ns = self._clock.boottime_ns(line.usec)
        if line.after_gap:
            self._forget(line.usec)
        elif self._known_from_usec is None:
            self._forget(self._clock.began_usec(line.usec))
        if line.facility != KERNEL:
            return None
        if not line.fragment and (kill := grammar.killed(line.text)):
            self.kills += 1
            return self._kill(kill, line.usec, boottime_ns)
        return self._read_about(line, boottime_ns)

    def _forget(self, usec: int) -> None:
        """Of what was before, nothing is known."""
        self._known_from_usec = usec + _WITHIN_USEC
        self._report, self._last, self._group, self._skipped = None, None, None, None

    def _read_about(self, line: Line, boottime_ns: int) -> Unkillable | None:
        text = line.text
        if line.fragment:
            if self._report is not None:
                self._report.take(line)
        elif grammar.invoked(text):
            self._begin(Report(line, self._page_bytes))
        elif grammar.is_chosen(text):
            self._take_end(line)
        elif path := grammar.group(text):
            self._group = self._group_of(path, line.usec)
        elif reason := grammar.skipped(text):
            self._report, self._last, self._skipped = None, None, reason
        elif grammar.is_unkillable(text):
            return self._unkillable(line.usec, boottime_ns)
        elif self._report is not None:
            self._report.take(line)
        return None

    def _take_end(self, line: Line) -> None:
        """Of a header: not those that find nothing to kill, of which none is left out, have such a line."""
        self._headers_usec.append(line.usec)
        if self._report is None or self._report.ended:
            self._begin(Report(line, self._page_bytes))
        else:
            self._report.take(line)

    def _begin(self, report: Report | None) -> None:
        self._report, self._last, self._group, self._skipped = report, None, None, None

    def _unkillable(self, usec: int, boottime_ns: int) -> Unkillable:
        decision = UNKNOWN if self._report is None else self._report.without_kill()
        self._begin(None)
        return Unkillable(decision._replace(kill_boottime_ns=boottime_ns, logged_usec=usec))

    def _group_of(self, path: bytes, usec: int) -> _Group:
        """Of the kill right before, which the kernel begins with; it may have skipped that one."""
        if self._last is None:
            decision = UNKNOWN._replace(decision_logged_usec=usec)
            return _Group(decision, self._skipped, path, None, None, usec)
        kill, record, report = self._last
        return _Group(record, kill.reason, path, kill, report, usec)

    def _kill(self, kill: grammar.Killed, usec: int, boottime_ns: int) -> KillRecord | None:
        if self._group is not None and self._group.reason not in (None, kill.reason):
            self._group = None  # it is of another decision, which had no header
        group, report = self._group, self._report
        self._report = self._skipped = None
        if group is not None:
            report = group.report
            if self._repeats(kill, usec, group):
                self.repeats += 1
                self._group = group._replace(chosen=None, last_usec=usec)
                return None
            self._group = group._replace(last_usec=usec)
        decision = self._decision(kill, usec, group, report)
        record = self._with_victim(decision, kill)._replace(kill_boottime_ns=boottime_ns, logged_usec=usec, spared=0)
        if report is not None:
            record = report.listed(record, kill)
        self._last = _Last(kill, record, report)
        return record

    def _decision(self, kill: grammar.Killed, usec: int, group: _Group | None, report: Report | None) -> KillRecord:
        if group is None:
            decision = UNKNOWN if report is None else report.decision(kill)
            return decision._replace(decision_logged_usec=usec)
        if not self._headers_are_complete(usec):
            return UNKNOWN  # of the group, or of a decision without a header
        return group.decision._replace(
            victim_cgroup=None, victim_cgroup_cut=False, victim_within=group.path, group_kill=1
        )

    @staticmethod
    def _repeats(kill: grammar.Killed, usec: int, group: _Group) -> bool:
        chosen = group.chosen
        same = chosen is not None and (kill.tid, kill.comm, kill.uid) == (chosen.tid, chosen.comm, chosen.uid)
        return same and usec - group.last_usec <= _REPEAT_WITHIN_USEC

    def _headers_are_complete(self, usec: int) -> bool:
        """Whether a decision at that time would have had a header."""
        assert self._known_from_usec is not None
        full = len(self._headers_usec) == _HEADERS and usec - self._headers_usec[0] <= _WITHIN_USEC
        return usec >= self._known_from_usec and not full

    def _with_victim(self, decision: KillRecord, kill: grammar.Killed) -> KillRecord:
        return decision._replace(
            victim_pid=None,
            victim_tid=kill.tid,
            victim_comm=kill.comm,
            victim_uid=kill.uid,
            victim_oom_score_adj=kill.oom_score_adj,
            victim_total_vm_pages=kill.total_vm // self._page_bytes,
            victim_anon_pages=kill.anon // self._page_bytes,
            victim_file_pages=kill.file // self._page_bytes,
            victim_shmem_pages=kill.shmem // self._page_bytes,
            victim_swap_pages=None,
            victim_pgtables_bytes=kill.pgtables,
            reason=kill.reason,
        )
