# SPDX-License-Identifier: Apache-2.0
"""Where records come from, and how far they are done with: kept in the books before anything is freed."""

from collections.abc import Callable

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.capture.source import Source
from oomkilld.record.deliver.sink import Incarnation, number_of
from oomkilld.record.kill import KillRecord
from oomkilld.record.state.ledger import Books
from oomkilld.record.state.sentids import SentIds


class Counts(NamedTuple):
    """What became of records: entries sent, kills refused, and all records refused, because they cannot be true.

    Since the books were begun.
    """

    entries: int = 0
    spared: int = 0
    rejected: int = 0
    refused: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Sum."""
        return Counts._make(a + b for a, b in zip(self, other, strict=True))

    def minus(self, other: "Counts") -> "Counts":
        """Difference."""
        return Counts._make(a - b for a, b in zip(self, other, strict=True))


class Sent(NamedTuple):
    """Everything before ``position`` is sent; counts of all of it, that which is freed too.

    ``sent_to``: to which journald, see sink.number_of(), all that is not freed was sent by a run that then came to its
    end; 0: it was killed.
    """

    position: int
    counts: Counts
    sent_to: int = 0


class Kept(NamedTuple):
    """What outlives this run."""

    books: Books
    sent_ids: SentIds
    recalled_ids: SentIds


class KeptSource:
    """A source whose position, with what was counted and sent up to there, is kept for the next run.

    ``outlives``: whether that will go on with the source itself.
    """

    def __init__(self, source: Source, kept: Kept, kill_id: Callable[[KillRecord], str], *, outlives: bool) -> None:
        self._source = source
        self._books, self._sent_ids = kept.books, kept.sent_ids
        self._kill_id = kill_id
        self._outlives = outlives
        self.peek = source.peek
        position = self._books.totals.position
        # Counted as freed, and then the service was killed.
        if position > source.consumer_position:
            source.free(position)

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""
        return self._source.consumer_position

    @property
    def freed(self) -> Counts:
        """Of all records that are freed."""
        totals = self._books.totals
        return Counts(totals.entries, totals.spared, totals.rejected, totals.refused)

    def sent_before(self) -> Sent | None:
        """What the run before has sent, and did not free any more."""
        totals = self._books.totals
        if totals.sent_position <= self.consumer_position:
            return None
        counts = Counts(totals.sent_entries, totals.sent_spared, totals.sent_rejected, totals.sent_refused)
        return Sent(totals.sent_position, counts, totals.sent_to)

    def sending(self, number: int, kill: KillRecord) -> None:
        """Its id is kept for the next run, which has no more of it if its source is another one.

        Not that of a process that was spared: the number is the next kill's.
        """
        if not kill.spared:
            self._sent_ids.keep(number, bytes.fromhex(self._kill_id(kill)))

    def sent(self, sent: Sent) -> None:
        """Kept, for the next run: what was sent before, until all of it is done with once more."""
        if sent.position < self._books.totals.sent_position:
            return
        entries, spared, rejected, refused = sent.counts
        self._books.commit(
            self._books.totals._replace(
                sent_position=sent.position,
                sent_to=0,
                sent_entries=entries,
                sent_spared=spared,
                sent_rejected=rejected,
                sent_refused=refused,
            )
        )

    def free(self, position: int, freed: Counts) -> None:
        """Free all records before ``position``."""
        entries, spared, rejected, refused = freed
        self._books.commit(
            self._books.totals._replace(
                position=position, entries=entries, spared=spared, rejected=rejected, refused=refused
            )
        )
        self._source.free(position)

    def leave(self, left: int, incarnation: Incarnation | None) -> int:
        """This run ends with ``left`` kills in it that were not sent. How many are lost by that.

        ``incarnation``: to which journald all of it was sent that was sent and is not freed; None: that is not known.
        """
        lost, totals = 0 if self._outlives else left, self._books.totals
        sent_to = totals.sent_to if incarnation is None else number_of(incarnation)
        self._books.commit(totals._replace(stopped=totals.stopped + lost, sent_to=sent_to))
        return lost
