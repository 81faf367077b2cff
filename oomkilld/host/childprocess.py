# SPDX-License-Identifier: Apache-2.0
"""A process that works for the resident stage, one at a time, which waits neither for its words nor for its end."""

import select

from oomkilld.lighttyping import Generic, Protocol, TypeVar


class Killable(Protocol):
    """See inquiry.Process and helper.Helper."""

    def fileno(self) -> int:
        """Readable: it has something to say, or has ended."""

    def kill(self) -> None:
        """It need not be dead at once."""

    def reaped(self) -> bool:
        """Whether it is dead and put away."""


P = TypeVar("P", bound=Killable)


class Child(Generic[P]):
    """``now``: that process, if there is one. ``fileno()`` becomes readable when it is to be listened to."""

    def __init__(self) -> None:
        self.now: P | None = None
        self._dying: list[P] = []
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """The same for each."""
        return self._epoll.fileno()

    def become(self, process: P) -> None:
        """There is one. Raises OSError where there is no room to listen to it; then it ends."""
        self.drop()
        try:
            self._epoll.register(process.fileno(), select.EPOLLIN)
        except OSError:
            process.kill()
            self._dying.append(process)
            raise
        self.now = process

    def drop(self) -> None:
        """There is none."""
        if self.now is not None:
            self._epoll.unregister(self.now.fileno())
            self.now.kill()
            self._dying.append(self.now)
            self.now = None

    def reap(self) -> None:
        """Put away those that are dead: to be called now and then."""
        self._dying = [process for process in self._dying if not process.reaped()]

    def end(self) -> None:
        """There is none, and will be none."""
        self.drop()
        self.reap()
        self._epoll.close()
