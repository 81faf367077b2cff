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
from oomkilld.record.deliver.checkpoint import Counts, DeliverySource
from oomkilld.record.deliver.confirm import Confirm
from oomkilld.record.deliver.sink import ANOTHER, Sink, number_of
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


class Target(NamedTuple):
    """Where entries go, and what tells which of them are there already."""

    sink: Sink
    tracker: StoreTracker
    confirm: Confirm


class _Again(NamedTuple):
    """All before ``until`` was sent before: ``given`` entries so far, of which the journal had not ``absent``.

    ``killed``: by a run that was killed: perhaps journald did not know its unit.
    """

    until: int
    killed: bool
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
        self.waiting = False  # whether the next record, when last looked at, waited for what belongs to it
        self._counts = source.counts
        self._again: _Again | None = None
        self._passed_over: _Again | None = None
        self._losses = self._tracker.losses
        if before := source.sent_before():
            if before.sent_to == number_of(self._sink.incarnation()):
                self._position = before.position
                self._unfreed.append(_Unfreed(self._tracker.sent(source.ids), self._position))
            else:
                self._send_again(before.position, killed=not before.sent_to)

    @property
    def counts(self) -> Counts:
        """Of all records taken from the source so far."""
        return self._counts

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
        if not known:
            self._pass_over()
        self._end_again()
        taken = 0
        while taken < limit and (item := self._source.peek(self._position)):
            if not self._take(item):
                self.waiting = True
                break
            taken += 1
            self._end_again()
        self._free()
        return taken == limit

    def settle(self) -> bool:
        """Free what is stored by now. True when journald is another one and the rest must be drained again."""
        if self._losses != self._tracker.losses:
            self._losses = self._tracker.losses
            self._unfreed.clear()
            again = self._again
            self._send_again(max(self._position, again.until if again else 0), killed=bool(again and again.killed))
            return True
        self._free()
        return False

    def has(self, kill: KillRecord) -> bool:
        """Whether its entry is stored, of those that were sent before."""
        return self._confirm.has(kill)

    def send(self, kill: KillRecord, fields: Sequence[bytes]) -> None:
        """The entry of the record that is being taken. Raises JournalRefused."""
        self._source.sending(kill, self._position)
        self._sink.send(fields)

    def leave(self) -> tuple[int, int]:
        """The end has come: how many kills were never sent, and how many of them are lost by that."""
        kills = nothing = 0
        sent_to = self._again.until if self._again else self._position
        while nothing < _MOST_NOTHING and (item := self._source.peek(self._position)):
            nothing += item.end == self._position
            # What was to be sent again is known to the next run by its id.
            kills += item.end > sent_to and item.record is not None and is_kill(item.record)
            self._position = item.end
        if again := self._again or self._passed_over:
            given_to = None if again.killed else ANOTHER
        elif self._confirm.unresolved:
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

    def _pass_over(self) -> None:
        """What was sent before is left to the next run."""
        if self._again:
            self._position = self._again.until
            self._again, self._passed_over = None, self._again

    def _send_again(self, until: int, *, killed: bool) -> None:
        self._position = self._source.consumer_position
        if self._position < until:
            self._again = _Again(until, killed)
            self._confirm.begin(self, shown=killed)

    def _end_again(self) -> None:
        """When all of it is done with."""
        if self._again is None or self._position < self._again.until:
            return
        _until, _killed, given, absent = self._again
        if absent and self._confirm.was_read:
            are = counted(absent, "entry is", "entries are")
            self._warn(f"{are} not in the journal as this service's, of the last {given}: sent again")
        self._confirm.done(self)
        self._again = None

    def _take(self, item: Item) -> bool:
        """False: it is not ready yet."""
        delivered: Delivered | None = Delivered(Counts())
        if item.record is not None:
            more = self._source.peek(item.end) is not None
            delivered = self._records.take(item.record, self, more=more)
        if delivered is None:
            return False
        counts, was_sent = delivered
        again, self._position = self._again, item.end
        if again is None:
            self._counts = self._counts.plus(counts)
        else:
            given = again.given + counts.entries + counts.spared
            self._again = again._replace(given=given, absent=again.absent + was_sent)
        # Each for itself: killed in between, at most one has an entry that the next run does not know of.
        if again is None or was_sent:
            self._source.sent(self._position, self._counts, entry=was_sent)
        # What was read back is stored.
        number = self._tracker.sent(self._source.ids) if again is None or was_sent else 0
        if self._unfreed and self._tracker.same(self._unfreed[-1].number, number):
            self._unfreed.pop()
        self._unfreed.append(_Unfreed(number, self._position))
        return True
