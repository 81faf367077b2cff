# SPDX-License-Identifier: Apache-2.0
"""The process that looks for kills in the kernel's log, as the resident stage sees it; see recall/main.py."""

import marshal
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NamedTuple, Protocol

# The process finds its end of the socket there.
SOCKET = 3
LOG_IS_READ = b"log"
_GO_ON = b"+"
_MESSAGE_BYTES = 64 << 10
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from oomkilld.recall.main import main; sys.exit(main())"


class Asked(NamedTuple):
    """How many kills are looked for, how many are taken at once, and what ids are made of."""

    kills: int
    at_most: int
    boot_id: bytes
    page_bytes: int


# Its other messages: (KILL, the record's values, how many more of the kernel's count are this one), and at last
# (END, the kernel's names of constraints by number, how many kills have no entry; how many of before the log was read
# have one, and how often the kernel counted these once more).
KILL, END = "kill", "end"


class Looker(Protocol):
    """The process; see Process."""

    def fileno(self) -> int:
        """Readable: there is a message, or it has ended."""

    def receive(self) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError."""

    def go_on(self) -> None:
        """The journal may be read now."""

    def kill(self) -> None:
        """It need not be dead at once: see reaped()."""

    def reaped(self) -> bool:
        """Whether it is dead and put away."""


class Process:
    """See Looker. Raises OSError where there is no room for it."""

    def __init__(self, asked: Asked) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._pid = _spawn(theirs)
            except OSError:
                self._socket.close()
                raise
        self._socket.setblocking(False)
        with suppress(OSError):  # if it has ended already, that is received
            self._socket.send(marshal.dumps(tuple(asked)))

    def fileno(self) -> int:
        """See Looker."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """See Looker."""
        try:
            return self._socket.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def go_on(self) -> None:
        """See Looker."""
        with suppress(OSError):  # it has ended, and that is received
            self._socket.send(_GO_ON)

    def kill(self) -> None:
        """See Looker."""
        self._socket.close()
        os.kill(self._pid, signal.SIGKILL)

    def reaped(self) -> bool:
        """See Looker."""
        return os.waitpid(self._pid, os.WNOHANG)[0] == self._pid


def _spawn(theirs: socket.socket) -> int:
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-I", "-c", _BOOTSTRAP, package_root]
    # Not a copy of this process: that would need its memory once more.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET)]
    return os.posix_spawn(
        sys.executable, command, os.environ, file_actions=actions, setsigdef=(signal.SIGINT, signal.SIGTERM)
    )
