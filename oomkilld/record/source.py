# SPDX-License-Identifier: Apache-2.0
"""Where records come from, and how far they are done with: kept in the books before anything is freed."""

from typing import NamedTuple, Protocol

from oomkilld.record.books import Books
from oomkilld.record.ring import Item


class Source(Protocol):
    """See ring.Ring and logsource.LogSource."""

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""

    def peek(self, position: int) -> Item | None:
        """The record at ``position``, if there is one."""

    def free(self, position: int) -> None:
        """Free all records before ``position``."""


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
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class KeptSource:
    """A source whose position, with what was counted up to there, is kept for the next run."""

    def __init__(self, source: Source, books: Books) -> None:
        self._source = source
        self._books = books
        self.peek = source.peek
        position = books.totals.position
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

    def free(self, position: int, freed: Counts, sent: Counts) -> None:
        """Free all records before ``position``; ``sent``: with those that are not freed yet."""
        self._commit(position, freed, sent)
        self._source.free(position)

    def leave(self, freed: Counts, sent: Counts, left: int) -> None:
        """It is read no further: ``left`` kills that are in it will not be sent."""
        self._commit(self.consumer_position, freed, sent)
        self._books.commit(self._books.totals._replace(stopped=self._books.totals.stopped + left))

    def _commit(self, position: int, freed: Counts, sent: Counts) -> None:
        self._books.commit(
            self._books.totals._replace(
                position=position,
                entries=freed.entries,
                spared=freed.spared,
                rejected=freed.rejected,
                refused=freed.refused,
                sent_entries=sent.entries,
                sent_spared=sent.spared,
                sent_rejected=sent.rejected,
                sent_refused=sent.refused,
            )
        )
