# SPDX-License-Identifier: Apache-2.0
"""One child process at a time for the resident stage, which blocks neither on its output nor on its end."""

import select

from oomkilld.lighttyping import Generic, Protocol, TypeVar


class Killable(Protocol):
    """A process; see inquiry.Process and helper.Helper. ``fileno()``: readable when it has output or has ended.

    ``kill()`` does not wait for its death. ``reaped()`` reaps it if it is dead, and returns whether it is.
    """

    def fileno(self) -> int: ...
    def kill(self) -> None: ...
    def reaped(self) -> bool: ...


P = TypeVar("P", bound=Killable)


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
