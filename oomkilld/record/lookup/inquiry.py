# SPDX-License-Identifier: Apache-2.0
"""A process that looks something up for the resident stage; see the room lookup."""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import marshal
import os
import signal
import sys
from array import array
from contextlib import closing, suppress

from oomkilld.host.childprocess import Killable
from oomkilld.lighttyping import Protocol
from oomkilld.record.lookup.protocol import ALL, GO_ON, ID_BYTES, MESSAGE_BYTES, SOCKET, Asked, AskedStored
from oomkilld.service.handover import PACKAGE_ROOT

# After a failure: memory may be short right now.
AGAIN_NS = (5 * 10**9, 30 * 10**9, 120 * 10**9)
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from oomkilld.record.lookup.{} import main; sys.exit(main())"

_FIRST_NS, _LAST_NS = 20 * 10**6, 2 * 10**9

# So many more are asked for: there may be others between them, that were found in the kernel's log or are there twice.
MORE = 600


class Looks:
    """When to look after what is there within milliseconds, or, where journald is stopped, after hours.

    Less and less often. ``next_ns``: when to look again (monotonic).
    """

    def __init__(self) -> None:
        self.next_ns, self._after_ns = 0, _FIRST_NS

    def looked(self, now_ns: int) -> None:
        """And it was not there."""
        if now_ns >= self.next_ns:
            self.next_ns = now_ns + self._after_ns
            self._after_ns = min(2 * self._after_ns, _LAST_NS)


class Looker(Killable, Protocol):
    """The process; see Process."""

    def receive(self) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError."""

    def go_on(self) -> None:
        """It waits for that, if it does."""


class Process:
    """See Looker. ``module``: of the room lookup; ``asked``: what it is told first, and the kernel's log with that.

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
    command = [sys.executable, "-I", "-c", _BOOTSTRAP.format(module), PACKAGE_ROOT]
    # Not a copy of this process: that would need its memory once more.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET)]
    return os.posix_spawn(
        sys.executable, command, os.environ, file_actions=actions, setsigdef=(signal.SIGINT, signal.SIGTERM)
    )


class CannotTell(Exception):
    """The process did not tell all. The message is the reason."""


class StoredIds:
    """Ids of the newest entries in the journal, as lookup/stored.py tells them; none, until then."""

    def __init__(self) -> None:
        self._ids = b""

    def take(self, looker: Looker) -> None:
        """To the last one. Raises BlockingIOError: there are more to come; CannotTell."""
        while (message := looker.receive()) != ALL:
            if not message or len(message) % ID_BYTES:
                raise CannotTell("the process that does it ended" if not message else "what was told is not ids")
            self._ids += message

    def all(self) -> set[bytes]:
        """To look for many."""
        return {self._ids[at : at + ID_BYTES] for at in range(0, len(self._ids), ID_BYTES)}

    def __contains__(self, kill_id: bytes) -> bool:
        at = self._ids.find(kill_id)
        while at >= 0 and at % ID_BYTES:
            at = self._ids.find(kill_id, at + 1)
        return at >= 0
