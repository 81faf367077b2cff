# SPDX-License-Identifier: Apache-2.0
"""Completes a kill's record by what only the kernel log reports: why, whose limit, how much memory.

A probe may see who is killed and no more: always at level tracepoint, and at any level if it missed the decision. The
kernel prints the header before the kill, and the kill's own line right after it; the task that kills prints it, and the
victim is locked meanwhile. So that line exists when the record is read, or appears within a moment. The wait for it is
bounded: the log may be unreadable, lines get lost, and the kernel omits headers after ten within five seconds.
"""

import marshal
import select
from collections import deque
from collections.abc import Callable

from oomkilld.host.clock import KernelClock
from oomkilld.record.entry.origin import Origin
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.clock import LogClock
from oomkilld.record.kernlog.grammar import CONSTRAINTS
from oomkilld.record.kernlog.kmsg import DevKmsg
from oomkilld.record.kill import KillRecord, Unkillable

# How long to wait for a kill's line, from the kill on. Measured: see tests/host/service/test_joined.py.
WAIT_NS = 100 * 10**6
# How long to wait for a backlog to be read, from the start of its reading on.
CATCH_UP_NS = 300 * 10**6
# The same for the lines from before the start, up to a whole log, which kills that already wait in the ring need.
FIRST_CATCH_UP_NS = 3 * 10**9
# Lines that are read in a row before other duties get their turn; a header of many tasks is longer.
LINES = 512
# Up to a kilobyte each: lines of kills whose records may still come, or come again.
MAX_KEPT = 256
# How often to read the log, so that there is little to read when it matters.
FOLLOW_NS = 10 * 10**9
# How much older than its record a line may seem: printk has a clock of its own.
WITHIN_NS = 2 * 10**9

# Facts that a probe lacks if it does not see the decision or the kernel's data. It sees no candidates where the
# kernel's compiler has inlined oom_badness() (Debian 11's 5.10).
_WANTED = ("reason", "constraint", "order", "gfp_mask", "victim_total_vm_pages", "victim_anon_pages", "candidates")


class LogLines:
    """``parts.Awaited``; never blocks.

    At level tracepoint every record needs the log, and only the log reports that nothing could be killed, see ``tell``:
    it is read all the time. Otherwise reading starts with the first record that needs it, and a little before that one.
    """

    def __init__(
        self,
        reader: DevKmsg,
        clock: KernelClock,
        origin: Origin,
        tell: Callable[[Unkillable], None],
        warn: Callable[[str], None],
    ) -> None:
        self._reader: DevKmsg | None = reader
        self._clock = clock
        self._log_clock = LogClock(clock)
        self._assembler = Assembler(self._log_clock, origin.page_bytes)
        self._constraints = origin.constraints
        self._tell = tell
        self._warn = warn
        self._only_who = self._follow = origin.level == "tracepoint"
        # By the victim's thread: a kill as the log reports it, packed to a fifth of its size, and when it was read.
        self._kept: dict[int, list[tuple[bytes, int]]] = {}
        self._order: deque[int] = deque()  # the same threads, oldest line first
        self._begun = False  # all lines from before the start are read, or skipped
        self._behind_since_ns: int | None = None  # None: no backlog is known
        self._read_on_ns = 0
        self.due_ns: int | None = None  # when to check again (monotonic); None: nothing is awaited
        self._epoll = select.epoll()
        self._listening = self._ended = False

    def fileno(self) -> int:
        return self._epoll.fileno()

    def ready(self, kill: KillRecord) -> bool:
        """Whether the kill's line is there, or need not be awaited."""
        if not _wants(kill):
            return True
        self._follow = True
        found = self._line_of(kill) or self._read_on(kill)
        now_ns = self._clock.monotonic_ns()
        if self._behind_since_ns is None:
            self._read_on_ns = now_ns + FOLLOW_NS
        self._wait(None if found or self._ended or self._reader is None else self._until_ns(kill, now_ns), now_ns)
        return self.due_ns is None

    def has(self, kill: KillRecord) -> bool:
        """Whether its line is there, is not wanted, or will not come any more; never waits for it."""
        if not _wants(kill) or self._reader is None:
            return True
        found = self._line_of(kill) or self._read_on(kill)
        return found is not None or self._clock.boottime_ns() - kill.kill_boottime_ns > WAIT_NS

    def joined(self, kill: KillRecord) -> KillRecord:
        """The record, completed by its line if that was found."""
        line = self._line_of(kill) if _wants(kill) else None
        if line is None:
            return kill
        # Its timestamp would change the kill's id.
        line = line._replace(logged_usec=None)
        if kill.decision_boottime_ns is not None:
            line = line._replace(decision_logged_usec=None)  # the record's own time identifies the decision
        joined = KillRecord._make(told if known is None else known for known, told in zip(kill, line, strict=True))
        if kill.victim_cgroup is None:
            joined = joined._replace(victim_cgroup_cut=bool(line.victim_cgroup_cut))
        return joined

    def check(self) -> None:
        """Read on if it is time; end a wait that is overdue."""
        now_ns = self._clock.monotonic_ns()
        if self.due_ns is not None and now_ns >= self.due_ns:
            self._wait(None, now_ns)
        if self.due_ns is not None or now_ns < self._read_on_ns:
            return
        if self._follow:
            self._read_on()
        if self._reader is not None and (not self._follow or self._falls_behind(now_ns)):
            self._reader.skip()
            self._begun = True
            self._behind_since_ns = None
        if self._behind_since_ns is None:
            self._read_on_ns = now_ns + FOLLOW_NS
        elif not self._ended:
            self.due_ns = now_ns

    def end(self) -> None:
        self._ended = True
        self._wait(None, 0)
        self._epoll.close()

    def _falls_behind(self, now_ns: int) -> bool:
        """Whether lines are written faster than they are read, as where nothing can be killed."""
        return self._behind_since_ns is not None and now_ns - self._behind_since_ns >= self._catch_up_ns()

    def _catch_up_ns(self) -> int:
        return CATCH_UP_NS if self._begun else FIRST_CATCH_UP_NS

    def _until_ns(self, kill: KillRecord, now_ns: int) -> int:
        age_ns = self._clock.boottime_ns() - kill.kill_boottime_ns
        until_ns = now_ns + WAIT_NS - age_ns
        return until_ns if self._behind_since_ns is None else max(until_ns, self._behind_since_ns + self._catch_up_ns())

    def _wait(self, until_ns: int | None, now_ns: int) -> None:
        self.due_ns = until_ns if until_ns is not None and until_ns > now_ns else None
        listen = self.due_ns is not None
        if listen != self._listening and self._reader is not None:
            if listen:
                self._epoll.register(self._reader.fileno(), select.EPOLLIN)
            else:
                self._epoll.unregister(self._reader.fileno())
            self._listening = listen

    def _read_on(self, kill: KillRecord | None = None) -> KillRecord | None:
        """Read up to the kill's line. None: it is not among the next LINES lines."""
        if self._reader is None:
            return None
        if self._behind_since_ns is None:
            self._behind_since_ns = self._clock.monotonic_ns()
        found = None
        try:
            for _ in range(LINES):
                if (line := self._reader.read()) is None:
                    self._behind_since_ns = None
                    self._begun = True
                    break
                record = self._assembler.take(line)
                if isinstance(record, Unkillable):
                    if self._only_who and self._begun:
                        self._tell(Unkillable(self._numbered(record.decision)))
                elif record is not None:
                    self._keep(record)
                    if kill is not None and record.victim_tid == kill.victim_tid and (found := self._line_of(kill)):
                        self._behind_since_ns = None  # the next kill may wait as long for the rest
                        break
        except OSError as error:
            self._warn(f"Failed to read the kernel log: {error.strerror}, recording fewer fields")
            self.end()
            self._reader = self._behind_since_ns = None
        return found

    def _line_of(self, kill: KillRecord) -> KillRecord | None:
        """Of several lines about the thread id, which the kernel does not reuse soon, the nearest in time."""
        found, nearest_ns = None, 0
        for packed, read_boottime_ns in self._kept.get(kill.victim_tid, ()):
            line = KillRecord._make(marshal.loads(packed))  # noqa: S302 # packed here
            assert line.logged_usec is not None
            later_ns = self._log_clock.written_ns(line.logged_usec) - kill.kill_boottime_ns
            if not _is_of(line, kill):
                continue
            # The kill's own line is written, and so read, after the kill.
            if read_boottime_ns < kill.kill_boottime_ns or later_ns < -WITHIN_NS:
                continue
            if found is None or abs(later_ns) < nearest_ns:
                found, nearest_ns = line, abs(later_ns)
        return found

    def _keep(self, line: KillRecord) -> None:
        packed = marshal.dumps(tuple(self._numbered(line)))
        self._kept.setdefault(line.victim_tid, []).append((packed, self._clock.boottime_ns()))
        self._order.append(line.victim_tid)
        if len(self._order) > MAX_KEPT:
            tid = self._order.popleft()
            del self._kept[tid][0]
            if not self._kept[tid]:
                del self._kept[tid]

    def _numbered(self, record: KillRecord) -> KillRecord:
        if record.constraint is None:
            return record
        name = CONSTRAINTS[record.constraint]
        number = self._constraints.index(name) if name in self._constraints else None
        return record._replace(constraint=number)


def _is_of(line: KillRecord, kill: KillRecord) -> bool:
    """Whether the line may be about that process: another one may have had the thread id before, or have it now."""
    names = ("victim_comm", "victim_uid", "victim_pid")
    pairs = [(getattr(line, name), getattr(kill, name)) for name in names]
    return all(told is None or known is None or told == known for told, known in pairs)


def _wants(kill: KillRecord) -> bool:
    return not kill.spared and any(getattr(kill, name) is None for name in _WANTED)
