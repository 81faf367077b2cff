# SPDX-License-Identifier: Apache-2.0
"""The flight recorder as a part of the loop: when it samples, walks the tree, and sends what led up to a kill.

It wakes the loop only while it samples every second, for an entry that is due, and with a sign of trouble.
"""

import os
import resource
from array import array
from collections.abc import Callable

from oomkilld.host.cgroupfs import CGROUP_ROOT, memory_hierarchy
from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.enrich.enrich import LedUp
from oomkilld.record.enrich.flood import owner_of
from oomkilld.record.entry.origin import Origin
from oomkilld.record.history import pace
from oomkilld.record.history.before import Known
from oomkilld.record.history.entry import Report, history_entry
from oomkilld.record.history.meminfo import Meminfo
from oomkilld.record.history.pace import Pace
from oomkilld.record.history.rings import HOST, MAX_CGROUPS, Rings
from oomkilld.record.history.sampled import Cgroups
from oomkilld.record.history.signs import Signs
from oomkilld.record.history.tree import Walk
from oomkilld.record.kill import KillRecord, decision_id

_NS = 10**9
_SECOND, _TICK = 0, 1  # of rings.GRID
WALK_EVERY_NS = 60 * _NS
# A new cgroup may be what makes the pace fast; but not each time.
_WALK_AGAIN_NS = 12 * _NS
# Of one turn of the loop, which has other duties.
WALK_TURN_NS = 15 * 10**6
# The entry is sent this much after the decision, so that it shows what the kill freed.
REPORT_AFTER_NS = 3 * _NS
# No more entries than this in that time, half of them for one owner (see flood.py), and only one of a domain.
REPORTS_WITHIN_NS, MAX_REPORTS = 10 * _NS, 8
_RETRY_NS, _RETRIES = _NS, 20
# Files that a cgroup needs, and the service for other things.
_FILES, _OTHER_FILES = 2, 128
# The root of a hierarchy; in a cgroup namespace it has another inode, and records have paths from the real root.
_ROOT_INODE = 1


class _Waiting(NamedTuple):
    """An entry that is due at ``due_ns``, after ``tries`` that journald refused."""

    report: Report
    due_ns: int
    tries: int


class Target(NamedTuple):
    """Where entries go, and the service's own warnings."""

    sink: Sink
    warn: Callable[[str], None]


class Recorder:
    """See enrich.History. ``fileno()`` readable: call stirred(). Its times are of CLOCK_BOOTTIME."""

    def __init__(
        self, known: Known, readers: tuple[Meminfo, Signs], clock: KernelClock, origin: Origin, target: Target
    ) -> None:
        self._known = known
        self._rings = known.rings
        self._cgroups = known.cgroups
        self._meminfo, self._signs = readers
        self._clock = clock
        self._origin = origin
        self._sink, self._warn = target
        self._has_warned = False
        self._pace = Pace()
        self._values = array("I", bytes(4 * self._rings.columns))
        self._begins = False  # a fast time, in which what grows is compared with now
        self._walk: Walk | None = None
        self._walked_ns: int | None = None  # when the last walk began
        self._asleep_ns = clock.boottime_ns() - clock.monotonic_ns()
        self._decision: tuple[tuple[int | None, ...], LedUp] | None = None
        self._reported: dict[bytes, tuple[int, bytes]] = {}  # when a domain had a decision that gets an entry; owner
        self._waiting: list[_Waiting] = []

    def fileno(self) -> int:
        return self._signs.fileno()

    @property
    def due_ns(self) -> int | None:
        """When to call check() at the latest (monotonic); None: with the next turn of the loop."""
        due = [waiting.due_ns for waiting in self._waiting]
        now_ns = self._clock.boottime_ns()
        if self._pace.is_fast:
            due.append((now_ns // _NS + 1) * _NS)
        return self._clock.monotonic_ns() + min(due) - now_ns if due else None

    def stirred(self) -> None:
        """A sign of trouble has woken the loop."""
        for sign in self._cgroups.at_limit(self._signs.changed()) or [pace.STALL]:
            self._stir(sign)

    def check(self, *, may_send: bool) -> None:
        """Sample, walk on and send what is due. ``may_send``: journald takes entries; kills take precedence."""
        now_ns = self._clock.boottime_ns()
        if self._rings.is_free(now_ns, _SECOND if self._pace.is_fast else _TICK):
            self._sample(now_ns)
        self._send(now_ns, may_send=may_send)

    def before(self, kill: KillRecord, cause: Cause) -> LedUp:
        """What led up to this kill. The first one of a decision may get a ``history`` entry later."""
        decision = (kill.trigger_tid, kill.decision_boottime_ns, kill.decision_logged_usec)
        if self._decision is not None and self._decision[0] == decision and any(decision[1:]):
            return self._decision[1]
        now_ns = self._clock.boottime_ns()
        self._notice_suspend(now_ns)
        before = self._known.before(kill, cause, now_ns)
        self._decision = decision, before.led_up
        self._stir(kill.domain_cgroup or pace.HOST)
        identity, domain = decision_id(kill, self._origin.boot_id), kill.domain_cgroup or b""
        is_known = identity is not None and before.led_up.window_ns is not None
        if identity is not None and is_known and self._may_report(domain, owner_of(kill, cause), now_ns):
            boot_realtime_ns = self._clock.realtime_ns() - now_ns
            report = Report(identity, before, boot_realtime_ns, cause.domain, kill.domain_cgroup)
            self._waiting.append(_Waiting(report, max(now_ns, before.at_ns + REPORT_AFTER_NS), 0))
        return before.led_up

    def _may_report(self, domain: bytes, owner: bytes, now_ns: int) -> bool:
        self._reported = {of: each for of, each in self._reported.items() if now_ns - each[0] < REPORTS_WITHIN_NS}
        of_owner = sum(each[1] == owner for each in self._reported.values())
        if domain in self._reported or max(len(self._reported), len(self._waiting), 2 * of_owner) >= MAX_REPORTS:
            return False
        self._reported[domain] = now_ns, owner
        return True

    def _stir(self, sign: bytes) -> None:
        now_ns = self._clock.boottime_ns()
        self._begins |= self._pace.stir(sign, now_ns)
        self._listen(now_ns)

    def _listen(self, now_ns: int) -> None:
        self._signs.listen(wanted=not self._pace.is_fast and not self._pace.rests(pace.STALL, now_ns))
        if not self._pace.is_fast:
            self._cgroups.await_limits(self._signs, lambda path: self._pace.rests(path, now_ns))

    def _notice_suspend(self, now_ns: int) -> None:
        """After a suspend the samples from before it say nothing about how fast memory grows."""
        asleep_ns = now_ns - self._clock.monotonic_ns()
        if asleep_ns - self._asleep_ns >= _NS:
            self._known.whole_since_ns = now_ns
        # Time between the readings of the two clocks makes this too small, and would make the next one seem to jump.
        self._asleep_ns = max(self._asleep_ns, asleep_ns)

    def _sample(self, now_ns: int) -> None:
        self._notice_suspend(now_ns)
        machine = self._meminfo.read(self._values)
        came_near = self._cgroups.read(self._values, now_ns)
        self._rings.add(now_ns, self._values)
        self._known.total = machine.total
        if self._pace.available(machine.available, machine.total):
            self._stir(pace.HOST)
        for path in came_near:
            self._stir(path)
        if self._begins:
            self._begins = False
            self._cgroups.grow_without_cache(now_ns)
            if self._walked_ns is not None and now_ns - self._walked_ns >= _WALK_AGAIN_NS:
                self._begin_walk(now_ns)
        elif self._pace.is_over(now_ns):
            # Both, so that both count from now on.
            grows = self._cgroups.grow_without_cache(now_ns)
            if grows or self._pace.machine_shrinks(machine.total):
                self._pace.prolong(now_ns)
            else:
                self._pace.end(now_ns)
        self._go_on_walking(now_ns)
        self._listen(now_ns)

    def _begin_walk(self, now_ns: int) -> None:
        if self._walk is None:
            root, hierarchy = self._known.root, self._cgroups.hierarchy
            self._walk = Walk(hierarchy, root, self._cgroups.wanted, self._cgroups.usage_of, now_ns)
            self._walked_ns = now_ns

    def _go_on_walking(self, now_ns: int) -> None:
        if self._walked_ns is None or now_ns - self._walked_ns >= WALK_EVERY_NS:
            self._begin_walk(now_ns)
        if self._walk is None:
            return
        until_ns = self._clock.monotonic_ns() + WALK_TURN_NS
        if not self._walk.go_on(lambda: self._clock.monotonic_ns() >= until_ns):
            return
        walk, self._walk = self._walk, None
        self._cgroups.choose(walk, self._known.seen, now_ns)
        self._known.seen = walk.seen()
        if (error := self._cgroups.cannot_open) and not self._has_warned:
            self._has_warned = True
            self._warn(f"Failed to open the files of some cgroups: {error.strerror}, not sampling them")
        if not self._pace.is_fast and self._cgroups.grow_without_cache(now_ns):
            self._stir(pace.GROWTH)

    def _send(self, now_ns: int, *, may_send: bool) -> None:
        left = []
        for waiting in self._waiting:
            if waiting.due_ns > now_ns:
                left.append(waiting)
            elif not (may_send and self._is_sent(waiting.report, now_ns)) and waiting.tries < _RETRIES:
                left.append(waiting._replace(due_ns=now_ns + _RETRY_NS, tries=waiting.tries + 1))
        self._waiting = left

    def _is_sent(self, report: Report, now_ns: int) -> bool:
        try:
            self._sink.send(history_entry(report, self._rings, now_ns, self._origin))
        except JournalRefused:
            return False
        return True

    def end(self) -> None:
        """Send what waits, if journald takes it, and close all files."""
        now_ns = self._clock.boottime_ns()
        for waiting in self._waiting:
            self._is_sent(waiting.report, now_ns)
        self._waiting = []
        if self._walk is not None:
            self._walk.close()
        self._cgroups.close()
        self._meminfo.close()
        self._signs.close()
        os.close(self._known.root)


def begin(cgroups: int, clock: KernelClock, origin: Origin, target: Target, root: str = CGROUP_ROOT) -> Recorder | None:
    """A recorder of at most so many ``cgroups``; None: this system has nothing to sample. Call it before Landlock."""
    hierarchy = memory_hierarchy(root)
    if hierarchy is None:
        target.warn("Failed to find cgroups of the memory controller, recording nothing of what leads up to kills")
        return None
    try:
        meminfo = Meminfo(origin.page_bytes)
        fd = os.open(hierarchy.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        target.warn(f"Failed to open {error.filename}: {error.strerror}, recording nothing of what leads up to kills")
        return None
    wanted = min(cgroups, MAX_CGROUPS, _files())
    rings = Rings(HOST + wanted)
    sampled = Cgroups(hierarchy, fd, rings, origin.page_bytes)
    known = Known(rings, sampled, fd, origin.page_bytes, is_rooted=os.fstat(fd).st_ino == _ROOT_INODE)
    return Recorder(known, (meminfo, Signs()), clock, origin, target)


def _files() -> int:
    """How many files the limit leaves for cgroups, at least one."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CGROUPS if limit < 0 else max(1, (limit - _OTHER_FILES) // _FILES)
