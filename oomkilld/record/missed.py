# SPDX-License-Identifier: Apache-2.0
"""Says in the journal how many kills have no entry, and why."""

import time
from collections.abc import Callable, Mapping

from oomkilld.record.books import Books
from oomkilld.record.cgroupfs import MonotonicClock
from oomkilld.record.sink import STORED_AFTER_NS, Incarnation, JournalRefused, Sink

RING_FULL = "ring-full"
LOG_OVERWRITTEN = "log-overwritten"
RECORD_REJECTED = "record-rejected"
STOPPED = "stopped"
NOT_RUNNING = "not-running"
NOT_SEEN = "not-seen"
# For journald to read what was said last.
_END_NS = 10**8

_SAID = {
    RING_FULL: "said_ring_full",
    RECORD_REJECTED: "said_rejected",
    STOPPED: "said_stopped",
    NOT_RUNNING: "said_not_running",
    # One or the other, as the level is.
    NOT_SEEN: "said_not_seen",
    LOG_OVERWRITTEN: "said_not_seen",
}


class MissedNotice:
    """Keeps in the books what was said, so that each missed kill is counted in one entry only.

    What journald was given right before it died, or this service before it was killed, is said again: with the same
    total, by which it is known. ``render`` is given how many, how many in all, and why.
    """

    def __init__(
        self, sink: Sink, books: Books, render: Callable[[int, int, str], list[bytes]], clock: MonotonicClock
    ) -> None:
        self._sink = sink
        self._books = books
        self._render = render
        self._clock = clock
        self._given: dict[str, int] = {}  # totals by reason: said, and not known to be stored
        self._given_to: Incarnation | None = None
        self._read_ns: int | None = None

    def report(self, totals: Mapping[str, int]) -> bool:
        """``totals``: kills missed by reason, since the books were begun.

        False when journald does not take all of it; what it did not take is said the next time.
        """
        self._settle()
        for reason, total in totals.items():
            missed = total - self._given.get(reason, getattr(self._books.totals, _SAID[reason]))
            if missed <= 0:
                continue
            try:
                self._sink.send(self._render(missed, total, reason))
            except JournalRefused:
                return False
            self._given[reason] = total
            self._given_to, self._read_ns = self._sink.incarnation(), None
        return True

    def end(self) -> None:
        """There is no more time: what is read is taken to be stored."""
        deadline_ns = self._clock.monotonic_ns() + _END_NS
        while self._given and self._sink.unread() and self._clock.monotonic_ns() < deadline_ns:
            time.sleep(0.005)
        if not self._sink.unread():
            self._commit()

    def _settle(self) -> None:
        if not self._given:
            return
        now_ns = self._clock.monotonic_ns()
        if self._sink.incarnation() != self._given_to:
            self._given.clear()
        elif self._read_ns is None:
            self._read_ns = None if self._sink.unread() else now_ns
        elif self._read_ns + STORED_AFTER_NS <= now_ns:
            self._commit()

    def _commit(self) -> None:
        said = {_SAID[reason]: total for reason, total in self._given.items()}
        self._books.commit(self._books.totals._replace(**said))
        self._given.clear()
