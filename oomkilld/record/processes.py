# SPDX-License-Identifier: Apache-2.0
"""Finds the process of a record among those that are there, and never takes another one for it."""

import errno
import os
import select

from oomkilld.host.procfs import ProcessStat, ProcReader, ThreadStatus
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.kill import Victim

# PROC_PID_INIT_INO, include/linux/proc_ns.h: the numbers in the kernel's records are those of this namespace.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
# What pidfd_open(2) says when nobody has the number; of a thread's number the last two, by the kernel's version.
_NOBODY = (errno.ESRCH, errno.EINVAL, errno.ENOENT)
# How /proc answers for one that has left, and, by its option hidepid=, for one that only its tracers may see.
_NOT_SHOWN = (FileNotFoundError, ProcessLookupError, PermissionError)
# Always there, root's, and with all capabilities: only who may trace everybody sees it where processes are hidden.
_KTHREADD = 2
_NS = 10**9


class CannotLook(Exception):
    """Whether a victim is still there cannot be told. The message is the reason."""


class Found(NamedTuple):
    """A process that is there: a pidfd, which is the caller's to close, and the state of its first thread.

    ``state`` None: /proc hides it, and only its number says that it is the victim.
    """

    pidfd: int
    state: str | None


class Processes(Protocol):
    """The processes of this machine."""

    def find(self, victim: Victim) -> Found | None:
        """None: it has left, or is a zombie, which has no memory any more. Raises CannotLook."""

    def of_thread(self, tid: int, before_boottime_ns: int) -> ThreadStatus | None:
        """Of the thread that had this number then; None: it has left, or cannot be looked for."""


class KernelProcesses:
    """The real ones. ``boottime_offset_ns``: of this time namespace, by which the times in /proc are shifted."""

    def __init__(self, proc: ProcReader, boottime_offset_ns: int) -> None:
        self._proc = proc
        self._boottime_offset_ns = boottime_offset_ns
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")
        initial = proc.pid_namespace() in (None, _INITIAL_PID_NAMESPACE)
        self.obstacle = "" if initial else "not the machine's PID namespace"

    def find(self, victim: Victim) -> Found | None:
        """See Processes. Reads nothing that could hang on the victim's locks."""
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
            # After the pidfd: who has the number now and had it at the kill had it in between, too.
            found = self._found(pidfd, victim)
        finally:
            if found is None:
                os.close(pidfd)
        return found

    def hidden(self) -> bool:
        """Whether /proc shows only what this process may trace (hidepid=, proc(5)), and no longer that it is there."""
        if self.obstacle:
            return False
        try:
            self._proc.process_stat(_KTHREADD)
        except (*_NOT_SHOWN, ValueError):
            return True
        return False

    def of_thread(self, tid: int, before_boottime_ns: int) -> ThreadStatus | None:
        """See Processes."""
        if self.obstacle:
            return None
        try:
            status = self._proc.thread_status(tid)
        except (OSError, ValueError):
            return None
        return status if status.start_ticks < self.ticks(before_boottime_ns) else None

    def _found(self, pidfd: int, victim: Victim) -> Found | None:
        """None: it is another process, or has left."""
        try:
            stat = self._proc.process_stat(victim.pid)
        except _NOT_SHOWN:
            stat = None  # it has left, or is hidden: the pidfd tells which
        except OSError as error:
            raise CannotLook(f"/proc/PID/stat: {error.strerror}") from error
        except ValueError as error:
            raise CannotLook(f"/proc/PID/stat: {error}") from error
        if _has_left(pidfd) or (stat and not self._is_victim(stat, victim)):
            return None
        return Found(pidfd, stat.state if stat else None)

    def _is_victim(self, stat: ProcessStat, victim: Victim) -> bool:
        if victim.start_boottime_ns is None:
            # The number was the victim's at the kill, and nobody who had it before that has left.
            return stat.start_ticks < self.ticks(victim.kill_boottime_ns)
        return stat.start_ticks == self.ticks(victim.start_boottime_ns)

    def ticks(self, boottime_ns: int) -> int:
        """As the kernel makes them for /proc/PID/stat, and as exactly: fs/proc/array.c, nsec_to_clock_t()."""
        return (boottime_ns + self._boottime_offset_ns) * self._ticks_per_second // _NS


def _has_left(pidfd: int) -> bool:
    """Readable once all threads have ended. The state in /proc is the first thread's: that may be the first to end."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
