# SPDX-License-Identifier: Apache-2.0
"""A process of its own that reads /proc/PID/cmdline, which may have to wait for the memory lock of that process.

It is a copy of the resident stage (fork) with all files closed but the socket for requests and answers. It exits when
the service closes its end of that socket. It may hang while it reads, until it is killed.
"""

# Not socket, which wraps this one and adds a megabyte of resident enumerations.
import _socket as socket
import os
import signal
import struct

from oomkilld import recordlayout
from oomkilld.host.childprocess import ChildProcess
from oomkilld.host.procfs import ProcReader
from oomkilld.host.syscall import call, name_process
from oomkilld.lighttyping import NoReturn
from oomkilld.record.kill import CommandLine

_PR_SET_PDEATHSIG = 1  # uapi/linux/prctl.h
_REQUEST = struct.Struct("=IQ")  # the process, its start in ticks
_ANSWER_BYTES = 1 + recordlayout.CMDLINE_ROOM
_NOTHING, _WHOLE, _CUT = b"-", b"=", b"<"


class HelperGone(Exception):
    """The helper has exited."""


class Helper(ChildProcess):
    """Takes one request at a time. ``proc``: where it reads."""

    def __init__(self, proc: ProcReader) -> None:
        super().__init__(lambda theirs: _start(theirs, proc))

    def ask(self, pid: int, start_ticks: int) -> None:
        """Ask for the command line of that process. Raises HelperGone."""
        try:
            self._socket.send(_REQUEST.pack(pid, start_ticks))
        except OSError as error:
            raise HelperGone from error

    def answer(self) -> CommandLine | None:
        """None: the process has left, is another one, or shows none. Raises BlockingIOError (not yet), HelperGone."""
        answer = self._receive(_ANSWER_BYTES)
        if not answer:
            raise HelperGone
        return CommandLine(answer[1:], cut=answer[:1] == _CUT) if len(answer) > 1 else None


def _start(theirs: socket.socket, proc: ProcReader) -> int:
    pid = os.fork()
    if pid == 0:
        _child(theirs, proc)
    return pid


def _child(ours: socket.socket, proc: ProcReader) -> NoReturn:
    try:
        # Otherwise, if the service is killed while this process hangs, systemd would wait for it.
        call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL))
        signal.set_wakeup_fd(-1)
        # At a stop, systemd signals all processes of the service; this one must serve until the service exits.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(ours.fileno())
        name_process(b"oomkilld-args")
        serve(ours, proc)
    finally:
        os._exit(0)


def _close_all_but(fd: int) -> None:
    """Above all the lock, which this process would go on holding."""
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
