# SPDX-License-Identifier: Apache-2.0
"""Knows which runs of the system's units there are, and were just now: by the links that PID 1 makes in /run.

It removes a unit's link within milliseconds of a kill that ends the unit (OOMPolicy=stop, kill), and makes another one
when the unit starts again, maybe before the kill is told. So each is read when it appears, and kept.

Of a user's unit nothing is known: its id lies in /run/user/UID/systemd/units/ (systemd 245), where root without
CAP_DAC_READ_SEARCH may not look (mode 0700, and ProtectHome= hides it), and where the user can write any other.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress

from oomkilld.host.cgrouppath import is_unit_name
from oomkilld.host.clock import Clock
from oomkilld.host.syscall import checked
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import KillRecord

# So many units; of others the link is read when it is asked for.
MAX_UNITS = 512
# Where a kill is known by the stamp of a line in the kernel's log, that is so far off at most.
STAMP_OFF_NS = 10**8
# How old the time that a file gets may be: a tick of the kernel's clock.
TICK_NS = 10**7

_PREFIX = b"invocation:"
_ID_DIGITS = 32
_MOVED_TO, _CREATE, _OVERFLOW, _IGNORED = 0x80, 0x100, 0x4000, 0x8000  # uapi/linux/inotify.h
_EVENT = struct.Struct("@iIII")
_READ_BYTES, _READS = 16 << 10, 64


class Run(NamedTuple):
    """One run of a unit: begun ``began_ns`` after the boot, or some ms later; that of then at ``seen_ns``."""

    id: bytes
    began_ns: int
    seen_ns: int


class Invocations:
    """``fileno()`` becomes readable when a unit has started; see parts.Awaited."""

    def __init__(self, clock: Clock, root: str = "/") -> None:
        self._clock = clock
        self._runs: dict[
            bytes, tuple[Run, ...]
        ] = {}  # by unit, the last two that are known to have followed each other
        self._directory: int | None = None
        path = os.path.join(os.fsencode(root), b"run/systemd/units")
        with suppress(OSError):  # systemd does not run
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._events, self._watches = self._watch(path)
        self._look_at_all()

    def fileno(self) -> int:
        """See Awaited."""
        return self._events

    @property
    def deadline_ns(self) -> None:
        """See Awaited."""

    def end(self) -> None:
        """See Awaited."""

    def check(self) -> None:
        """Read the links that were made since."""
        if not self._watches:
            return
        made: dict[bytes, int] = {}
        for mask, name in self._new_events():
            if mask & _IGNORED:  # whatever is there now is not PID 1's of before
                self._watches = False
            if mask & (_OVERFLOW | _IGNORED):
                self._look_at_all()
                return
            unit = name.removeprefix(_PREFIX)
            if unit != name:
                made[unit] = made.get(unit, 0) + 1
        for unit, times in made.items():
            self._take(unit, all_seen=times == 1)

    def of(self, unit: bytes, kill: KillRecord) -> bytes | None:
        """The id of the run that was killed in, 32 hex digits.

        None: systemd does not run, or ``unit`` is no name of one, or it is not known which run that was.
        """
        self.check()
        runs = self._runs.get(unit)
        if runs is None:
            found = self._read(unit)
            runs = () if found is None else (found,)
        return _killed_in(runs, unit, kill)

    def _watch(self, path: bytes) -> tuple[int, bool]:
        """The file to wait for, and whether it tells of links."""
        with suppress(OSError):
            events = checked("inotify_init1", "inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                # A link is made with another name first. Without that, two in a row for one unit would be one event.
                checked("inotify_add_watch", "inotify_add_watch", events, path + b"\0", _MOVED_TO | _CREATE)
            except OSError:
                return events, False
            return events, True
        return os.eventfd(0, os.EFD_CLOEXEC), False  # no more of them are to be had

    def _new_events(self) -> Iterator[tuple[int, bytes]]:
        """The kind of each, and the name of the link."""
        for _ in range(_READS):
            try:
                content = os.read(self._events, _READ_BYTES)
            except BlockingIOError:
                return
            at = 0
            while at < len(content):
                _watch, mask, _cookie, length = _EVENT.unpack_from(content, at)
                at += _EVENT.size + length
                yield mask, content[at - length : at].rstrip(b"\0")
        yield _OVERFLOW, b""

    def _look_at_all(self) -> None:
        """Whatever was known may be of before."""
        self._runs.clear()
        if self._directory is None or not self._watches:
            return
        for name in os.listdir(self._directory):
            unit = os.fsencode(name).removeprefix(_PREFIX)
            if (run := self._read(unit)) is not None:
                self._keep(unit, (run,))

    def _take(self, unit: bytes, *, all_seen: bool) -> None:
        """A link was made. Where others may have been in between, what was before does not tell of them."""
        before = self._runs.pop(unit, ())[-1:]
        run = self._read(unit)
        if run is None:  # it is gone already
            return
        if before and before[0].id == run.id:
            self._keep(unit, before)
        else:
            self._keep(unit, (*before, run) if all_seen else (run,))

    def _keep(self, unit: bytes, runs: tuple[Run, ...]) -> None:
        if len(self._runs) >= MAX_UNITS:
            del self._runs[next(iter(self._runs))]
        self._runs[unit] = runs

    def _read(self, unit: bytes) -> Run | None:
        if self._directory is None or not is_unit_name(unit):
            return None
        name = _PREFIX + unit
        try:
            made = self._made(name)
            target = os.readlink(name, dir_fd=self._directory)
            if self._made(name) != made:  # it is another one now
                return None
        except OSError:
            return None
        if len(target) != _ID_DIGITS or target.translate(None, b"0123456789abcdef"):
            return None
        now_ns = self._clock.boottime_ns()
        return Run(target, min(now_ns, made[1] - self._clock.realtime_ns() + now_ns), now_ns)

    def _made(self, name: bytes) -> tuple[int, int]:
        """Which link that is, and when it was made. Raises OSError."""
        found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        return found.st_ino, found.st_mtime_ns


def _killed_in(runs: tuple[Run, ...], unit: bytes, kill: KillRecord) -> bytes | None:
    """The id of the one of them, the last of which is the last of all."""
    killed_ns, started_ns = kill.kill_boottime_ns, kill.victim_start_boottime_ns
    for run in reversed(runs):
        if started_ns is None:
            if abs(killed_ns - run.began_ns) < STAMP_OFF_NS:
                return None
            was_in = killed_ns > run.began_ns
        else:
            # Into a scope processes come that were there before it, and a link's time is that of the last tick.
            into_it = unit.endswith(b".scope") and killed_ns >= run.began_ns + TICK_NS
            was_in = killed_ns >= run.seen_ns or (killed_ns >= run.began_ns and started_ns >= run.began_ns) or into_it
        if was_in:
            return run.id
    return None
