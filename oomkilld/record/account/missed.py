# SPDX-License-Identifier: Apache-2.0
"""Says in the journal how many kills have no entry, and why."""

from collections.abc import Callable, Mapping

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.record.deliver.tracker import StoreTracker
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
    """So many of so many in all; ``number``: the tracker's, 0: it is to be sent again."""

    reason: str
    missed: int
    total: int
    number: int = 0


class MissedNotice:
    """Keeps in the books what was said, so that each missed kill is counted in one entry only.

    What journald was given right before it died is said again with the same words, and what the service said right
    before it was killed, with the same total. ``render`` is given how many, how many in all, and why.
    """

    def __init__(
        self, sink: Sink, tracker: StoreTracker, books: Books, render: Callable[[int, int, str], list[bytes]]
    ) -> None:
        self._sink = sink
        self._tracker = tracker
        self._books = books
        self._render = render
        self._said: list[_Said] = []  # and not known to be stored
        self._losses = tracker.losses

    def report(self, totals: Mapping[str, int]) -> bool:
        """``totals``: kills missed by reason, since the books were begun.

        False when journald does not take all of it; what it did not take is said the next time.
        """
        self._tracker.look_for_loss()
        try:
            self._say_again()
            for reason, total in totals.items():
                said_of = _SAID[reason]
                known = [said.total for said in self._said if _SAID[said.reason] == said_of]
                missed = total - max(known, default=getattr(self._books.totals, said_of))
                if missed > 0:
                    self._said.append(self._say(_Said(reason, missed, total)))
        except JournalRefused:
            return False
        return True

    def settle(self) -> None:
        """Write down what is stored by now."""
        while self._said and self._was_taken(self._said[0]) and self._said[0].number <= self._tracker.stored:
            self._write_down()

    def end(self) -> None:
        """There is no more time: what this journald was given is taken to be stored, also what still waits for it.

        Else the next run would say it once more. Should journald lose it, the totals in the status still have it.
        """
        self._tracker.look_for_loss()
        while self._said and self._was_taken(self._said[0]):
            self._write_down()

    def _was_taken(self, said: _Said) -> bool:
        """By this journald."""
        return said.number > 0 and self._losses == self._tracker.losses

    def _say(self, said: _Said) -> _Said:
        self._sink.send(self._render(said.missed, said.total, said.reason))
        return said._replace(number=self._tracker.sent(self._books.totals.ids))

    def _say_again(self) -> None:
        if self._losses != self._tracker.losses:
            self._losses = self._tracker.losses
            self._said = [said._replace(number=0) for said in self._said]
        for at, said in enumerate(self._said):
            if not said.number:
                self._said[at] = self._say(said)

    def _write_down(self) -> None:
        said = self._said.pop(0)
        self._books.commit(self._books.totals._replace(**{_SAID[said.reason]: said.total}))
