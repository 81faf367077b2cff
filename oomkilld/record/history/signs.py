# SPDX-License-Identifier: Apache-2.0
"""What wakes the loop before its next tick: tasks of this machine wait for memory, or a cgroup has reached its limit.

The first is a trigger of PSI, Documentation/accounting/psi.rst; the second a change of a cgroup's memory.events.local,
Documentation/admin-guide/cgroup-v2.rst.
"""

import os
import select

# 0.2 s of waiting within 2 s. Without CAP_SYS_RESOURCE the window must be a multiple of 2 s ("sched/psi: Allow
# unprivileged polling of N*2s period", Linux 6.5); earlier kernels refuse to open the file for writing.
# The kernel replaces the last byte.
_TRIGGER = b"some 200000 2000000\0"
_EVENTS_BYTES = 256


class Signs:
    """``fileno()`` becomes readable with a sign that is wanted. ``reason``: why the trigger never is one.

    Create it before Landlock forbids to write.
    """

    def __init__(self, trigger: str = "/proc/pressure/memory") -> None:
        self._epoll = select.epoll()
        self._listens = False
        self._fd: int | None = None
        self.reason = ""
        try:
            self._fd = os.open(trigger, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
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

    def await_change(self, fd: int) -> None:
        """The next change of this file of a cgroup wakes the loop, once. Raises OSError."""
        os.pread(fd, _EVENTS_BYTES, 0)  # what has happened so far is none
        once = select.EPOLLPRI | select.EPOLLONESHOT
        try:
            self._epoll.register(fd, once)
        except FileExistsError:
            self._epoll.modify(fd, once)

    def changed(self) -> set[int]:
        """The files that have. If there are none, it was the trigger: whoever waited for ``fileno()`` took its event.

        Nothing shows afterwards that it has fired.
        """
        return {fd for fd, _events in self._epoll.poll(0)} - {self._fd}

    def close(self) -> None:
        """All but the files of cgroups."""
        self._epoll.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
