# SPDX-License-Identifier: Apache-2.0
"""Takes kills from the ring to the journal, and frees them only once their entries are stored.

An entry that journald has taken into its queue is not read, and one that it has read is not stored: killed right
then, it loses them. So the records stay in the ring until the queue was seen empty and STORED_AFTER_NS more, and
are freed only if journald is still the same: a run that comes to its end leaves that to the next. Where it is another
one, and after a run that was killed, it is read back what is stored, and the rest is sent again, with the same
OOM_KILL_ID.
"""

from collections.abc import Callable

from oomkilld.host.clock import Clock
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.decode import BadRecord, decode, is_kill
from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.checkpoint import Counts, Sent
from oomkilld.record.deliver.sink import ANOTHER, Incarnation, Sink, number_of
from oomkilld.record.deliver.tail import Batch, Tail
from oomkilld.record.kill import KillRecord, Release, Unkillable
from oomkilld.text import counted

_MOST_NOTHING = 1024  # of lines of the log, by 64, at the end: they may come faster than they are read


class DeliverySource(Protocol):
    """See checkpoint.KeptSource."""

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""

    @property
    def freed(self) -> Counts:
        """Of all records that are freed."""

    def peek(self, position: int) -> Item | None:
        """The record at ``position``, if there is one."""

    def sent_before(self) -> Sent | None:
        """What the run before has sent, and did not free any more."""

    def sending(self, number: int, kill: KillRecord) -> None:
        """The entry of that kill, with that number since the books were begun, is about to be sent."""

    def sent(self, sent: Sent) -> None:
        """So much is sent."""

    def free(self, position: int, freed: Counts) -> None:
        """Free all records before ``position``."""

    def leave(self, left: int, incarnation: Incarnation | None) -> int:
        """This run ends with ``left`` kills in it that were not sent: how many are lost; see checkpoint.KeptSource."""


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
    """What journald was given before and is stored; see resend.ReadBack."""

    def begin(self, entries: int, *, shown: bool) -> None:
        """The next ``entries`` were given to it, or to one that is not there any more.

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

    def forget(self) -> None:
        """What comes now was not sent before."""


class Target(NamedTuple):
    """Where entries go, and what tells which of them are there already."""

    sink: Sink
    stored: Stored


class _Again(NamedTuple):
    """All of it was sent before, so many entries of it are not known to be stored yet; of these so many are not."""

    sent: Sent
    given: int
    absent: int = 0


class Delivery:
    """Owns the reader's position in the source."""

    def __init__(
        self, source: DeliverySource, target: Target, handler: Handler, clock: Clock, warn: Callable[[str], None]
    ) -> None:
        self._source = source
        self._sink, self._stored = target
        self._handler = handler
        self._clock = clock
        self._warn = warn
        self._position = source.consumer_position
        self._tail = Tail(self._sink)
        self.waiting = False  # whether the next record, when last looked at, waited for what belongs to it
        self._freed = source.freed
        self._counts = self._freed
        self._again: _Again | None = None
        self._entries_sent = 0  # in this run
        self._passed_over = False
        # Whether a run that was killed has sent what is not read back yet: perhaps journald did not know its unit.
        self._killed = False
        if before := source.sent_before():
            self._go_on(before, self._sink.incarnation())

    @property
    def counts(self) -> Counts:
        """Of all records taken from the source so far; what must be sent again is not in it."""
        return self._counts

    @property
    def entries(self) -> int:
        """That were sent, those too that may have to be sent again."""
        return max(self._counts, self._again.sent.counts).entries if self._again else self._counts.entries

    @property
    def position(self) -> int:
        """Everything before it is sent."""
        return self._position

    @property
    def stored_position(self) -> int:
        """Everything before it is stored, and freed."""
        return self._source.consumer_position

    @property
    def next_settle_ns(self) -> int | None:
        """When to settle again (monotonic); None when nothing waits for that."""
        return self._tail.next_settle_ns

    def drain(self, limit: int) -> bool:
        """Send up to ``limit`` records. False when the ring is empty, or the next record waits for what belongs to it.

        Raises JournalRefused: nothing is lost.
        """
        incarnation = self._sink.incarnation()
        # Else what the one before was given would be taken for what this one was.
        if self._tail.incarnation not in (None, incarnation):
            self._rewind()
        known = self._stored.known()
        self.waiting = not known and not self._stored.ended
        if self.waiting:
            return False
        if not known:
            self._pass_over()
        self._end_again()
        taken = 0
        while taken < limit and (item := self._source.peek(self._position)):
            entries_before = self._entries_sent
            delivered = Counts() if item.record is None else self._deliver(item.record, item.end)
            if delivered is None:
                self.waiting = True
                break
            self._position, self._counts = item.end, self._counts.plus(delivered)
            taken += 1
            # Each for itself: killed in between, at most one has an entry that the next run does not know of.
            self._source.sent(Sent(self._position, self._counts))
            stored = self._again is not None and self._entries_sent == entries_before
            self._tail.add(Batch(self._position, incarnation, delivered, None), stored=stored)
            self._end_again()
        return taken == limit

    def settle(self) -> bool:
        """Free what is stored by now. True when journald was started anew and the rest must be drained again."""
        now_ns = self._clock.monotonic_ns()
        if (due_ns := self.next_settle_ns) is None or now_ns < due_ns:
            return False
        if self._tail.incarnation != self._sink.incarnation():
            self._rewind()
            return True
        self._tail.look(now_ns)
        if stored := self._tail.take_stored(now_ns):
            end, counts = stored
            self._freed = self._freed.plus(counts)
            self._source.free(end, self._freed)
        return False

    def leave(self) -> tuple[int, int]:
        """The end has come: how many kills were never sent, and how many of them are lost by that."""
        kills = nothing = 0
        sent_to = self._again.sent.position if self._again else self._position
        while nothing < _MOST_NOTHING and (item := self._source.peek(self._position)):
            nothing += item.end == self._position
            # What was to be sent again is known to the next run by its id.
            kills += item.end > sent_to and item.record is not None and is_kill(item.record)
            self._position = item.end
        given_to = self._tail.incarnation
        if self._again or self._passed_over:
            given_to = None if self._killed else ANOTHER
        return kills, self._source.leave(kills, given_to)

    def _go_on(self, before: Sent, incarnation: Incarnation) -> None:
        if before.sent_to != number_of(incarnation):
            self._killed = not before.sent_to
            self._read_back(before)
            return
        self._position, self._counts, _sent_to = before
        self._tail.add(Batch(self._position, incarnation, self._counts.minus(self._freed), None), stored=False)

    def _pass_over(self) -> None:
        """What was sent before is left to the next run."""
        if self._again:
            self._position, self._counts, _sent_to = self._again.sent
            self._again, self._passed_over = None, True

    def _rewind(self) -> None:
        self._tail.clear()
        sent = Sent(self._position, self._counts)
        self._read_back(max(sent, self._again.sent) if self._again else sent)
        self._counts = self._freed
        self._position = self._source.consumer_position
        self._source.sent(Sent(self._position, self._counts))

    def _read_back(self, sent: Sent) -> None:
        given = sent.counts.minus(self._freed)
        self._again = _Again(sent, given.entries + given.spared)
        self._stored.begin(self._again.given, shown=self._killed)

    def _end_again(self) -> None:
        """When all of it is done with."""
        if self._again is None or self._position < self._again.sent.position:
            return
        _sent, given, absent = self._again
        if absent and self._stored.was_read:
            are = counted(absent, "entry is", "entries are")
            self._warn(f"{are} not in the journal as this service's, of the last {given}: sent again")
        self._stored.forget()
        self._again, self._killed = None, False

    def _deliver(self, record: bytes | KillRecord | Unkillable, end: int) -> Counts | None:
        """None: it is not ready yet."""
        try:
            kill = decode(record)
        except BadRecord as error:
            return self._reject(str(error), kill=is_kill(record))
        if isinstance(kill, Release):
            self._handler.released(kill)
            return Counts()
        if isinstance(kill, Unkillable):
            self._handler.unkillable(kill)
            return Counts()
        if reason := self._handler.untrue(kill):
            return self._reject(reason, kill=not kill.spared)
        if not self._stored.has(kill):
            if not self._handler.ready(kill, more=self._source.peek(end) is not None):
                return None
            fields = self._handler.render(kill)
            self._source.sending(self._counts.entries, kill)
            self._sink.send(fields)
            self._handler.sent(kill, fields)
            self._entries_sent += 1
            if self._again:
                self._again = self._again._replace(absent=self._again.absent + 1)
        return Counts(spared=1) if kill.spared else Counts(entries=1)

    def _reject(self, reason: str, *, kill: bool) -> Counts:
        self._warn(f"the kernel handed over a record that cannot be true: {reason}, ignoring")
        return Counts(rejected=kill, refused=1)
