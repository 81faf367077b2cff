# SPDX-License-Identifier: Apache-2.0
"""Finds the process of a record among those that exist, and never takes another one for it."""

import errno
import os
import select
from collections.abc import Callable

from oomkilld.host.procfs import ProcessName, ProcessStat, ProcReader, ThreadStatus
from oomkilld.lighttyping import NamedTuple, TypeVar
from oomkilld.record.kill import Victim

# PROC_PID_INIT_INO, include/linux/proc_ns.h: process ids in the kernel's records are of this namespace.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
# What pidfd_open(2) returns for an unused id; for a thread's id one of the last two, depending on the kernel's version.
_NOBODY = (errno.ESRCH, errno.EINVAL, errno.ENOENT)
# What /proc returns for a process that has left, or that its option hidepid= hides from all but its tracers.
_NOT_SHOWN = (FileNotFoundError, ProcessLookupError, PermissionError)
# It always exists, is root's, and has all capabilities: where processes are hidden, only who may trace all sees it.
_KTHREADD = 2
_NS = 10**9

_Read = TypeVar("_Read", ProcessName, ThreadStatus)


class CannotLook(Exception):
    """It is unknown whether a victim still exists; the message says why."""


class Found(NamedTuple):
    """An existing process: a pidfd, which the caller must close, and the state of its first thread.

    ``state`` None: /proc hides it, and only its process id says that it is the victim.
    """

    pidfd: int
    state: str | None


class KernelProcesses:
    """Looks in /proc. ``boottime_offset_ns``: of this time namespace, by which the times in /proc are shifted."""

    def __init__(self, proc: ProcReader, boottime_offset_ns: int) -> None:
        self._proc = proc
        self._boottime_offset_ns = boottime_offset_ns
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")
        initial = proc.pid_namespace() in (None, _INITIAL_PID_NAMESPACE)
        self.obstacle = "" if initial else "not in the host's PID namespace"

    def find(self, victim: Victim) -> Found | None:
        """None: it has left, or is a zombie, which has no memory any more. Raises CannotLook.

        Reads nothing that could hang on the victim's locks.
        """
        if self.obstacle:
            raise CannotLook(self.obstacle)
        try:
            pidfd = os.pidfd_open(victim.pid)
        except OSError as error:
            if error.errno in _NOBODY:
                return None
            raise CannotLook(f"pidfd_open: {error.strerror}") from error
        found = None
        try:
            # Only after the pidfd: a process that had the id at the kill, and has it now, also had it in between.
            found = self._found(pidfd, victim)
        finally:
            if found is None:
                os.close(pidfd)
        return found

    def hidden(self) -> bool:
        """Whether /proc shows only processes that this one may trace (hidepid=, proc(5)), as if no others existed."""
        if self.obstacle:
            return False
        try:
            self._proc.process_stat(_KTHREADD)
        except (*_NOT_SHOWN, ValueError):
            return True
        return False

    def of_thread(self, tid: int, before_boottime_ns: int) -> ThreadStatus | None:
        """The process whose thread had this id at that time. None: it has left, or cannot be looked up."""
        return self._at(before_boottime_ns, self._proc.thread_status, tid)

    def name_of(self, pid: int, before_boottime_ns: int) -> ProcessName | None:
        """Of the process that had this id at that time. None: it has left, or cannot be looked up."""
        return self._at(before_boottime_ns, self._proc.process_name, pid)

    def _at(self, boottime_ns: int, read: Callable[[int], _Read], number: int) -> "_Read | None":
        if self.obstacle:
            return None
        try:
            found = read(number)
        except (OSError, ValueError):
            return None
        return found if found.start_ticks < self.ticks(boottime_ns) else None

    def _found(self, pidfd: int, victim: Victim) -> Found | None:
        """None: it is another process, or has left."""
        try:
            stat = self._proc.process_stat(victim.pid)
        except _NOT_SHOWN:
            stat = None  # it has left, or is hidden: the pidfd shows which
        except OSError as error:
            raise CannotLook(f"/proc/PID/stat: {error.strerror}") from error
        except ValueError as error:
            raise CannotLook(f"/proc/PID/stat: {error}") from error
        if _has_left(pidfd) or (stat and not self._is_victim(stat, victim)):
            return None
        return Found(pidfd, stat.state if stat else None)

    def _is_victim(self, stat: ProcessStat, victim: Victim) -> bool:
        if victim.start_boottime_ns is None:
            # The id was the victim's at the kill, so a process that started before the kill is the victim.
            return stat.start_ticks < self.ticks(victim.kill_boottime_ns)
        return stat.start_ticks == self.ticks(victim.start_boottime_ns)

    def ticks(self, boottime_ns: int) -> int:
        """As the kernel rounds them for /proc/PID/stat: fs/proc/array.c, nsec_to_clock_t()."""
        return (boottime_ns + self._boottime_offset_ns) * self._ticks_per_second // _NS


def _has_left(pidfd: int) -> bool:
    """Whether all threads have ended. Not by the state in /proc: it is the first thread's, which may end first."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
