# SPDX-License-Identifier: Apache-2.0
"""A process that looks something up for the resident stage; see the package recall."""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import marshal
import os
import signal
import sys
from array import array
from contextlib import closing, suppress

from oomkilld.lighttyping import Protocol
from oomkilld.recall.messages import GO_ON, MESSAGE_BYTES, Asked, AskedStored
from oomkilld.record.child import Killable

# The process finds its end of the socket there.
SOCKET = 3
# After a failure: memory may be short right now.
AGAIN_NS = (5 * 10**9, 30 * 10**9, 120 * 10**9)
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from oomkilld.recall.{} import main; sys.exit(main())"


class Looker(Killable, Protocol):
    """The process; see Process."""

    def receive(self) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError."""

    def go_on(self) -> None:
        """It waits for that, if it does."""


class Process:
    """See Looker. ``module``: of the package recall; ``asked``: what it is told first, and the kernel's log with that.

    Raises OSError where there is no room for it.
    """

    def __init__(self, module: str, asked: Asked | AskedStored, kernel_log: int | None = None) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with closing(theirs):
            try:
                self._pid = _spawn(module, theirs)
            except OSError:
                self._socket.close()
                raise
        self._socket.setblocking(False)
        with suppress(OSError):  # if it has ended already, that is received
            files = [] if kernel_log is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [kernel_log]))]
            self._socket.sendmsg([marshal.dumps(tuple(asked))], files)

    def fileno(self) -> int:
        """See Looker."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """See Looker."""
        try:
            return self._socket.recv(MESSAGE_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def go_on(self) -> None:
        """See Looker."""
        with suppress(OSError):  # it has ended, and that is received
            self._socket.send(GO_ON)

    def kill(self) -> None:
        """See Looker."""
        self._socket.close()
        os.kill(self._pid, signal.SIGKILL)

    def reaped(self) -> bool:
        """See Looker."""
        return os.waitpid(self._pid, os.WNOHANG)[0] == self._pid


def _spawn(module: str, theirs: socket.socket) -> int:
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-I", "-c", _BOOTSTRAP.format(module), package_root]
    # Not a copy of this process: that would need its memory once more.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET)]
    return os.posix_spawn(
        sys.executable, command, os.environ, file_actions=actions, setsigdef=(signal.SIGINT, signal.SIGTERM)
    )
