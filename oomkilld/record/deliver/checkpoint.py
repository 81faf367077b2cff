# SPDX-License-Identifier: Apache-2.0
"""Saves to the ledger how far the source's records are sent, counted and stored, before it frees any."""

from collections.abc import Callable

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.source import Item, Source
from oomkilld.record.deliver.sink import Incarnation, number_of
from oomkilld.record.kill import KillRecord
from oomkilld.record.state.ledger import Ledger
from oomkilld.record.state.sentids import Kinds, SentEntry, SentIds, each_once


class Counts(NamedTuple):
    """What became of records, since the ledger was begun.

    ``entries``: kills with an entry; ``spared``: entries of spared processes; ``rejected``: kills refused as
    impossible; ``refused``: all records refused as impossible.
    """

    entries: int = 0
    spared: int = 0
    rejected: int = 0
    refused: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts._make(a + b for a, b in zip(self, other, strict=True))


class SentAhead(NamedTuple):
    """``number``: the tracker's; ``counts``: what is to be counted when its turn comes."""

    number: int
    counts: Counts


class Sent(NamedTuple):
    """What earlier runs sent: every record before ``position``, and some of those from there to ``ahead``.

    ``sent_to``: number of the journald (sink.number_of()) that received everything not known to be stored, noted by a
    run that ended normally. 0: the run was killed.
    """

    position: int
    ahead: int = 0
    sent_to: int = 0


class Kept(NamedTuple):
    """The two files under /run that outlive this run."""

    ledger: Ledger
    sent_ids: SentIds

    def keep(self, entry: SentEntry) -> None:
        """Save an entry that is about to be sent."""
        totals = self.ledger.totals
        if totals.sent_to:
            self.ledger.commit(totals._replace(sent_to=0))  # until this run has come to its end
        self.sent_ids.keep(totals.ids, entry)


def go_on_with(kept: Kept, made_ns: int) -> None:
    """The source of this run was made then.

    What was sent and is not counted yet counts from now on, as if it was stored; see confirm.py. That is the last entry
    before the run was killed, and of a source that has gone what was sent ahead.
    """
    totals = kept.ledger.totals
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
    kept.ledger.commit(totals.with_source(made_ns))


class DeliverySource(Protocol):
    """See KeptSource, and foundkills.FoundKills."""

    @property
    def consumer_position(self) -> int: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def id_count(self) -> int: ...
    @property
    def in_order(self) -> bool: ...
    def peek(self, position: int) -> Item | None: ...
    def sent_before(self) -> Sent | None: ...
    def note_id(self, kill: KillRecord, end: int) -> None: ...
    def note_sent(self, position: int, more: Counts, ahead: int, *, entry: bool) -> None: ...
    def free(self, position: int) -> None: ...
    def leave(self, left: int, incarnation: Incarnation | None) -> int: ...


class KeptSource:
    """A source whose positions and totals the ledger keeps for the next run.

    ``outlives``: whether the next run takes over the source itself. ``in_order``: whether none may be sent ahead.
    """

    in_order = False

    def __init__(self, source: Source, kept: Kept, kill_id: Callable[[KillRecord], str], *, outlives: bool) -> None:
        self._source = source
        self._kept = kept
        self._ledger = kept.ledger
        self._kill_id = kill_id
        self._outlives = outlives
        self.peek = source.peek
        position = self._ledger.totals.position
        # The previous run was killed after it saved this position and before it freed the records.
        if position > source.consumer_position:
            source.free(position)

    @property
    def consumer_position(self) -> int:
        """All records before it are freed."""
        return self._source.consumer_position

    @property
    def counts(self) -> Counts:
        totals = self._ledger.totals
        return Counts(totals.entries, totals.spared, totals.rejected, totals.refused)

    @property
    def id_count(self) -> int:
        """Number of entries in the file of sent ids since the ledger was begun."""
        return self._ledger.totals.ids

    def sent_before(self) -> Sent | None:
        """What the previous run sent but did not free; None: nothing."""
        totals = self._ledger.totals
        sent = Sent(totals.sent_position, totals.ahead_position, totals.sent_to)
        return sent if max(sent.position, sent.ahead) > self.consumer_position else None

    def note_id(self, kill: KillRecord, end: int) -> None:
        """The entry of that kill, whose record ends there, is about to be sent.

        Its id is kept for the next run, which has no more of it if its source is another one.
        """
        kill_id = bytes.fromhex(self._kill_id(kill))
        self._kept.keep(SentEntry(kill_id, self._ledger.totals.source, None if kill.spared else 0, end))

    def note_sent(self, position: int, more: Counts, ahead: int, *, entry: bool) -> None:
        """All records before ``position`` are sent, and some up to ``ahead``; add ``more`` to the totals.

        ``entry``: an entry was sent for this, for the first time or again.
        """
        entries, spared, rejected, refused = self.counts.plus(more)
        totals = self._ledger.totals
        self._ledger.commit(
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
        """Save ``position`` to the ledger, then free all records before it."""
        self._ledger.commit(self._ledger.totals._replace(position=position))
        self._source.free(position)

    def leave(self, left: int, incarnation: Incarnation | None) -> int:
        """This run ends with ``left`` kills in it that were not sent. How many are lost by that.

        ``incarnation``: to which journald all was sent that is not known to be stored; None: there is nothing more.
        """
        lost, totals = 0 if self._outlives else left, self._ledger.totals
        sent_to = totals.sent_to if incarnation is None else number_of(incarnation)
        self._ledger.commit(totals._replace(stopped=totals.stopped + lost, sent_to=sent_to))
        return lost
