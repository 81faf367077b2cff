# SPDX-License-Identifier: Apache-2.0
"""Turns the lines of the kernel log, in order, into records of kills.

The kernel holds a lock while it prints a decision, so the lines of one decision stand together. First comes the header,
which the kernel omits after ten within five seconds, then the kill of the chosen process. In a group kill, a line that
announces it follows, and then one kill for each member, which may repeat the chosen process.

A kill after that announcement belongs to the group only if any other decision would have had a header, and if its
message equals that of the group's first kill.
"""

from collections import deque

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.kmsg import KERNEL, Line
from oomkilld.record.kernlog.report import UNKNOWN, Report
from oomkilld.record.kill import KillRecord, Unkillable

# DEFAULT_RATELIMIT_BURST and _INTERVAL, include/linux/ratelimit_types.h; the interval with a margin of 100 ms.
_HEADERS, _WITHIN_USEC = 10, 5_100_000
# Between two lines of one group. The kernel does not reuse a thread id within this time.
_REPEAT_WITHIN_USEC = 2_000_000


class _Group(NamedTuple):
    """A group kill in progress.

    ``decision``: as far as known. ``reason``: the message of its kills. ``chosen``: the process that was killed first;
    None: unknown, or already repeated. ``last_usec``: timestamp of its last line.
    """

    decision: KillRecord
    reason: bytes | None
    path: bytes
    chosen: grammar.Killed | None
    report: Report | None
    last_usec: int


class LineClock(Protocol):
    """See clock.LogClock and loggedkills._Stamps."""

    def began_usec(self, usec: int) -> int: ...
    def boottime_ns(self, usec: int) -> int: ...


class Assembler:
    """Needs every line. ``kills``: number of kill lines so far; ``repeats``: those of them without a record."""

    def __init__(self, clock: LineClock, page_bytes: int) -> None:
        self._clock = clock
        self._page_bytes = page_bytes
        self.kills = 0
        self.repeats = 0
        self._headers_usec: deque[int] = deque(maxlen=_HEADERS)
        self._known_from_usec: int | None = None
        self._report: Report | None = None
        # The previous kill: its line, its record, and the report, which may also list other members of its group.
        self._last: tuple[grammar.Killed, KillRecord, Report | None] | None = None
        self._group: _Group | None = None
        self._skipped: bytes | None = None  # message of the skipped kill right before the next line

    def take(self, line: Line) -> KillRecord | Unkillable | None:
        """Return the record that this line completes. None: it completes none, or repeats a kill."""
        # The clock needs the lines of every writer.
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
        """Discard the state: lines before ``usec`` may be missing."""
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
        """Count a header by its last line. A decision that kills nothing prints no such line, but always a header."""
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
        """Begin the group of the previous kill: the kernel first kills the chosen process, or skips it."""
        if self._last is None:
            decision = UNKNOWN._replace(decision_logged_usec=usec)
            return _Group(decision, self._skipped, path, None, None, usec)
        kill, record, report = self._last
        return _Group(record, kill.reason, path, kill, report, usec)

    def _kill(self, kill: grammar.Killed, usec: int, boottime_ns: int) -> KillRecord | None:
        if self._group is not None and self._group.reason not in (None, kill.reason):
            self._group = None  # this kill is of another decision, which had no header
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
        self._last = kill, record, report
        return record

    def _decision(self, kill: grammar.Killed, usec: int, group: _Group | None, report: Report | None) -> KillRecord:
        if group is None:
            decision = UNKNOWN if report is None else report.decision(kill)
            return decision._replace(decision_logged_usec=usec)
        if not self._headers_are_complete(usec):
            return UNKNOWN  # either of the group or of a decision without a header
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
