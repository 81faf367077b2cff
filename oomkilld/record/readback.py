# SPDX-License-Identifier: Apache-2.0
"""Reads back what is stored of what was sent before, when journald or the service was started anew.

A process of its own looks, see recall/stored.py, once journald has read all that still waited for it.
Nothing is sent meanwhile, for DEADLINE_NS at most; what is not known to be stored then is sent again.
"""

from collections.abc import Callable
from typing import Protocol

from oomkilld.record.cgroupfs import MonotonicClock
from oomkilld.record.child import Child
from oomkilld.record.decode import KillRecord
from oomkilld.record.looker import Looker
from oomkilld.record.storedids import MORE, CannotTell, StoredIds

DEADLINE_NS = 5 * 10**9
# How often to look whether journald has read all.
LOOK_NS = 20 * 10**6


class Barrier(Protocol):
    """See journal.Journal."""

    def ping(self) -> None:
        """Queue something behind all that was sent. Raises JournalRefused."""

    def mark(self) -> int | None:
        """Stands for all that was sent by now; None: that is not to be told yet."""

    def has_read(self, mark: int) -> bool:
        """Whether nothing of that waits to be read any more."""


class ReadBack:
    """``start`` makes the process that tells the ids of so many of the newest entries, and may raise OSError.

    ``fileno()`` becomes readable when ``check()`` is needed before ``deadline_ns``.
    """

    def __init__(
        self,
        start: Callable[[int], Looker],
        barrier: Barrier,
        kill_id: Callable[[KillRecord], str],
        clock: MonotonicClock,
        warn: Callable[[str], None],
    ) -> None:
        self._start = start
        self._barrier = barrier
        self._kill_id = kill_id
        self._clock = clock
        self._warn = warn
        self._looker: Child[Looker] = Child()
        self._pending = self._pinged = self._ended = False
        self._entries = 0
        self._mark: int | None = None
        self._ids = StoredIds()
        self.was_read = False  # all of them
        self._look_ns = self._give_up_ns = 0

    def fileno(self) -> int:
        """To wait for the process."""
        return self._looker.fileno()

    @property
    def deadline_ns(self) -> int | None:
        """When to check again (monotonic); None: it is not needed."""
        if not self._pinged:
            return None
        return self._look_ns if self._looker.now is None else self._give_up_ns

    def begin(self, entries: int) -> None:
        """The next ``entries`` were sent before."""
        self._looker.drop()
        self._entries, self._ids, self.was_read = entries, StoredIds(), False
        self._pending, self._pinged = entries > 0 and not self._ended, False

    def known(self) -> bool:
        """Whether ``has()`` may be asked. Raises JournalRefused where there is no journald yet."""
        if self._pending and not self._pinged:
            self._barrier.ping()
            self._pinged, self._mark = True, None
            self._give_up_ns = self._clock.monotonic_ns() + DEADLINE_NS
            self.check()
        return not self._pending

    def has(self, kill: KillRecord) -> bool:
        """Whether that is stored."""
        return bytes.fromhex(self._kill_id(kill)) in self._ids

    def forget(self) -> None:
        """What comes now was not sent before."""
        self._ids = StoredIds()

    def check(self) -> None:
        """Go on; give up when it is time."""
        self._looker.reap()
        if not self._pinged:
            return
        if self._looker.now is not None:
            self._listen(self._looker.now)
        else:
            if self._mark is None:
                self._mark = self._barrier.mark()
            if self._mark is not None and self._barrier.has_read(self._mark):
                self._ask()
        now_ns = self._clock.monotonic_ns()
        self._look_ns = now_ns + LOOK_NS
        if self._pinged and now_ns >= self._give_up_ns:
            self._give_up(f"it took longer than {DEADLINE_NS // 10**9} s")

    def end(self) -> None:
        """From now on nothing is waited for."""
        self._looker.end()
        self._pending = self._pinged = False
        self._ended = True

    def _ask(self) -> None:
        try:
            self._looker.become(self._start(self._entries + MORE))
        except OSError as error:
            self._give_up(f"no process for it can be started: {error.strerror}")

    def _listen(self, looker: Looker) -> None:
        try:
            self._ids.take(looker)
        except BlockingIOError:
            return
        except CannotTell as error:
            self._give_up(str(error))
            return
        self._looker.drop()
        self._pending = self._pinged = False
        self.was_read = True

    def _give_up(self, why: str) -> None:
        self._looker.drop()
        self._ids = StoredIds()
        self._pending = self._pinged = False
        self._warn(f"what journald has stored cannot be read back: {why}, sending all of it again")
