# SPDX-License-Identifier: Apache-2.0
"""Lines of the kernel's log, in order, become records of kills.

A decision's lines stand together, for its lock is held meanwhile: the header, which the kernel leaves out after the
tenth within five seconds; the kill of the process that was chosen; and, where all of a control group go with it, a
line that says so and a kill for each, among them the chosen one again.

A kill behind that line is taken for one of the group only where another decision would have had a header.
"""

from collections import deque
from typing import NamedTuple, Protocol

from oomkilld.record import oomlines
from oomkilld.record.decode import KillRecord
from oomkilld.record.kmsg import KERNEL, Line

# DEFAULT_RATELIMIT_BURST and _INTERVAL, include/linux/ratelimit_types.h; the latter with a tick to spare.
_HEADERS, _WITHIN_USEC = 10, 5_100_000
# Between the lines of one group. The number of a thread does not come back so soon.
_REPEAT_WITHIN_USEC = 2_000_000

UNKNOWN = KillRecord._make([None] * len(KillRecord._fields))


class _Header(NamedTuple):
    """What was read of the header so far."""

    invoked: oomlines.Invoked | None
    caller_tid: int | None = None
    chosen: bytes | None = None  # its last line


class _Group(NamedTuple):
    """A group that is being killed: its decision as far as known, the process chosen, the stamp of its last line."""

    decision: KillRecord
    chosen: oomlines.Killed | None
    last_usec: int


class LineClock(Protocol):
    """See logclock.LogClock."""

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
        self._header: _Header | None = None
        self._last: tuple[oomlines.Killed, KillRecord] | None = None
        self._group: _Group | None = None

    def take(self, line: Line) -> KillRecord | None:
        """None: it is no kill, or a repeat."""
        # Any writer's line tells the time.
        boottime_ns = self._clock.boottime_ns(line.usec)
        if line.after_gap or self._known_from_usec is None:
            self._forget(line.usec)
        if line.facility != KERNEL:
            return None
        if line.fragment:
            self._header = None  # its last line may be what was cut
            return None
        if kill := oomlines.killed(line.text):
            self.kills += 1
            return self._kill(kill, line.usec, boottime_ns)
        self._read_about(line)
        return None

    def _forget(self, usec: int) -> None:
        """Of what was before, nothing is known."""
        self._known_from_usec = usec + _WITHIN_USEC
        self._header, self._last, self._group = None, None, None

    def _read_about(self, line: Line) -> None:
        header, text = self._header, line.text
        if invoked := oomlines.invoked(text):
            self._headers_usec.append(line.usec)
            self._header, self._last, self._group = _Header(invoked), None, None
        elif oomlines.is_chosen(text):
            self._header = (header or _Header(None))._replace(chosen=text)
            self._last, self._group = None, None
        elif oomlines.is_group(text):
            self._group = self._group_of(line.usec)
        elif oomlines.is_skipped(text):
            self._header, self._last = None, None
        elif header and header.invoked and header.caller_tid is None and not header.chosen:
            self._header = header._replace(caller_tid=oomlines.caller_tid(text))

    def _group_of(self, usec: int) -> _Group:
        """Of the kill right before, which the kernel begins with; it may have skipped that one."""
        if self._last is None:
            return _Group(UNKNOWN._replace(decision_logged_usec=usec), None, usec)
        kill, record = self._last
        return _Group(record, kill, usec)

    def _kill(self, kill: oomlines.Killed, usec: int, boottime_ns: int) -> KillRecord | None:
        group, header = self._group, self._header
        self._header = None
        if group is not None:
            if self._repeats(kill, usec, group):
                self.repeats += 1
                self._group = group._replace(chosen=None, last_usec=usec)
                return None
            self._group = group._replace(last_usec=usec)
        if group is None:
            decision = self._of_header(header, kill)._replace(decision_logged_usec=usec)
        elif self._headers_are_complete(usec):
            decision = group.decision._replace(victim_cgroup=None, group_kill=1)
        else:
            decision = UNKNOWN  # of the group, or of a decision without a header
        record = self._with_victim(decision, kill)._replace(kill_boottime_ns=boottime_ns, logged_usec=usec, spared=0)
        self._last = kill, record
        return record

    @staticmethod
    def _repeats(kill: oomlines.Killed, usec: int, group: _Group) -> bool:
        chosen = group.chosen
        same = chosen is not None and (kill.tid, kill.comm, kill.uid) == (chosen.tid, chosen.comm, chosen.uid)
        return same and usec - group.last_usec <= _REPEAT_WITHIN_USEC

    def _headers_are_complete(self, usec: int) -> bool:
        """Whether a decision at that time would have had a header."""
        assert self._known_from_usec is not None
        full = len(self._headers_usec) == _HEADERS and usec - self._headers_usec[0] <= _WITHIN_USEC
        return usec >= self._known_from_usec and not full

    @staticmethod
    def _of_header(header: _Header | None, kill: oomlines.Killed) -> KillRecord:
        """What the header tells, if it is this kill's."""
        chosen = oomlines.chosen(header.chosen, kill) if header and header.chosen else None
        if header is None or chosen is None:
            return UNKNOWN
        record = UNKNOWN._replace(
            constraint=chosen.constraint, domain_cgroup=chosen.domain_cgroup, victim_cgroup=chosen.victim_cgroup
        )
        if header.invoked is None:
            return record
        return record._replace(
            trigger_tid=header.caller_tid,
            trigger_comm=header.invoked.comm,
            gfp_mask=header.invoked.gfp_mask,
            order=header.invoked.order,
        )

    def _with_victim(self, decision: KillRecord, kill: oomlines.Killed) -> KillRecord:
        return decision._replace(
            victim_tid=kill.tid,
            victim_comm=kill.comm,
            victim_uid=kill.uid,
            victim_oom_score_adj=kill.oom_score_adj,
            victim_total_vm_pages=kill.total_vm // self._page_bytes,
            victim_anon_pages=kill.anon // self._page_bytes,
            victim_file_pages=kill.file // self._page_bytes,
            victim_shmem_pages=kill.shmem // self._page_bytes,
            victim_pgtables_bytes=kill.pgtables,
            reason=kill.reason,
        )
