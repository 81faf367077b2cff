# SPDX-License-Identifier: Apache-2.0
"""Takes kills from the ring to the journal, and frees them only once their entries are stored; see tracker.py.

Where journald is another one, and after a run that was killed, it is read back what is stored, and the rest is sent
again, with the same OOM_KILL_ID; see confirm.py.
"""

from collections import deque
from collections.abc import Callable, Sequence

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.decode import is_kill
from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.ahead import Ahead
from oomkilld.record.deliver.checkpoint import Counts, DeliverySource, SentAhead
from oomkilld.record.deliver.confirm import Confirm
from oomkilld.record.deliver.sink import ANOTHER, JournalRefused, Sink, number_of
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.text import counted

_MOST_NOTHING = 1024  # of lines of the log, by 64, at the end: they may come faster than they are read


class Delivered(NamedTuple):
    """What became of a record; ``was_sent``: an entry was."""

    counts: Counts
    was_sent: bool = False


class Records(Protocol):
    """What is done with each record; see pipeline.Pipeline."""

    def take(self, record: bytes | KillRecord | Unkillable, delivery: "Delivery", *, more: bool) -> Delivered | None:
        """None: it is not ready yet. ``more``: others wait behind it. Raises JournalRefused: to be taken again."""

    def of_flood(self, record: bytes | KillRecord | Unkillable) -> bool | None:
        """See ahead.Judging."""


class Target(NamedTuple):
    """Where entries go, and what tells which of them are there already."""

    sink: Sink
    tracker: StoreTracker
    confirm: Confirm


class _Again(NamedTuple):
    """All before ``until`` was sent before: ``given`` entries so far, of which the journal had not ``absent``.

    All before ``counted`` is counted; behind it, what was sent ahead. ``here``: this run has sent all before that.

    ``killed``: by a run that was killed: perhaps journald did not know its unit.
    """

    until: int
    counted: int
    killed: bool
    here: int = 0
    given: int = 0
    absent: int = 0


class _Unfreed(NamedTuple):
    """All up to ``end`` may be freed once that ``number`` of the tracker is stored."""

    number: int
    end: int


class Delivery:
    """Owns the reader's position in the source."""

    def __init__(self, source: DeliverySource, target: Target, records: Records, warn: Callable[[str], None]) -> None:
        self._source = source
        self._sink, self._tracker, self._confirm = target
        self._records = records
        self._warn = warn
        self._position = source.consumer_position
        self._unfreed: deque[_Unfreed] = deque()
        self.taken = 0  # how many records were, in turn or ahead
        self.waiting = False  # whether the next record, when last looked at, waited for what belongs to it
        self._again: _Again | None = None
        self._passed_over: _Again | None = None
        self._ahead = Ahead(source, records)
        self._refused = False  # since the source was last empty
        self._end = 0  # of the record that is being taken
        self._losses = self._tracker.losses
        if before := source.sent_before():
            if before.sent_to == number_of(self._sink.incarnation()):
                self._position = before.position
                self._unfreed.append(_Unfreed(self._tracker.sent(source.ids), self._position))
            else:
                until = max(before.position, before.ahead)
                self._send_again(_Again(until, before.position, killed=not before.sent_to))

    @property
    def counts(self) -> Counts:
        """Of all records taken from the source so far."""
        return self._source.counts

    @property
    def position(self) -> int:
        """Everything before it is sent."""
        return self._position

    @property
    def stored_position(self) -> int:
        """Everything before it is stored, and freed."""
        return self._source.consumer_position

    def drain(self, limit: int) -> bool:
        """Send up to ``limit`` records. False when the ring is empty, or the next record waits for what belongs to it.

        Raises JournalRefused: nothing is lost.
        """
        self._tracker.look_for_loss()
        self.settle()
        known = self._confirm.known()
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

    def settle(self) -> bool:
        """Free what is stored by now. True when journald is another one and the rest must be drained again."""
        if self._losses != self._tracker.losses:
            self._losses = self._tracker.losses
            self._unfreed.clear()
            self._ahead.may_be_lost()
            again = self._again or _Again(self._position, self._position, killed=False)
            until, counted = max(again.until, self._ahead.until), max(again.counted, self._position)
            here = max(again.here, self._position)
            self._send_again(again._replace(until=until, counted=counted, here=here))
            return True
        self._free()
        return False

    def has(self, kill: KillRecord) -> bool:
        """Whether its entry is stored, of those that were sent before."""
        return self._confirm.has(kill)

    def send(self, kill: KillRecord, fields: Sequence[bytes]) -> bool:
        """The entry of the record that is taken now. Whether for the first time in this run. Raises JournalRefused."""
        self._source.sending(kill, self._end)
        self._sink.send(fields)
        again = self._again
        return again is None or (self._end > again.here and self._position not in self._ahead.sent)

    def leave(self) -> tuple[int, int]:
        """The end has come: how many kills were never sent, and how many of them are lost by that."""
        kills = nothing = 0
        sent_to = self._again.until if self._again else self._position
        while nothing < _MOST_NOTHING and (item := self._source.peek(self._position)):
            nothing += item.end == self._position
            # What was to be sent again is known to the next run by its id.
            was_sent = item.end <= sent_to or self._position in self._ahead.sent
            kills += not was_sent and item.record is not None and is_kill(item.record)
            self._position = item.end
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
        """What was sent before is left to the next run. False: and all behind it, of which some was sent ahead."""
        if self._again and self._again.until > self._again.counted:
            return False
        if self._again:
            self._position = self._again.until
            self._again, self._passed_over = None, self._again
        return True

    def _send_again(self, again: _Again) -> None:
        self._position = self._source.consumer_position
        if self._position < again.until:
            self._again = again._replace(given=0, absent=0)
            self._confirm.begin(self, shown=again.killed)

    def _end_again(self) -> None:
        """When all of it is done with."""
        if self._again is None or self._position < self._again.until:
            return
        given, absent = self._again.given, self._again.absent
        if absent and self._confirm.was_read:
            are = counted(absent, "entry is", "entries are")
            self._warn(f"{are} not in the journal as this service's, of the last {given}: sent again")
        self._confirm.done(self)
        self._again = None

    def _take_next(self) -> bool:
        """False: there is none, or it is not ready yet."""
        may = self._refused and self._again is None and not self._source.in_order
        if may and (ahead := self._ahead.next(self._position)) is not None:
            self._take_ahead(ahead)
            return True
        item = self._source.peek(self._position)
        if item is None:
            self._refused = False
            return False
        if sent := self._ahead.sent.get(self._position):
            number = sent.number
            self._source.sent(item.end, sent.counts, self._ahead.until, entry=False)
        elif (number := self._take_in_turn(item)) < 0:
            self.waiting = True
            return False
        self._ahead.sent.pop(self._position, None)
        self._confirm.sent_ahead(self, some=bool(self._ahead.sent))
        self._position = item.end
        if self._unfreed and self._tracker.same(self._unfreed[-1].number, number):
            self._unfreed.pop()
        self._unfreed.append(_Unfreed(number, self._position))
        return True

    def _take_ahead(self, place: int) -> None:
        item = self._source.peek(place)
        assert item is not None
        delivered, sent = self._take(item), None
        if delivered is not None:
            until = max(self._ahead.until, item.end)
            self._source.sent(self._position, Counts(), until, entry=delivered.was_sent)
            sent = SentAhead(self._tracker.sent(self._source.ids), delivered.counts)
        self._ahead.took(place, item.end, sent)
        self._confirm.sent_ahead(self, some=bool(self._ahead.sent))

    def _take_in_turn(self, item: Item) -> int:
        """The number of the tracker with which it is done, 0: it is; -1: it is not ready yet."""
        delivered, again = self._take(item), self._again
        if delivered is None:
            return -1
        counts, was_sent = delivered
        if again is not None:
            given = again.given + counts.entries + counts.spared
            self._again = again._replace(given=given, absent=again.absent + was_sent)
        was_counted = again is not None and item.end <= again.counted
        # Each for itself: killed in between, at most one has an entry that the next run does not know of.
        if was_sent or not was_counted:
            self._source.sent(item.end, Counts() if was_counted else counts, self._ahead.until, entry=was_sent)
        # What was read back is stored.
        return self._tracker.sent(self._source.ids) if again is None or was_sent else 0

    def _take(self, item: Item) -> Delivered | None:
        """None: it is not ready yet."""
        if item.record is None:
            return Delivered(Counts())
        self._end = item.end
        try:
            return self._records.take(item.record, self, more=self._source.peek(item.end) is not None)
        except JournalRefused:
            self._refused = True
            raise
