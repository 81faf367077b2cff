# SPDX-License-Identifier: Apache-2.0
"""Says in the journal how many kills have no entry, and why."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from oomkilld.host.clock import MonotonicClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import LOOK_AFTER_NS, STORED_AFTER_NS, Incarnation, JournalRefused, Sink
from oomkilld.record.state.ledger import Books
from oomkilld.schema import (
    BEFORE_FIRST_START,
    LOG_OVERWRITTEN,
    NOT_RUNNING,
    NOT_SEEN,
    RECORD_REJECTED,
    RING_FULL,
    STOPPED,
    UNCONFIRMED,
)

_SAID = {
    RING_FULL: "said_ring_full",
    RECORD_REJECTED: "said_rejected",
    STOPPED: "said_stopped",
    NOT_RUNNING: "said_not_running",
    BEFORE_FIRST_START: "said_not_running_first",
    UNCONFIRMED: "said_unconfirmed",
    # One or the other, as the level and its source are.
    NOT_SEEN: "said_not_seen",
    LOG_OVERWRITTEN: "said_not_seen",
}


class _Said(NamedTuple):
    """So many of so many in all; read by journald at ``read_ns``, None: not yet."""

    reason: str
    missed: int
    total: int
    read_ns: int | None = None


class MissedNotice:
    """Keeps in the books what was said, so that each missed kill is counted in one entry only.

    What journald was given right before it died is said again with the same words, and what the service said right
    before it was killed, with the same total. ``render`` is given how many, how many in all, and why.
    """

    def __init__(
        self, sink: Sink, books: Books, render: Callable[[int, int, str], list[bytes]], clock: MonotonicClock
    ) -> None:
        self._sink = sink
        self._books = books
        self._render = render
        self._clock = clock
        self._said: list[_Said] = []  # and not known to be stored
        self._said_to: Incarnation | None = None
        self._mark: int | None = None  # of all that was said
        self._looked_ns = 0

    @property
    def next_settle_ns(self) -> int | None:
        """When to settle again (monotonic); None when nothing waits for that."""
        if not self._said:
            return None
        oldest = self._said[0].read_ns
        return self._looked_ns + LOOK_AFTER_NS if oldest is None else oldest + STORED_AFTER_NS

    def report(self, totals: Mapping[str, int]) -> bool:
        """``totals``: kills missed by reason, since the books were begun.

        False when journald does not take all of it; what it did not take is said the next time.
        """
        try:
            if self._said and self._sink.incarnation() != self._said_to:
                self._say_again()
            for reason, total in totals.items():
                said_of = _SAID[reason]
                known = [said.total for said in self._said if _SAID[said.reason] == said_of]
                missed = total - max(known, default=getattr(self._books.totals, said_of))
                if missed > 0:
                    self._say(_Said(reason, missed, total))
        except JournalRefused:
            return False
        return True

    def settle(self) -> None:
        """Write down what is stored by now."""
        now_ns = self._clock.monotonic_ns()
        if (due_ns := self.next_settle_ns) is None or now_ns < due_ns:
            return
        self._looked_ns = now_ns
        if self._sink.incarnation() != self._said_to:
            with suppress(JournalRefused):
                self._say_again()
            return
        if self._all_read():
            self._said = [said if said.read_ns is not None else said._replace(read_ns=now_ns) for said in self._said]
        self._commit(lambda read_ns: read_ns is not None and read_ns + STORED_AFTER_NS <= now_ns)

    def end(self) -> None:
        """There is no more time: what this journald was given is taken to be stored, also what still waits for it.

        Else the next run would say it once more. Should journald lose it, the totals in the status still have it.
        """
        if self._sink.incarnation() == self._said_to:
            self._commit(lambda _read_ns: True)

    def _say(self, said: _Said) -> None:
        self._sink.send(self._render(said.missed, said.total, said.reason))
        self._said.append(said)
        self._said_to = self._sink.incarnation()
        self._mark = None

    def _all_read(self) -> bool:
        """Of what was said."""
        if self._mark is None:
            self._mark = self._sink.mark()
        return self._mark is not None and self._sink.has_read(self._mark)

    def _say_again(self) -> None:
        again, self._said = [said._replace(read_ns=None) for said in self._said], []
        for at, said in enumerate(again):
            try:
                self._say(said)
            except JournalRefused:
                self._said += again[at:]
                self._said_to = None
                raise

    def _commit(self, stored: Callable[[int | None], bool]) -> None:
        while self._said and stored(self._said[0].read_ns):
            said = self._said.pop(0)
            self._books.commit(self._books.totals._replace(**{_SAID[said.reason]: said.total}))
