# SPDX-License-Identifier: Apache-2.0
"""Takes kills from the ring to the journal, and frees them only once their entries are stored.

An entry that journald has taken is not stored yet: killed right then, it loses what it had queued. So the
records stay in the ring for STORED_AFTER_NS more, and are freed only if journald is still the same by then;
otherwise they are sent again, with the same OOM_KILL_ID.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from oomkilld.record.decode import BadRecord, KillRecord, decode
from oomkilld.record.enrich import Clock
from oomkilld.record.ring import Item
from oomkilld.record.sink import Incarnation, Sink

STORED_AFTER_NS = 2 * 10**9


class Source(Protocol):
    """Where records come from; see ring.Ring."""

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""

    def peek(self, position: int) -> Item | None:
        """The record at ``position``, if there is one."""

    def free(self, position: int) -> None:
        """Free all records before ``position``."""


class Counts(NamedTuple):
    """What became of records: entries sent, repeats folded, records refused by the decoder."""

    entries: int = 0
    repeats: int = 0
    rejected: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Sum."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class _Batch(NamedTuple):
    """Records sent and not yet freed: up to ``end``, the last of them at ``sent_ns``."""

    end: int
    sent_ns: int
    incarnation: Incarnation
    counts: Counts


class Delivery:
    """Owns the reader's position in the ring."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        render: Callable[[KillRecord], list[bytes]],
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self._source = source
        self._sink = sink
        self._render = render
        self._clock = clock
        self._warn = warn
        self._position = source.consumer_position
        self._sent: deque[_Batch] = deque()
        self._freed = Counts()

    @property
    def counts(self) -> Counts:
        """Of all records taken from the ring so far; what must be sent again is not in it."""
        total = self._freed
        for batch in self._sent:
            total = total.plus(batch.counts)
        return total

    @property
    def next_settle_ns(self) -> int | None:
        """When the oldest batch may be freed (monotonic); None when nothing waits for that."""
        return self._sent[0].sent_ns + STORED_AFTER_NS if self._sent else None

    def drain(self, limit: int) -> bool:
        """Send up to ``limit`` records. False when the ring is empty. Raises JournalRefused: nothing is lost."""
        incarnation = self._sink.incarnation()
        counts = Counts()
        start = self._position
        taken = 0
        try:
            while taken < limit and (item := self._source.peek(self._position)):
                if item.record is not None:
                    counts = counts.plus(self._deliver(item.record))
                self._position = item.end
                taken += 1
        finally:
            if self._position != start:
                self._sent.append(_Batch(self._position, self._clock.monotonic_ns(), incarnation, counts))
        return taken == limit

    def settle(self) -> bool:
        """Free what is stored by now. True when journald was started anew and the rest must be drained again."""
        while self._sent and self._sent[0].sent_ns + STORED_AFTER_NS <= self._clock.monotonic_ns():
            if self._sent[0].incarnation != self._sink.incarnation():
                self._rewind()
                return True
            batch = self._sent.popleft()
            self._freed = self._freed.plus(batch.counts)
            self._source.free(batch.end)
        return False

    def _rewind(self) -> None:
        self._warn("journald was started anew: sending again what it may not have stored")
        self._sent.clear()
        self._position = self._source.consumer_position

    def _deliver(self, record: bytes) -> Counts:
        try:
            kill = decode(record)
        except BadRecord as error:
            self._warn(f"the kernel handed over a record that cannot be a kill: {error}, ignoring")
            return Counts(rejected=1)
        if kill.repeat:
            return Counts(repeats=1)
        self._sink.send(self._render(kill))
        return Counts(entries=1)
