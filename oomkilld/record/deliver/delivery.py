# SPDX-License-Identifier: Apache-2.0
"""Takes kills from the ring to the journal, and frees them only once their entries are stored; see tracker.py.

Where journald is another one, and after a run that was killed, it is read back what is stored, and the rest is sent
again, with the same OOM_KILL_ID; see confirm.py.
"""

from collections import deque
from collections.abc import Callable

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.decode import BadRecord, decode, is_kill
from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.checkpoint import Counts, DeliverySource
from oomkilld.record.deliver.sink import ANOTHER, Sink, number_of
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.kill import KillRecord, Release, Unkillable
from oomkilld.text import counted

_MOST_NOTHING = 1024  # of lines of the log, by 64, at the end: they may come faster than they are read


class Handler(Protocol):
    """What is done with a record; see pipeline.KillHandler."""

    def untrue(self, kill: KillRecord) -> str | None:
        """Why it cannot be true, if it cannot."""

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether all is there that the entry waits for. Begins to get it; the loop sees when to ask again.

        ``more``: others wait behind it.
        """

    def render(self, kill: KillRecord) -> list[bytes]:
        """The entry of a kill, or of a process that was spared."""

    def sent(self, kill: KillRecord, fields: list[bytes]) -> None:
        """Its entry was taken by journald; said again when it had to be sent again."""

    def released(self, release: Release) -> None:
        """A victim has let go of its memory; said again, too. Raises JournalRefused: to be said again."""

    def unkillable(self, unkillable: Unkillable) -> None:
        """Nothing could be killed; likewise."""


class Stored(Protocol):
    """What journald was given before and is stored; see confirm.Confirm."""

    def begin(self, holder: object, *, shown: bool) -> None:
        """``holder`` has records that were given to it before, or to one that is not there any more.

        ``shown``: only what ``journalctl -u`` shows counts as stored.
        """

    def known(self) -> bool:
        """Whether ``has()`` may be asked. Raises JournalRefused until journald has read what was sent by then."""

    def has(self, kill: KillRecord) -> bool:
        """Whether that is stored."""

    @property
    def ended(self) -> bool:
        """What is not known by now the next run is to find out."""

    @property
    def was_read(self) -> bool:
        """Whether ``has()`` knows of all that is there."""

    @property
    def unresolved(self) -> bool:
        """Whether there is more that the next run is to find out."""

    def done(self, holder: object) -> None:
        """It has no record any more that was sent before."""


class Target(NamedTuple):
    """Where entries go, and what tells which of them are there already."""

    sink: Sink
    tracker: StoreTracker
    stored: Stored


class _Again(NamedTuple):
    """All before ``until`` was sent before: ``given`` entries so far, of which the journal had not ``absent``.

    ``killed``: by a run that was killed: perhaps journald did not know its unit.
    """

    until: int
    killed: bool
    given: int = 0
    absent: int = 0


class _Delivered(NamedTuple):
    """What became of a record; ``was_sent``: an entry was."""

    counts: Counts
    was_sent: bool


_NOTHING = _Delivered(Counts(), was_sent=False)


class _Unfreed(NamedTuple):
    """All up to ``end`` may be freed once that ``number`` of the tracker is stored."""

    number: int
    end: int


class Delivery:
    """Owns the reader's position in the source."""

    def __init__(self, source: DeliverySource, target: Target, handler: Handler, warn: Callable[[str], None]) -> None:
        self._source = source
        self._sink, self._tracker, self._stored = target
        self._handler = handler
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
        known = self._stored.known()
        self.waiting = not known and not self._stored.ended
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
        elif self._stored.unresolved:
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
            self._stored.begin(self, shown=killed)

    def _end_again(self) -> None:
        """When all of it is done with."""
        if self._again is None or self._position < self._again.until:
            return
        _until, _killed, given, absent = self._again
        if absent and self._stored.was_read:
            are = counted(absent, "entry is", "entries are")
            self._warn(f"{are} not in the journal as this service's, of the last {given}: sent again")
        self._stored.done(self)
        self._again = None

    def _take(self, item: Item) -> bool:
        """False: it is not ready yet."""
        delivered = _NOTHING if item.record is None else self._deliver(item.record, item.end)
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

    def _deliver(self, record: bytes | KillRecord | Unkillable, end: int) -> _Delivered | None:
        """None: it is not ready yet."""
        try:
            kill = decode(record)
        except BadRecord as error:
            return self._reject(str(error), kill=is_kill(record))
        if isinstance(kill, Release):
            self._handler.released(kill)
            return _NOTHING
        if isinstance(kill, Unkillable):
            self._handler.unkillable(kill)
            return _NOTHING
        if reason := self._handler.untrue(kill):
            return self._reject(reason, kill=not kill.spared)
        was_sent = not self._stored.has(kill)
        if was_sent:
            if not self._handler.ready(kill, more=self._source.peek(end) is not None):
                return None
            fields = self._handler.render(kill)
            self._source.sending(kill, self._position)
            self._sink.send(fields)
            self._handler.sent(kill, fields)
        return _Delivered(Counts(spared=1) if kill.spared else Counts(entries=1), was_sent)

    def _reject(self, reason: str, *, kill: bool) -> _Delivered:
        self._warn(f"the kernel handed over a record that cannot be true: {reason}, ignoring")
        return _Delivered(Counts(rejected=kill, refused=1), was_sent=False)
