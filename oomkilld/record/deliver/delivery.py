# SPDX-License-Identifier: Apache-2.0
"""Sends the source's records to journald in order, and frees each only once its entry is stored (tracker.py).

After journald restarted or a run was killed, it looks up which entries are stored (confirm.py) and sends the others
again, with the same OOM_KILL_ID. While others flood journald, it may send some kills ahead of a flood's (ahead.py).
"""

from collections import deque
from collections.abc import Callable, Sequence

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.decode import is_kill
from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.ahead import Ahead, FloodJudge
from oomkilld.record.deliver.checkpoint import Counts, DeliverySource, SentAhead
from oomkilld.record.deliver.confirm import Confirm
from oomkilld.record.deliver.sink import ANOTHER, JournalRefused, Sink, number_of
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.text import counted

# At the end: most items without a record that leave() reads at one position (level kmsg reads 64 log lines for each).
# New lines may arrive faster than it reads them.
_MOST_NOTHING = 1024


class Delivered(NamedTuple):
    """What became of a record. ``was_sent``: an entry was sent, not found to be stored already."""

    counts: Counts
    was_sent: bool = False


class Records(FloodJudge, Protocol):
    """Turns records into entries; see pipeline.Pipeline."""

    def take(
        self, record: bytes | KillRecord | Unkillable, delivery: "Delivery", *, more: bool
    ) -> Delivered | None: ...


class Target(NamedTuple):
    """Where entries go, whether they are stored, and the lookup of those sent before."""

    sink: Sink
    tracker: StoreTracker
    confirm: Confirm


class _Again(NamedTuple):
    """A lookup of records that were sent before: all before ``counted``, and some from there to ``until``.

    All before ``counted`` is counted; behind it, what was sent ahead. This run has sent all before ``sent_here_to``.

    ``killed``: by a run that was killed: perhaps journald did not know its unit.
    """

    until: int
    counted: int
    killed: bool
    sent_here_to: int = 0
    handled: int = 0
    absent: int = 0


class _Unfreed(NamedTuple):
    """All records before ``end`` may be freed once the tracker's ``number`` is stored."""

    number: int
    end: int


class Delivery:
    """Owns the read position in ``source``: a checkpoint.KeptSource, or of kills found in the log a FoundKills.

    Records.take() calls back has() and send().
    """

    def __init__(self, source: DeliverySource, target: Target, records: Records, warn: Callable[[str], None]) -> None:
        self._source = source
        self._sink, self._tracker, self._confirm = target
        self._pipeline = records
        self._warn = warn
        self.position = source.consumer_position  # all records before it are sent
        self._unfreed: deque[_Unfreed] = deque()
        self.taken = 0  # number of records taken, in turn or ahead
        self.waiting = False  # whether drain() stopped at a record that was not ready, or at a lookup
        self._again: _Again | None = None
        self._passed_over: _Again | None = None
        self._ahead = Ahead(source, records)
        self._was_refused = False  # since the source was last empty
        self._end = 0  # of the record that is being taken
        self._losses = self._tracker.losses
        if before := source.sent_before():
            if before.sent_to == number_of(self._sink.incarnation()):
                self.position = before.position
                self._unfreed.append(_Unfreed(self._tracker.sent(source.id_count), self.position))
            else:
                until = max(before.position, before.ahead)
                self._send_again(_Again(until, before.position, killed=not before.sent_to))

    @property
    def counts(self) -> Counts:
        return self._source.counts

    @property
    def stored_position(self) -> int:
        """The entries of all records before it are stored, and the records freed."""
        return self._source.consumer_position

    def drain(self, limit: int) -> bool:
        """Take up to ``limit`` records. Returns whether there may be more to take now.

        False: the source is empty, or ``waiting`` is set. Raises JournalRefused: the record stays for a retry.
        """
        self._tracker.look_for_loss()
        self.free_stored()
        known = self._confirm.advance()  # which of those sent before are stored; send nothing until then
        self.waiting = not known and not self._confirm.ended
        if self.waiting:
            return False
        if not known and not self._pass_over():
            return False
        self._end_again()
        self._ahead.begin_turn()
        end = self.taken + limit
        while self.taken < end and self._take_next():
            self.taken += 1
            self._end_again()
        self._free()
        return self.taken == end

    def free_stored(self) -> bool:
        """Free the records whose entries are stored. True: journald restarted, so drain() must take the rest again."""
        if self._losses != self._tracker.losses:
            self._losses = self._tracker.losses
            self._unfreed.clear()
            self._ahead.may_be_lost()
            again = self._again or _Again(self.position, self.position, killed=False)
            until, counted = max(again.until, self._ahead.until), max(again.counted, self.position)
            sent_here_to = max(again.sent_here_to, self.position)
            self._send_again(again._replace(until=until, counted=counted, sent_here_to=sent_here_to))
            return True
        self._free()
        return False

    def has(self, kill: KillRecord) -> bool:
        """Whether an entry of this kill was sent before and is stored."""
        return self._confirm.has(kill)

    def send(self, kill: KillRecord, fields: Sequence[bytes]) -> bool:
        """The entry of the record that is taken now. Whether for the first time in this run. Raises JournalRefused."""
        self._source.note_id(kill, self._end)
        self._sink.send(fields)
        again = self._again
        return again is None or (self._end > again.sent_here_to and self.position not in self._ahead.sent)

    def leave(self) -> tuple[int, int]:
        """The run ends. Returns how many kills in the source were never sent, and how many of these it loses."""
        kills = nothing = 0
        sent_to = self._again.until if self._again else self.position
        while nothing < _MOST_NOTHING and (item := self._source.peek(self.position)):
            nothing += item.end == self.position
            # What was to be sent again is known to the next run by its id.
            was_sent = item.end <= sent_to or self.position in self._ahead.sent
            kills += not was_sent and item.record is not None and is_kill(item.record)
            self.position = item.end
        if again := self._again or self._passed_over:
            given_to = None if again.killed else ANOTHER
        elif self._confirm.unresolved or self._ahead.sent:
            given_to = ANOTHER
        else:
            given_to = self._tracker.waits_for
        return kills, self._source.leave(kills, given_to)

    def _free(self) -> None:
        end = None
        while self._unfreed and self._unfreed[0].number <= self._tracker.stored:
            end = self._unfreed.popleft().end
        if end is not None:
            self._source.free(end)

    def _pass_over(self) -> bool:
        """At the end, with the lookup unfinished: leave the records that were sent before to the next run.

        False: some behind them were sent ahead, so leave all of them.
        """
        if self._again and self._again.until > self._again.counted:
            return False
        if self._again:
            self.position = self._again.until
            self._again, self._passed_over = None, self._again
        return True

    def _send_again(self, again: _Again) -> None:
        self.position = self._source.consumer_position
        if self.position < again.until:
            self._again = again._replace(handled=0, absent=0)
            self._confirm.begin(self, shown=again.killed)

    def _end_again(self) -> None:
        """If all records that were sent before are handled: report how many were sent again, and drop the ids."""
        if self._again is None or self.position < self._again.until:
            return
        handled, absent = self._again.handled, self._again.absent
        if absent and self._confirm.was_read:
            are = counted(absent, "entry was", "entries were")
            self._warn(f"{are} missing from this service's journal (of the last {handled}), sent again")
        self._confirm.done(self)
        self._again = None

    def _take_next(self) -> bool:
        """False: there is none, or it is not ready yet."""
        may = self._was_refused and self._again is None and not self._source.in_order
        if may and (ahead := self._ahead.next(self.position)) is not None:
            self._take_ahead(ahead)
            return True
        item = self._source.peek(self.position)
        if item is None:
            self._was_refused = False
            return False
        number: int | None
        if sent := self._ahead.sent.get(self.position):
            number = sent.number
            self._source.note_sent(item.end, sent.counts, self._ahead.until, entry=False)
        elif (number := self._take_in_turn(item)) is None:
            self.waiting = True
            return False
        self._ahead.sent.pop(self.position, None)
        self._confirm.sent_ahead(self, some=bool(self._ahead.sent))
        self.position = item.end
        if self._unfreed and self._tracker.stored_together(self._unfreed[-1].number, number):
            self._unfreed.pop()
        self._unfreed.append(_Unfreed(number, self.position))
        return True

    def _take_ahead(self, place: int) -> None:
        item = self._source.peek(place)
        assert item is not None
        delivered, sent = self._process(item), None
        if delivered is not None:
            until = max(self._ahead.until, item.end)
            self._source.note_sent(self.position, Counts(), until, entry=delivered.was_sent)
            sent = SentAhead(self._tracker.sent(self._source.id_count), delivered.counts)
        self._ahead.took(place, item.end, sent)
        self._confirm.sent_ahead(self, some=bool(self._ahead.sent))

    def _take_in_turn(self, item: Item) -> int | None:
        """Once the tracker has stored that number, it is done; 0: it is done already. None: it is not ready yet."""
        delivered, again = self._process(item), self._again
        if delivered is None:
            return None
        counts, was_sent = delivered
        if again is not None:
            handled = again.handled + counts.entries + counts.spared
            self._again = again._replace(handled=handled, absent=again.absent + was_sent)
        was_counted = again is not None and item.end <= again.counted
        # Save after each record: if this run is killed, at most one entry is unknown to the next run.
        if was_sent or not was_counted:
            self._source.note_sent(item.end, Counts() if was_counted else counts, self._ahead.until, entry=was_sent)
        # The lookup found the others in the journal.
        return self._tracker.sent(self._source.id_count) if again is None or was_sent else 0

    def _process(self, item: Item) -> Delivered | None:
        """None: it is not ready yet."""
        if item.record is None:
            return Delivered(Counts())
        self._end = item.end
        try:
            return self._pipeline.take(item.record, self, more=self._source.peek(item.end) is not None)
        except JournalRefused:
            self._was_refused = True
            raise
