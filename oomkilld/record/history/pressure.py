# SPDX-License-Identifier: Apache-2.0
"""Wakes the loop when tasks of this machine wait for memory: a trigger of PSI, Documentation/accounting/psi.rst."""

import os
import select

# 0.2 s of waiting within 2 s. Without CAP_SYS_RESOURCE the window must be a multiple of 2 s ("sched/psi: Allow
# unprivileged polling of N*2s period", Linux 6.5); earlier kernels refuse to open the file for writing.
# The kernel replaces the last byte.
_TRIGGER = b"some 200000 2000000\0"


class Stalls:
    """``fileno()`` becomes readable when the trigger fires and ``listen()`` wants it. ``reason``: why it never does.

    Whoever waits for ``fileno()`` takes the event: afterwards nothing shows any more that the trigger has fired. Create
    it before Landlock forbids to write.
    """

    def __init__(self, path: str = "/proc/pressure/memory") -> None:
        self._epoll = select.epoll()
        self._listens = False
        self._fd: int | None = None
        self.reason = ""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._fd, _TRIGGER)
        except OSError as error:
            self.reason = os.strerror(error.errno or 0)
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def fileno(self) -> int:
        return self._epoll.fileno()

    def listen(self, *, wanted: bool) -> None:
        """Whether the trigger may wake the loop."""
        if self._fd is None or wanted == self._listens:
            return
        self._listens = wanted
        if wanted:
            self._epoll.register(self._fd, select.EPOLLPRI)
        else:
            self._epoll.unregister(self._fd)

    def close(self) -> None:
        self._epoll.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
