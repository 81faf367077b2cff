# SPDX-License-Identifier: Apache-2.0
"""Where records come from, and how far they are done with: kept in the books before anything is freed."""

from collections.abc import Callable

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.source import Item, Source
from oomkilld.record.deliver.sink import Incarnation, number_of
from oomkilld.record.kill import KillRecord
from oomkilld.record.state.ledger import Books
from oomkilld.record.state.sentids import Kinds, SentEntry, SentIds, each_once


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


class SentAhead(NamedTuple):
    """``number``: the tracker's; ``counts``: what is to be counted when its turn comes."""

    number: int
    counts: Counts


class Sent(NamedTuple):
    """Everything before ``position`` was sent, by runs before, and behind it, before ``ahead``, some kills.

    ``sent_to``: to which journald, see sink.number_of(), all that is not known to be stored was sent by a run that then
    came to its end; 0: it was killed.
    """

    position: int
    ahead: int = 0
    sent_to: int = 0


class Kept(NamedTuple):
    """What outlives this run."""

    books: Books
    sent_ids: SentIds


def go_on_with(kept: Kept, made_ns: int) -> None:
    """The source of this run was made then.

    What was sent and is not counted yet counts from now on, as if it was stored; see confirm.py. That is the last entry
    before the run was killed, and of a source that has gone what was sent ahead.
    """
    totals = kept.books.totals
    ids = totals.ids
    if not totals.sent_to:
        ids += len(list(kept.sent_ids.between(ids, ids + 1)))
    sent = each_once(kept.sent_ids.between(totals.confirmed, ids))
    new = [entry for entry in kept.sent_ids.between(totals.ids, ids) if not entry.source]
    if totals.source != made_ns:
        new += [each for each in sent if each.source == totals.source and each.end > totals.sent_position]
    kinds = Kinds.of(new)
    totals = totals._replace(
        ids=ids,
        entries=totals.entries + kinds.kills,
        spared=totals.spared + kinds.spared,
        recalled=totals.recalled + kinds.logged,
        recalled_repeats=totals.recalled_repeats + kinds.repeats,
    )
    kept.books.commit(totals.with_source(made_ns))


class DeliverySource(Protocol):
    """See KeptSource, and backfillsource.FoundKills."""

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""

    @property
    def counts(self) -> Counts:
        """Of all records that were sent."""

    @property
    def ids(self) -> int:
        """How many are kept."""

    def peek(self, position: int) -> Item | None:
        """The record at ``position``, if there is one."""

    def sent_before(self) -> Sent | None:
        """What the run before has sent, and did not free any more."""

    def sending(self, kill: KillRecord, end: int) -> None:
        """The entry of that kill, whose record ends there, is about to be sent."""

    @property
    def in_order(self) -> bool:
        """Whether none may be sent ahead."""

    def sent(self, position: int, more: Counts, ahead: int, *, entry: bool) -> None:
        """So much is sent, and some up to ``ahead``; ``entry``: with that an entry, perhaps not for the first time."""

    def free(self, position: int) -> None:
        """Free all records before ``position``."""

    def leave(self, left: int, incarnation: Incarnation | None) -> int:
        """This run ends with ``left`` kills in it that were not sent: how many are lost; see KeptSource."""


class KeptSource:
    """A source whose position, with what was counted and sent up to there, is kept for the next run.

    ``outlives``: whether that will go on with the source itself.
    """

    in_order = False

    def __init__(self, source: Source, kept: Kept, kill_id: Callable[[KillRecord], str], *, outlives: bool) -> None:
        self._source = source
        self._books, self._sent_ids = kept
        self._kill_id = kill_id
        self._outlives = outlives
        self.peek = source.peek
        position = self._books.totals.position
        # Written down as freed, and then the service was killed.
        if position > source.consumer_position:
            source.free(position)

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""
        return self._source.consumer_position

    @property
    def counts(self) -> Counts:
        """Of all records that were sent."""
        totals = self._books.totals
        return Counts(totals.entries, totals.spared, totals.rejected, totals.refused)

    @property
    def ids(self) -> int:
        """How many are kept."""
        return self._books.totals.ids

    def sent_before(self) -> Sent | None:
        """What the run before has sent, and did not free any more."""
        totals = self._books.totals
        sent = Sent(totals.sent_position, totals.ahead_position, totals.sent_to)
        return sent if max(sent.position, sent.ahead) > self.consumer_position else None

    def sending(self, kill: KillRecord, end: int) -> None:
        """Its id is kept for the next run, which has no more of it if its source is another one."""
        totals = self._books.totals
        if totals.sent_to:
            self._books.commit(totals._replace(sent_to=0))  # until this run has come to its end
        kill_id = bytes.fromhex(self._kill_id(kill))
        self._sent_ids.keep(totals.ids, SentEntry(kill_id, totals.source, None if kill.spared else 0, end))

    def sent(self, position: int, more: Counts, ahead: int, *, entry: bool) -> None:
        """So much is sent, and some up to ``ahead``; ``entry``: with that an entry, perhaps not for the first time."""
        entries, spared, rejected, refused = self.counts.plus(more)
        totals = self._books.totals
        self._books.commit(
            totals._replace(
                sent_position=max(position, totals.sent_position),
                ahead_position=max(ahead, totals.ahead_position),
                sent_to=0,
                ids=totals.ids + entry,
                entries=entries,
                spared=spared,
                rejected=rejected,
                refused=refused,
            )
        )

    def free(self, position: int) -> None:
        """Free all records before ``position``."""
        self._books.commit(self._books.totals._replace(position=position))
        self._source.free(position)

    def leave(self, left: int, incarnation: Incarnation | None) -> int:
        """This run ends with ``left`` kills in it that were not sent. How many are lost by that.

        ``incarnation``: to which journald all was sent that is not known to be stored; None: there is nothing more.
        """
        lost, totals = 0 if self._outlives else left, self._books.totals
        sent_to = totals.sent_to if incarnation is None else number_of(incarnation)
        self._books.commit(totals._replace(stopped=totals.stopped + lost, sent_to=sent_to))
        return lost
