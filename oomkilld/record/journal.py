# SPDX-License-Identifier: Apache-2.0
"""Sends entries to journald through libsystemd, without ever waiting for it."""

import errno
import fcntl
import os
import signal
import socket
import sys
import termios
from collections.abc import Sequence

# Not systemd.journal, which is the same function behind 2 MB of resident modules.
from systemd._journal import sendv

from oomkilld.errors import OomkilldError
from oomkilld.record.sink import Incarnation, JournalRefused

SOCKET = "/run/systemd/journal/socket"
_INVOCATION = "/run/systemd/units/invocation:systemd-journald.service"
_FIRST_SEND_SECONDS = 0.05


class JournalUnusable(OomkilldError):
    """libsystemd does not work as this program relies on."""


class Journal:
    """The journal of this system. ``hello`` is the first entry, sent again later when journald hangs."""

    def __init__(self, hello: Sequence[bytes]) -> None:
        before = _open_sockets()
        self._hello: Sequence[bytes] | None = hello  # None: it was taken
        self._send_first(hello)
        opened = _open_sockets() - before
        if not opened:
            raise JournalUnusable(
                "libsystemd opened no socket to the journal, so it cannot be kept from blocking",
                "report this, with the version of libsystemd",
            )
        self._fds = sorted(opened)
        for fd in self._fds:
            os.set_blocking(fd, False)

    def send(self, fields: Sequence[bytes]) -> None:
        """Queue one entry with journald. Raises JournalRefused at once instead of waiting."""
        # Without the socket, libsystemd drops the entry and reports success.
        if not os.path.exists(SOCKET):
            raise JournalRefused(f"{SOCKET} is missing")
        try:
            sendv(*fields)
        except OSError as error:
            raise _refusal(error) from error

    def ping(self) -> None:
        """Queue something behind all that was sent: an empty datagram, of which journald takes no notice.

        Raises JournalRefused.
        """
        try:
            with socket.socket(fileno=os.dup(self._fds[0])) as same:
                same.sendto(b"", SOCKET)
        except OSError as error:
            raise _refusal(error) from error

    def incarnation(self) -> Incarnation:
        """Changes when journald was started anew: what the one before had not stored may be lost."""
        try:
            invocation = os.readlink(_INVOCATION)
        except OSError:
            invocation = ""  # not run by systemd
        try:
            return invocation, os.stat(SOCKET).st_ino
        except OSError:
            return invocation, 0

    def unread(self) -> bool:
        """Whether journald has not read all of it: a datagram counts as output until then, unix(7).

        What a run before has sent is behind no socket of this one, but before everything that this one sends.
        """
        if self._hello is not None:
            try:
                self.send(self._hello)
            except JournalRefused:
                return True
            self._hello = None
        queued = (fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)) for fd in self._fds)
        return any(int.from_bytes(count, sys.byteorder) for count in queued)

    def _send_first(self, fields: Sequence[bytes]) -> None:
        # libsystemd opens its socket, which blocks, at the first send; a signal ends that one if it hangs.
        handler = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
        signal.setitimer(signal.ITIMER_REAL, _FIRST_SEND_SECONDS, _FIRST_SEND_SECONDS)
        there = os.path.exists(SOCKET)
        try:
            sendv(*fields)
            if there:
                self._hello = None
        except OSError:
            pass  # it is sent again
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)


def _refusal(error: OSError) -> Exception:
    """What it means that nothing was sent."""
    if error.errno == errno.ENOMEM:
        return MemoryError()  # it is this process that has none
    if isinstance(error, BlockingIOError):
        return JournalRefused("its queue is full")
    if isinstance(error, FileNotFoundError):
        return JournalRefused(f"{SOCKET} is missing")
    return JournalRefused(os.strerror(error.errno or 0))


def _open_sockets() -> set[int]:
    """This process's sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the listing's own
        if target.startswith("socket:"):
            found.add(int(name))
    return found
