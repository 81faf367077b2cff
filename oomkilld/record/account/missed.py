# SPDX-License-Identifier: Apache-2.0
"""Reports in ``missed`` entries how many kills have no entry of their own, and why."""

from collections.abc import Callable, Mapping

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.state.ledger import Ledger
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
    # A source has one of these two reasons, never both: see source.Tally.
    NOT_SEEN: "said_not_seen",
    LOG_OVERWRITTEN: "said_not_seen",
}


class _Said(NamedTuple):
    """A report of ``missed`` more kills, ``total`` with earlier ones. ``number``: the tracker's; 0: send it again."""

    reason: str
    missed: int
    total: int
    number: int = 0


class MissedNotice:
    """Saves to the ledger which totals were reported, so that only one entry counts each missed kill.

    If journald dies before it stores a report, the same report is sent again. If the service is killed before it saves
    one, the next run sends one with the same total. ``render`` takes the number of missed kills, their total, and the
    reason.
    """

    def __init__(
        self, sink: Sink, tracker: StoreTracker, ledger: Ledger, render: Callable[[int, int, str], list[bytes]]
    ) -> None:
        self._sink = sink
        self._tracker = tracker
        self._ledger = ledger
        self._render = render
        self._said: list[_Said] = []  # reports not known to be stored, oldest first
        self._losses = tracker.losses

    def report(self, totals: Mapping[str, int]) -> bool:
        """Report what is new in ``totals``: missed kills by reason, since the ledger was begun.

        False: journald refused a report; the next call sends it.
        """
        self._tracker.look_for_loss()
        try:
            self._say_again()
            for reason, total in totals.items():
                said_of = _SAID[reason]
                known = [said.total for said in self._said if _SAID[said.reason] == said_of]
                missed = total - max(known, default=getattr(self._ledger.totals, said_of))
                if missed > 0:
                    self._said.append(self._say(_Said(reason, missed, total)))
        except JournalRefused:
            return False
        return True

    def note_stored(self) -> None:
        """Save to the ledger the reports that are stored."""
        while self._said and self._was_taken(self._said[0]) and self._said[0].number <= self._tracker.stored:
            self._write_down()

    def end(self) -> None:
        """The service ends: assume that this journald will store every report it has received.

        Otherwise the next run would repeat them. If journald does lose one, the status line still counts its kills.
        """
        self._tracker.look_for_loss()
        while self._said and self._was_taken(self._said[0]):
            self._write_down()

    def _was_taken(self, said: _Said) -> bool:
        """Whether the present journald received it."""
        return said.number > 0 and self._losses == self._tracker.losses

    def _say(self, said: _Said) -> _Said:
        self._sink.send(self._render(said.missed, said.total, said.reason))
        return said._replace(number=self._tracker.sent(self._ledger.totals.ids))

    def _say_again(self) -> None:
        if self._losses != self._tracker.losses:
            self._losses = self._tracker.losses
            self._said = [said._replace(number=0) for said in self._said]
        for at, said in enumerate(self._said):
            if not said.number:
                self._said[at] = self._say(said)

    def _write_down(self) -> None:
        said = self._said.pop(0)
        self._ledger.commit(self._ledger.totals._replace(**{_SAID[said.reason]: said.total}))
