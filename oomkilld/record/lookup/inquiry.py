# SPDX-License-Identifier: Apache-2.0
"""Starts the processes of this room from the resident stage, and receives their messages."""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import marshal
import os
import signal
import sys
from array import array
from contextlib import suppress

from oomkilld.host.childprocess import ChildProcess
from oomkilld.record.lookup.protocol import ALL, GO_ON, ID_BYTES, MESSAGE_BYTES, SOCKET, Asked, AskedStored
from oomkilld.service.handover import PACKAGE_ROOT

# Pauses before the retries after a failure: memory may be short right now.
AGAIN_NS = (5 * 10**9, 30 * 10**9, 120 * 10**9)
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from oomkilld.record.lookup.{} import main; sys.exit(main())"

_FIRST_NS, _LAST_NS = 20 * 10**6, 2 * 10**9

# Ids requested beyond the entries in question: others may lie between them, found in the kernel log or sent twice.
MORE = 600


class Looks:
    """Growing intervals between checks of something that takes milliseconds, or hours where journald is stopped.

    ``due_ns``: when to check again (monotonic).
    """

    def __init__(self) -> None:
        self.due_ns, self._after_ns = 0, _FIRST_NS

    def looked(self, now_ns: int) -> None:
        """A check at ``now_ns`` found it not done yet."""
        if now_ns >= self.due_ns:
            self.due_ns = now_ns + self._after_ns
            self._after_ns = min(2 * self._after_ns, _LAST_NS)


class Process(ChildProcess):
    """``module``: a module of this room; ``asked``: its first message, with the open kernel log."""

    def __init__(self, module: str, asked: Asked | AskedStored, kernel_log: int | None = None) -> None:
        super().__init__(lambda theirs: _spawn(module, theirs))
        with suppress(OSError):  # it has ended already: receive() reports that
            files = [] if kernel_log is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [kernel_log]))]
            self._socket.sendmsg([marshal.dumps(tuple(asked))], files)

    def receive(self) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError: none has arrived."""
        return self._receive(MESSAGE_BYTES)

    def go_on(self) -> None:
        """Let it continue, if it waits: see protocol.GO_ON."""
        with suppress(OSError):  # it has ended: receive() reports that
            self._socket.send(GO_ON)


def _spawn(module: str, theirs: socket.socket) -> int:
    command = [sys.executable, "-I", "-c", _BOOTSTRAP.format(module), PACKAGE_ROOT]
    # Not fork(): a copy of this process would need its memory once more.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET)]
    return os.posix_spawn(
        sys.executable, command, os.environ, file_actions=actions, setsigdef=(signal.SIGINT, signal.SIGTERM)
    )


class CannotTell(Exception):
    """The process did not send all ids. The message is the reason."""


class StoredIds:
    """Ids of the newest entries in the journal, sent by lookup/stored.py; empty until they arrive."""

    def __init__(self) -> None:
        self._ids = b""

    def take(self, looker: Process) -> None:
        """Receive ids up to the last one. Raises BlockingIOError: more will arrive; CannotTell."""
        while (message := looker.receive()) != ALL:
            if not message or len(message) % ID_BYTES:
                raise CannotTell("the process ended early" if not message else "it sent no valid ids")
            self._ids += message

    def all(self) -> set[bytes]:
        return {self._ids[at : at + ID_BYTES] for at in range(0, len(self._ids), ID_BYTES)}

    def __contains__(self, kill_id: bytes) -> bool:
        at = self._ids.find(kill_id)
        while at >= 0 and at % ID_BYTES:
            at = self._ids.find(kill_id, at + 1)
        return at >= 0
