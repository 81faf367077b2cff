# SPDX-License-Identifier: Apache-2.0
"""Watches every victim until its memory is free, and reports those that keep it for too long.

The kernel reports when a victim has freed its memory (a release). Without a release within STUCK_AFTER_NS, this module
looks for the process: some levels have no releases, and the ring may have had no room for one. If the process is still
there, it gets a ``stuck`` entry. Its pidfd is then held, and its exit gets a ``gone`` entry.

After a restart of journald, delivery may hand over the same releases again, in the order of the ring (delivery.py).
"""

import os
import select
from collections import deque
from collections.abc import Callable

from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import JournalRefused
from oomkilld.record.kill import Gone, KillRecord, Release, Stuck, Victim
from oomkilld.record.processes import CannotLook, KernelProcesses
from oomkilld.text import counted

STUCK_AFTER_NS = 10 * 10**9
RETRY_AFTER_NS = 10**9
# At 400 kills a second without releases, the last 0.6 s; at most a kilobyte each.
MAX_WAITING = 256
MAX_HELD = 64
_MAX_UNTOLD = 2 * MAX_HELD
# Most victims looked at in one call of check(): the loop has other duties.
_LOOKS = 64
_TOO_MANY = "too many at once"
# The kernel does not reuse the pid of a process that has left this soon.
_NUMBER_KEPT_NS = 60 * 10**9

_Process = tuple[int, int | None]


class _Watch(NamedTuple):
    """Look at ``victim`` at ``due_ns``: monotonic, because a victim cannot leave while the machine sleeps."""

    victim: Victim
    due_ns: int


class _Held(NamedTuple):
    """A victim that was found alive. ``due_ns`` None: it was due, and is reported as stuck; else look again then."""

    victim: Victim
    due_ns: int | None
    pidfd: int


class Outcome:
    """Never waits. ``tell`` sends an entry and may raise JournalRefused; ``every_exit``: report every victim's end.

    A process that several decisions hit is watched from its first kill on. ``fileno()`` becomes readable when
    ``check()`` is needed before ``due_ns``.
    """

    def __init__(
        self,
        tell: Callable[[Stuck | Gone], None],
        processes: KernelProcesses,
        clock: KernelClock,
        warn: Callable[[str], None],
        *,
        every_exit: bool,
    ) -> None:
        self._tell = tell
        self._processes = processes
        self._clock = clock
        self._warn = warn
        self._every_exit = every_exit
        self._waiting: dict[_Process, _Watch] = {}  # not looked at yet, oldest first
        self._held: dict[_Process, _Held] = {}
        self._untold: deque[Stuck | Gone] = deque()  # entries still to be sent
        self._retry_ns = 0
        self._unwatched: dict[str, int] = {}
        self._unwatched_before: dict[str, int] = {}
        self._epoll = select.epoll()

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def due_ns(self) -> int | None:
        """When to call check() at the latest (monotonic); None: no deadline."""
        if self._untold:
            return self._retry_ns
        watch = self._next_watch()
        return watch.due_ns if watch else None

    def watch(self, kill: KillRecord, fields: bytes) -> None:
        """Watch the victim of a kill whose entry was sent. ``fields``: see Victim."""
        if kill.spared or kill.victim_pid is None:
            return
        # The kernel's log does not say when it was started: by now its number may be another process's.
        if kill.victim_start_boottime_ns is None and self._clock.boottime_ns() - kill.kill_boottime_ns > STUCK_AFTER_NS:
            return
        victim = Victim(kill.victim_pid, kill.victim_start_boottime_ns, kill.kill_boottime_ns, fields)
        if victim.process in self._waiting or victim.process in self._held:
            return
        if len(self._waiting) >= MAX_WAITING and not self._make_room():
            self._leave_unwatched(_TOO_MANY)
            return
        left_ns = max(0, STUCK_AFTER_NS - self._age_ns(victim))
        self._waiting[victim.process] = _Watch(victim, self._clock.monotonic_ns() + left_ns)

    def released(self, release: Release) -> None:
        """Handle a release from the kernel. Raises JournalRefused: then nothing has changed, so call it again."""
        process = release.pid, release.start_boottime_ns or None
        held = self._held.get(process)
        watch = held or self._waiting.get(process)
        # A release from before the kill was handed over again, and belongs to an earlier kill.
        if watch is None or release.boottime_ns < watch.victim.kill_boottime_ns:
            return
        if self._every_exit or (held and held.due_ns is None):
            self._tell_all()
            self._tell(Gone(watch.victim, release.boottime_ns - watch.victim.kill_boottime_ns))
        self._forget(process)

    def check(self) -> None:
        """Notice exits, look at victims that are due, and send entries. Entries that journald refuses are retried."""
        self._notice_exits()
        if self._untold and self._clock.monotonic_ns() < self._retry_ns:
            return
        try:
            self._tell_all()
            for _ in range(_LOOKS):
                watch = self._next_watch()
                if watch is None or watch.due_ns > self._clock.monotonic_ns():
                    break
                self._forget(watch.victim.process)
                self._look(watch.victim, None)
                self._tell_all()
        except JournalRefused:
            self._retry_ns = self._clock.monotonic_ns() + RETRY_AFTER_NS

    def report(self) -> None:
        """Log how many victims were left unwatched, once no more were since the last call."""
        if self._unwatched == self._unwatched_before:
            self._say_unwatched()
        self._unwatched_before = self._unwatched.copy()

    def end(self) -> None:
        """Send the entries left, if journald takes them, and stop watching."""
        self.check()
        self._say_unwatched()
        for process in [*self._held]:
            self._forget(process)
        self._epoll.close()

    def _next_watch(self) -> _Watch | None:
        watches = [_Watch(held.victim, held.due_ns) for held in self._held.values() if held.due_ns is not None]
        for oldest in self._waiting.values():
            watches.append(oldest)
            break
        return min(watches, key=lambda watch: watch.due_ns, default=None)

    def _make_room(self) -> bool:
        """Look at the oldest victim early: it has most likely left. False: too many entries wait to be sent."""
        if len(self._untold) >= _MAX_UNTOLD:
            return False
        watch = next(iter(self._waiting.values()))
        self._forget(watch.victim.process)
        self._look(watch.victim, watch.due_ns)
        return True

    def _look(self, victim: Victim, due_ns: int | None) -> None:
        """Look for the process. ``due_ns`` None: it is due, and stuck if it is there; else this look is early."""
        try:
            found = self._processes.find(victim)
        except CannotLook as error:
            self._leave_unwatched(str(error))
            return
        if found is None:
            if self._every_exit:
                self._untold.append(Gone(victim, None))
            return
        if found.state is None and self._age_ns(victim) > _NUMBER_KEPT_NS:
            os.close(found.pidfd)
            self._leave_unwatched("/proc hides which process has its pid")
            return
        if due_ns is None:
            self._untold.append(Stuck(victim, self._age_ns(victim), found.state))
        if len(self._held) < MAX_HELD:
            self._held[victim.process] = _Held(victim, due_ns, found.pidfd)
            self._epoll.register(found.pidfd, select.EPOLLIN)
        else:
            os.close(found.pidfd)
            self._leave_unwatched(_TOO_MANY)

    def _notice_exits(self) -> None:
        if not self._held:
            return
        left = {fd for fd, _events in self._epoll.poll(0, MAX_HELD)}
        for process, held in [*self._held.items()]:
            if held.pidfd in left:
                self._forget(process)
                if self._every_exit or held.due_ns is None:
                    self._untold.append(Gone(held.victim, self._age_ns(held.victim)))

    def _forget(self, process: _Process) -> None:
        self._waiting.pop(process, None)
        held = self._held.pop(process, None)
        if held:
            self._epoll.unregister(held.pidfd)
            os.close(held.pidfd)

    def _tell_all(self) -> None:
        while self._untold:
            self._tell(self._untold[0])
            self._untold.popleft()

    def _leave_unwatched(self, reason: str) -> None:
        self._unwatched[reason] = self._unwatched.get(reason, 0) + 1

    def _say_unwatched(self) -> None:
        for reason, count in self._unwatched.items():
            victims = counted(count, "victim", "victims")
            self._warn(f"Failed to watch {victims} to the end: {reason}, ignoring")
        self._unwatched = {}

    def _age_ns(self, victim: Victim) -> int:
        return max(0, self._clock.boottime_ns() - victim.kill_boottime_ns)
