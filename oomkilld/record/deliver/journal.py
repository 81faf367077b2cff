# SPDX-License-Identifier: Apache-2.0
"""Sends entries to journald through libsystemd, and waits for it at most once per turn of the loop, for up to 50 ms.

While others flood journald's queue, a send that does not wait always finds it full. The kernel wakes senders that wait
in order of arrival: unix_wait_for_peer() in net/unix/af_unix.c.
"""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import errno
import fcntl
import os
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import closing

# Not systemd.journal, which is the same function behind 2 MB of resident modules.
from systemd._journal import sendv

from oomkilld.errors import OomkilldError
from oomkilld.record.deliver.sink import Incarnation, JournalBusy, JournalRefused

SOCKET = "/run/systemd/journal/socket"
_INVOCATION = "/run/systemd/units/invocation:systemd-journald.service"
_FIRST_SEND_SECONDS = 0.05
# One send may wait twice: an entry that found no room is sent again by libsystemd, as a file. The kernel rounds each
# wait up to its ticks and adds one: 40 ms in total at CONFIG_HZ=100, 32 ms at 250.
_WAIT_USEC = 10_000
LAST_SECONDS = 0.2
_FULL = "its queue is full"
_TIMEVAL = struct.Struct("@ll")


class Journal:
    """The journal of this system; its calls wait at most once per turn of the loop, and briefly.

    ``hello`` is the first entry; where journald refuses it, mark() sends it again. ``entries``: number of entries sent;
    pings do not count, for journald stores none.
    """

    def __init__(self, hello: Sequence[bytes]) -> None:
        before = _open_sockets()
        self._hello: Sequence[bytes] | None = hello  # None: journald has taken it
        self.entries = 0
        self._send_first(hello)
        opened = _open_sockets() - before
        if not opened:
            raise OomkilldError(
                "libsystemd opened no socket to the journal, so this service could block in it",
                "report this, with the version of libsystemd",
            )
        self._fds = sorted(opened)
        for fd in self._fds:
            with closing(socket.socket(fileno=os.dup(fd))) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(0, _WAIT_USEC))
        self._block(False)
        self._may_wait = False
        self._sent_bytes = self._unread_bytes()  # as the kernel counts them; may be too low

    def begin_turn(self) -> None:
        """A turn of the loop begins: one send in it may wait."""
        self._may_wait = True

    def send(self, fields: Sequence[bytes]) -> None:
        """Queue one entry of ``NAME=value`` fields. Raises JournalRefused."""
        self._queue(lambda: sendv(*fields))
        self.entries += 1

    def ping(self) -> None:
        """Queue an empty datagram behind everything sent; journald ignores it. Raises JournalRefused."""
        with closing(socket.socket(fileno=os.dup(self._fds[0]))) as same:
            self._queue(lambda: same.sendto(b"", SOCKET))

    def incarnation(self) -> Incarnation:
        """The invocation id of journald ("": not run by systemd) and its socket's inode (0: no socket).

        Changes when journald restarts: entries that the previous one had not stored may be lost.
        """
        try:
            invocation = os.readlink(_INVOCATION)
        except OSError:
            invocation = ""  # not run by systemd
        try:
            return invocation, os.stat(SOCKET).st_ino
        except OSError:
            return invocation, 0

    def mark(self) -> int | None:
        """A mark of everything sent until now, by this run and earlier ones; None: it still refuses ``hello``.

        Entries of the previous run do not count as output of this run's socket, but journald reads them before
        anything that this run sends.
        """
        if self._hello is not None:
            try:
                self.send(self._hello)
            except JournalRefused:
                return None
            self._hello = None
        return self._sent_bytes

    def has_read(self, mark: int) -> bool:
        """Whether journald has read all up to ``mark``: no more bytes are unread than were sent after it."""
        return self._unread_bytes() <= self._sent_bytes - mark

    def wait_until_read(self) -> None:
        """Wait until journald has read everything, LAST_SECONDS at most.

        Once a sender has ended, journald may no longer find its unit, and ``journalctl -u`` does not show such entries.
        """
        deadline = time.monotonic() + LAST_SECONDS
        mark = self.mark()
        while mark is not None and not self.has_read(mark) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _queue(self, send: Callable[[], object]) -> None:
        # Without the socket, libsystemd drops the entry and reports success.
        if not os.path.exists(SOCKET):
            raise JournalRefused(f"{SOCKET} is missing")
        before = self._unread_bytes()
        try:
            try:
                send()
            except BlockingIOError:
                if not self._may_wait:
                    raise JournalBusy(_FULL) from None
                self._may_wait = False
                self._block(True)
                try:
                    send()
                finally:
                    self._block(False)
        except OSError as error:
            raise _refusal(error) from error
        # Too low if journald read some meanwhile: then has_read() turns true later than it could.
        self._sent_bytes += max(0, self._unread_bytes() - before)

    def _unread_bytes(self) -> int:
        """Bytes that journald has not read: a datagram counts as output until it is read, unix(7)."""
        queued = (fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)) for fd in self._fds)
        return sum(int.from_bytes(count, sys.byteorder) for count in queued)

    def _block(self, blocking: bool) -> None:
        for fd in self._fds:
            os.set_blocking(fd, blocking)

    def _send_first(self, fields: Sequence[bytes]) -> None:
        # libsystemd opens its socket, a blocking one, at the first send. If that send hangs, a signal interrupts it.
        handler = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
        signal.setitimer(signal.ITIMER_REAL, _FIRST_SEND_SECONDS, _FIRST_SEND_SECONDS)
        there = os.path.exists(SOCKET)
        try:
            sendv(*fields)
            if there:
                self._hello = None
                self.entries = 1
        except OSError:
            pass  # mark() sends it again
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)


def _refusal(error: OSError) -> Exception:
    """The exception for a failed send: MemoryError if this process is out of memory, else JournalRefused."""
    if error.errno == errno.ENOMEM:
        return MemoryError()  # this process is out of memory, not journald
    if isinstance(error, BlockingIOError):
        return JournalRefused(_FULL)
    if isinstance(error, FileNotFoundError):
        return JournalRefused(f"{SOCKET} is missing")
    return JournalRefused(os.strerror(error.errno or 0))


def _open_sockets() -> set[int]:
    """File descriptors of this process's sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found.add(int(name))
    return found
