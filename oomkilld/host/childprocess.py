# SPDX-License-Identifier: Apache-2.0
"""One child process at a time for the resident stage, which blocks neither on its output nor on its end."""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import os
import select
import signal
from collections.abc import Callable
from contextlib import closing

from oomkilld.lighttyping import Generic, TypeVar


class ChildProcess:
    """A process at the other end of a socket. ``fileno()``: readable when it has sent something or has ended.

    ``start`` gets that end and returns the process id. Raises OSError if the process cannot be started.
    """

    def __init__(self, start: Callable[[socket.socket], int]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with closing(theirs):
            try:
                self.pid = start(theirs)
            except OSError:
                self._socket.close()
                raise
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def kill(self) -> None:
        """Kill the process. It may take a moment to die: see reaped()."""
        self._socket.close()
        os.kill(self.pid, signal.SIGKILL)

    def reaped(self) -> bool:
        """Reap the process if it is dead, and return whether it is."""
        return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid

    def _receive(self, at_most: int) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError: none has arrived."""
        try:
            return self._socket.recv(at_most)
        except BlockingIOError:
            raise
        except OSError:
            return b""


P = TypeVar("P", bound=ChildProcess)


class Child(Generic[P]):
    """``now``: the current process, or None. ``fileno()`` becomes readable when that process does."""

    def __init__(self) -> None:
        self.now: P | None = None
        self._dying: list[P] = []
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """The same descriptor for every process."""
        return self._epoll.fileno()

    def become(self, process: P) -> None:
        """Replace the current process. Raises OSError, and kills ``process``, if it cannot be polled."""
        self.drop()
        try:
            self._epoll.register(process.fileno(), select.EPOLLIN)
        except OSError:
            process.kill()
            self._dying.append(process)
            raise
        self.now = process

    def drop(self) -> None:
        """Kill the current process."""
        if self.now is not None:
            self._epoll.unregister(self.now.fileno())
            self.now.kill()
            self._dying.append(self.now)
            self.now = None

    def reap(self) -> None:
        """Reap killed processes that are dead. Call it now and then."""
        self._dying = [process for process in self._dying if not process.reaped()]

    def end(self) -> None:
        """Kill the current process and accept no other."""
        self.drop()
        self.reap()
        self._epoll.close()
