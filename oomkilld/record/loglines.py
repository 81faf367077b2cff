# SPDX-License-Identifier: Apache-2.0
"""Adds to a kill's record what only the kernel's log tells of it: why, of whose limit, how much memory.

A probe may see who is killed and no more, as at level tracepoint; of a decision that it has missed at any. The header's
lines are written before the kill, and its own line right behind, by the task that kills, with the victim locked
meanwhile. So that line is there when the record is read, or it is waited for a moment, and never longer: the log may
not be ours to read, lines are lost, and of a header the kernel leaves out what exceeds ten within five seconds.
"""

import marshal
import select
from collections import deque
from collections.abc import Callable

from oomkilld.host.clock import Clock
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.logsource import Reader
from oomkilld.record.entry.origin import Origin
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.clock import LogClock
from oomkilld.record.kernlog.grammar import CONSTRAINTS
from oomkilld.record.kill import KillRecord, Unkillable

# Since the kill, for its line. Measured: see tests/host/service/test_joined.py.
WAIT_NS = 100 * 10**6
# For what was written before and is not read yet, since that was begun.
CATCH_UP_NS = 300 * 10**6
# So many lines in a row, then other duties have their turn; a header of many tasks is longer.
LINES = 512
# About half a kilobyte each: of kills whose records may come still, or once more.
MAX_KEPT = 256
# Read now and then, so that there is little to be read when it matters.
FOLLOW_NS = 10 * 10**9
# By so much a line may seem to be older than its record, for printk's clock is another one.
WITHIN_NS = 2 * 10**9

# What a probe cannot tell without seeing the decision, or the kernel's data.
_WANTED = ("reason", "constraint", "order", "gfp_mask", "victim_total_vm_pages", "victim_anon_pages")


class SkippingReader(Reader, Protocol):
    """The kernel's log; see kmsg.DevKmsg."""

    def fileno(self) -> int:
        """Readable with every line."""

    def skip(self) -> None:
        """Go on with what is written from now on."""


class _Kept(NamedTuple):
    """A kill as the log tells of it, packed to a fifth of its size, and when that was read."""

    packed: bytes
    read_boottime_ns: int


class LogLines:
    """``parts.Awaited``; never waits itself.

    At level tracepoint every record wants it, and nothing else tells where nothing could be killed, see ``tell``: it is
    read on all the time. Else from the first record on that wants it, which is told what was written shortly before.
    """

    def __init__(
        self,
        reader: SkippingReader,
        clock: Clock,
        origin: Origin,
        tell: Callable[[Unkillable], None],
        warn: Callable[[str], None],
    ) -> None:
        self._reader: SkippingReader | None = reader
        self._clock = clock
        self._log_clock = LogClock(clock)
        self._assembler = Assembler(self._log_clock, origin.page_bytes)
        self._constraints = origin.constraints
        self._tell = tell
        self._warn = warn
        self._only_who = self._follow = origin.level == "tracepoint"
        self._kept: dict[int, list[_Kept]] = {}  # by the victim's thread
        self._order: deque[int] = deque()  # of those
        self._begun = False  # what is read is not of before any more
        self._behind_since_ns: int | None = None  # None: nothing is known to be left to read
        self._read_on_ns = 0
        self._due_ns: int | None = None
        self._epoll = select.epoll()
        self._listening = self._ended = False

    def fileno(self) -> int:
        """To wait for a line, while one is waited for."""
        return self._epoll.fileno()

    @property
    def deadline_ns(self) -> int | None:
        """When to check again (monotonic); None when nothing is waited for."""
        return self._due_ns

    def ready(self, kill: KillRecord) -> bool:
        """Whether its line is there, or is not to be waited for."""
        if not _wants(kill):
            return True
        self._follow = True
        found = self._line_of(kill) or self._read_on(kill)
        now_ns = self._clock.monotonic_ns()
        if self._behind_since_ns is None:
            self._read_on_ns = now_ns + FOLLOW_NS
        self._wait(None if found or self._ended or self._reader is None else self._until_ns(kill, now_ns), now_ns)
        return self._due_ns is None

    def has(self, kill: KillRecord) -> bool:
        """Whether its line is there, or is not wanted."""
        return not _wants(kill) or self._line_of(kill) is not None

    def joined(self, kill: KillRecord) -> KillRecord:
        """With all that its line tells and the record does not, where it was found."""
        line = self._line_of(kill) if _wants(kill) else None
        if line is None:
            return kill
        # Its own time is what makes the id of a kill that is read there.
        line = line._replace(logged_usec=None)
        if kill.decision_boottime_ns is not None:
            line = line._replace(decision_logged_usec=None)  # by the other it is known already
        joined = KillRecord._make(told if known is None else known for known, told in zip(kill, line, strict=True))
        if kill.victim_cgroup is None:
            joined = joined._replace(victim_cgroup_cut=bool(line.victim_cgroup_cut))
        return joined

    def check(self) -> None:
        """Read on when it is time to; give up waiting when it is."""
        now_ns = self._clock.monotonic_ns()
        if self._due_ns is not None and now_ns >= self._due_ns:
            self._wait(None, now_ns)
        if self._due_ns is not None or now_ns < self._read_on_ns:
            return
        if self._follow:
            self._read_on()
        if self._reader is not None and (not self._follow or self._falls_behind(now_ns)):
            self._reader.skip()
            self._behind_since_ns = None
        if self._behind_since_ns is None:
            self._read_on_ns = now_ns + FOLLOW_NS
        elif not self._ended:
            self._due_ns = now_ns

    def end(self) -> None:
        """From now on nothing is waited for."""
        self._ended = True
        self._wait(None, 0)
        self._epoll.close()

    def _falls_behind(self, now_ns: int) -> bool:
        """It is written faster than it is read, as where nothing can be killed."""
        return self._behind_since_ns is not None and now_ns - self._behind_since_ns >= CATCH_UP_NS

    def _until_ns(self, kill: KillRecord, now_ns: int) -> int:
        age_ns = self._clock.boottime_ns() - kill.kill_boottime_ns
        until_ns = now_ns + WAIT_NS - age_ns
        return until_ns if self._behind_since_ns is None else max(until_ns, self._behind_since_ns + CATCH_UP_NS)

    def _wait(self, until_ns: int | None, now_ns: int) -> None:
        self._due_ns = until_ns if until_ns is not None and until_ns > now_ns else None
        listen = self._due_ns is not None
        if listen != self._listening and self._reader is not None:
            if listen:
                self._epoll.register(self._reader.fileno(), select.EPOLLIN)
            else:
                self._epoll.unregister(self._reader.fileno())
            self._listening = listen

    def _read_on(self, kill: KillRecord | None = None) -> KillRecord | None:
        """Up to the line of that kill; None: it did not come, up to the end of the log or for so many lines."""
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
                    self._keep_unkillable(record.decision)
                elif record is not None:
                    self._keep(record)
                    if kill is not None and record.victim_tid == kill.victim_tid and (found := self._line_of(kill)):
                        self._behind_since_ns = None  # further kills may wait for what is left as long
                        break
        except OSError as error:
            self._warn(f"Failed to read the kernel's log: {error.strerror}: entries tell less, ignoring")
            self.end()
            self._reader = self._behind_since_ns = None
        return found

    def _line_of(self, kill: KillRecord) -> KillRecord | None:
        """The number of a thread does not come back so soon: of several lines about it the nearest."""
        found, nearest_ns = None, 0
        for packed, read_boottime_ns in self._kept.get(kill.victim_tid, ()):
            line = KillRecord._make(marshal.loads(packed))  # noqa: S302 # packed here
            assert line.logged_usec is not None
            later_ns = self._log_clock.written_ns(line.logged_usec) - kill.kill_boottime_ns
            if not _is_of(line, kill):
                continue
            # Its own is written behind it, and so read.
            if read_boottime_ns < kill.kill_boottime_ns or later_ns < -WITHIN_NS:
                continue
            if found is None or abs(later_ns) < nearest_ns:
                found, nearest_ns = line, abs(later_ns)
        return found

    def _keep(self, line: KillRecord) -> None:
        packed = marshal.dumps(tuple(self._numbered(line)))
        self._kept.setdefault(line.victim_tid, []).append(_Kept(packed, self._clock.boottime_ns()))
        self._order.append(line.victim_tid)
        if len(self._order) > MAX_KEPT:
            tid = self._order.popleft()
            del self._kept[tid][0]
            if not self._kept[tid]:
                del self._kept[tid]

    def _keep_unkillable(self, decision: KillRecord) -> None:
        if self._only_who and self._begun:
            self._tell(Unkillable(self._numbered(decision)))

    def _numbered(self, record: KillRecord) -> KillRecord:
        """With the kernel's own number of the constraint."""
        if record.constraint is None:
            return record
        name = CONSTRAINTS[record.constraint]
        number = self._constraints.index(name) if name in self._constraints else None
        return record._replace(constraint=number)


def _is_of(line: KillRecord, kill: KillRecord) -> bool:
    """Whether it may be of that process: the number of its thread may have been another one's, or be by now."""
    names = ("victim_comm", "victim_uid", "victim_pid")
    pairs = [(getattr(line, name), getattr(kill, name)) for name in names]
    return all(told is None or known is None or told == known for told, known in pairs)


def _wants(kill: KillRecord) -> bool:
    return not kill.spared and any(getattr(kill, name) is None for name in _WANTED)
