# SPDX-License-Identifier: Apache-2.0
"""Knows the latest runs of each system unit, from the links that PID 1 makes in /run.

PID 1 removes a unit's link within milliseconds of a kill that ends the unit (OOMPolicy=stop, kill). It makes a new one
when the unit starts again, maybe before the kill is reported. So each link is read as soon as it appears, and kept.

The runs of user units are unknown. Their ids are in /run/user/UID/systemd/units/ (systemd 245), where root without
CAP_DAC_READ_SEARCH cannot look (mode 0700, and ProtectHome= hides it), and where the user can write any other id.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress

from oomkilld.host.cgrouppath import is_unit_name
from oomkilld.host.clock import KernelClock
from oomkilld.host.syscall import checked
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import KillRecord

# Units that are remembered; the link of any other is read on demand.
MAX_UNITS = 512
# How far off the time of a kill can be if it comes from a timestamp in the kernel log.
STAMP_OFF_NS = 10**8
# How old a file's timestamp can be when it is set: one tick of the kernel's clock.
TICK_NS = 10**7

_PREFIX = b"invocation:"
_ID_DIGITS = 32
_MOVED_TO, _CREATE, _OVERFLOW, _IGNORED = 0x80, 0x100, 0x4000, 0x8000  # uapi/linux/inotify.h
_EVENT = struct.Struct("@iIII")
_READ_BYTES, _READS = 16 << 10, 64


class Run(NamedTuple):
    """One run of a unit. It began ``began_ns`` after boot, or some ms later, and was the current one at ``seen_ns``."""

    id: bytes
    began_ns: int
    seen_ns: int


class Invocations:
    """``fileno()`` becomes readable when a unit starts; see parts.Awaited."""

    due_ns = None

    def __init__(self, clock: KernelClock, root: str = "/") -> None:
        self._clock = clock
        self._runs: dict[bytes, tuple[Run, ...]] = {}  # by unit: the last two, if one followed the other
        self._directory: int | None = None
        path = os.path.join(os.fsencode(root), b"run/systemd/units")
        with suppress(OSError):  # systemd is not running
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._events, self._watches = self._watch(path)
        self._look_at_all()

    def fileno(self) -> int:
        return self._events

    def end(self) -> None: ...

    def check(self) -> None:
        if not self._watches:
            return
        made: dict[bytes, int] = {}
        for mask, name in self._new_events():
            if mask & _IGNORED:  # the directory is gone; a new one may not be PID 1's
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
        """Id, 32 hex digits, of the run of ``unit`` in which ``kill`` happened.

        None: systemd is not running, ``unit`` is not a unit name, or the run is unknown.
        """
        self.check()
        runs = self._runs.get(unit)
        if runs is None:
            found = self._read(unit)
            runs = () if found is None else (found,)
        return _killed_in(runs, unit, kill)

    def _watch(self, path: bytes) -> tuple[int, bool]:
        """The file to wait for, and whether it reports links."""
        with suppress(OSError):
            events = checked("inotify_init1", "inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                # PID 1 makes a link under another name first. Without that event, two links in a row for one unit would
                # be one event.
                checked("inotify_add_watch", "inotify_add_watch", events, path + b"\0", _MOVED_TO | _CREATE)
            except OSError:
                return events, False
            return events, True
        return os.eventfd(0, os.EFD_CLOEXEC), False  # no inotify instance is left

    def _new_events(self) -> Iterator[tuple[int, bytes]]:
        """Mask and link name of each event."""
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
        """Read all links again: whatever is known may be outdated."""
        self._runs.clear()
        if self._directory is None or not self._watches:
            return
        for name in os.listdir(self._directory):
            unit = os.fsencode(name).removeprefix(_PREFIX)
            if (run := self._read(unit)) is not None:
                self._keep(unit, (run,))

    def _take(self, unit: bytes, *, all_seen: bool) -> None:
        """Read a new link. Unless ``all_seen``, other runs may lie in between, and the previous run is forgotten."""
        before = self._runs.pop(unit, ())[-1:]
        run = self._read(unit)
        if run is None:  # already gone
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
            if self._made(name) != made:  # it was replaced
                return None
        except OSError:
            return None
        if len(target) != _ID_DIGITS or target.translate(None, b"0123456789abcdef"):
            return None
        now_ns = self._clock.boottime_ns()
        return Run(target, min(now_ns, made[1] - self._clock.realtime_ns() + now_ns), now_ns)

    def _made(self, name: bytes) -> tuple[int, int]:
        """Inode and modification time of the link. Raises OSError."""
        found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        return found.st_ino, found.st_mtime_ns


def _killed_in(runs: tuple[Run, ...], unit: bytes, kill: KillRecord) -> bytes | None:
    """Id of the run in which ``kill`` happened. ``runs`` must end with the unit's last run."""
    killed_ns, started_ns = kill.kill_boottime_ns, kill.victim_start_boottime_ns
    for run in reversed(runs):
        if started_ns is None:
            if abs(killed_ns - run.began_ns) < STAMP_OFF_NS:
                return None
            was_in = killed_ns > run.began_ns
        else:
            # A scope takes in processes that are older than itself, and a link's time is that of the last tick.
            into_it = unit.endswith(b".scope") and killed_ns >= run.began_ns + TICK_NS
            was_in = killed_ns >= run.seen_ns or (killed_ns >= run.began_ns and started_ns >= run.began_ns) or into_it
        if was_in:
            return run.id
    return None
