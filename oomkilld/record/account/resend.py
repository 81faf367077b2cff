# SPDX-License-Identifier: Apache-2.0
"""Reads back what is stored of what was sent before, when journald was started anew or the run before was killed.

A process of its own looks, see lookup/stored.py, once journald has read all that still waited for it. Nothing is sent
meanwhile; what is not known to be stored when the process fails, or after DEADLINE_NS, is sent again.
"""

from collections.abc import Callable

from oomkilld.host.childprocess import Child
from oomkilld.host.clock import MonotonicClock
from oomkilld.lighttyping import Protocol
from oomkilld.record.account.inquiry import MORE, CannotTell, Looker, Looks, StoredIds
from oomkilld.record.deliver.sink import JournalRefused
from oomkilld.record.kill import KillRecord

DEADLINE_NS = 5 * 10**9
# Since when it is said that journald has not read all.
SAID_AFTER_NS = 10**9


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

    With True, of those that ``journalctl -u`` shows.
    ``fileno()`` becomes readable when ``check()`` is needed before ``deadline_ns``.
    """

    def __init__(
        self,
        start: Callable[[int, bool], Looker],
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
        self._pending, self._pinged = True, False
        self._entries, self._shown = 0, False
        self._mark: int | None = None
        self._ids = StoredIds()
        self.was_read = False  # all of them
        self.ended = False
        self._looks = Looks()
        self._said_ns = self._give_up_ns = 0

    def fileno(self) -> int:
        """To wait for the process."""
        return self._looker.fileno()

    @property
    def deadline_ns(self) -> int | None:
        """When to check again (monotonic); None: it is not needed."""
        if self._looker.now is not None:
            return self._give_up_ns
        return self._looks.next_ns if self._pending and self._pinged else None

    def begin(self, entries: int, *, shown: bool) -> None:
        """The next ``entries`` were sent before. ``shown``: only what ``journalctl -u`` shows counts as stored."""
        self._looker.drop()
        self._shown = shown
        self._entries, self._ids, self.was_read = entries, StoredIds(), False
        self._pending, self._pinged = True, False

    def known(self) -> bool:
        """Whether ``has()`` may be asked: once journald has read all that was sent by then.

        Then it knows this run's unit, too, should the run end before its entries are read. Raises JournalRefused.
        """
        if self._pending and not self._pinged and not self.ended:
            self._barrier.ping()
            self._pinged, self._mark, self._looks = True, None, Looks()
            self._said_ns = self._clock.monotonic_ns() + SAID_AFTER_NS
            self._look()
        hangs = self._pending and self._looker.now is None and not self.ended
        if hangs and self._clock.monotonic_ns() >= self._said_ns:
            raise JournalRefused("it has not read what it was sent before")
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
        if self._looker.now is not None:
            self._listen(self._looker.now)
        elif self._pending and self._pinged:
            self._look()
        if self._looker.now is not None and self._clock.monotonic_ns() >= self._give_up_ns:
            self._give_up(f"it took longer than {DEADLINE_NS // 10**9} s")

    def end(self) -> None:
        """What is not known yet is left to the next run."""
        self._looker.end()
        self.ended = True

    def _look(self) -> None:
        if self._mark is None:
            self._mark = self._barrier.mark()
        if self._mark is None or not self._barrier.has_read(self._mark):
            self._looks.looked(self._clock.monotonic_ns())
        elif self._entries:
            self._ask()
        else:
            self._pending = False

    def _ask(self) -> None:
        self._give_up_ns = self._clock.monotonic_ns() + DEADLINE_NS
        try:
            self._looker.become(self._start(self._entries + MORE, self._shown))
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
        self._pending = False
        self.was_read = True

    def _give_up(self, why: str) -> None:
        self._looker.drop()
        self._ids = StoredIds()
        self._pending = False
        self._warn(f"what journald has stored cannot be read back: {why}, sending all of it again")
