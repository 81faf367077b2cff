# SPDX-License-Identifier: Apache-2.0
"""A process of its own that reads /proc/PID/cmdline, which may have to wait for the memory lock of the other.

A copy of the resident stage (fork), with all its files closed but the socket over which it is asked and answers. It
ends when the service's end of that socket is closed. It may be stuck while it reads, until it is killed.
"""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import os
import signal
import struct
from contextlib import closing

from oomkilld import recordlayout
from oomkilld.host.procfs import ProcReader
from oomkilld.host.syscall import call, name_process
from oomkilld.lighttyping import NoReturn
from oomkilld.record.kill import CommandLine

_PR_SET_PDEATHSIG = 1  # uapi/linux/prctl.h
_REQUEST = struct.Struct("=IQ")  # the process, its start in ticks
_ANSWER_BYTES = 1 + recordlayout.CMDLINE_ROOM
_NOTHING, _WHOLE, _CUT = b"-", b"=", b"<"


class HelperGone(Exception):
    """It has ended."""


class Helper:
    """Asked about one process at a time. ``proc``: where it reads. Raises OSError when there is no room for it."""

    def __init__(self, proc: ProcReader) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with closing(theirs):
            try:
                self.pid = os.fork()
            except OSError:
                self._socket.close()
                raise
            if self.pid == 0:
                _child(theirs, proc)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Readable: there is an answer, or it has ended."""
        return self._socket.fileno()

    def ask(self, pid: int, start_ticks: int) -> None:
        """For the command line of that process. Raises HelperGone."""
        try:
            self._socket.send(_REQUEST.pack(pid, start_ticks))
        except OSError as error:
            raise HelperGone from error

    def answer(self) -> CommandLine | None:
        """None: it has left, is another process, or tells nothing. Raises BlockingIOError (not yet), HelperGone."""
        try:
            answer = self._socket.recv(_ANSWER_BYTES)
        except BlockingIOError:
            raise
        except OSError as error:
            raise HelperGone from error
        if not answer:
            raise HelperGone
        return CommandLine(answer[1:], cut=answer[:1] == _CUT) if len(answer) > 1 else None

    def kill(self) -> None:
        """It need not be dead at once: see reaped()."""
        self._socket.close()
        os.kill(self.pid, signal.SIGKILL)

    def reaped(self) -> bool:
        """Whether it is dead and put away."""
        return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid


def _child(ours: socket.socket, proc: ProcReader) -> NoReturn:
    try:
        # Else it would be waited for where the service is killed while this is stuck.
        call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL))
        signal.set_wakeup_fd(-1)
        # systemd tells all processes of the service to end; this one is needed to the last.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(ours.fileno())
        name_process(b"oomkilld-args")
        serve(ours, proc)
    finally:
        os._exit(0)


def _close_all_but(fd: int) -> None:
    """The lock above all, which would be held on."""
    os.closerange(0, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))


def serve(ours: socket.socket, proc: ProcReader) -> None:
    """Answer until the other end is closed."""
    while request := ours.recv(_REQUEST.size):
        pid, start_ticks = _REQUEST.unpack(request)
        try:
            text = proc.command_line(pid, start_ticks, recordlayout.CMDLINE_ROOM)
        except (OSError, ValueError):
            text = None
        if text:
            ours.send((_CUT if len(text) == recordlayout.CMDLINE_ROOM else _WHOLE) + text)
        else:
            ours.send(_NOTHING)
