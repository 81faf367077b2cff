# SPDX-License-Identifier: Apache-2.0
"""What of the ring was sent and is not freed yet, and what of that is stored by now; see delivery.py."""

from collections import deque

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.checkpoint import Counts
from oomkilld.record.deliver.sink import LOOK_AFTER_NS, STORED_AFTER_NS, Incarnation, Sink

# What was read back needs no time to be stored.
_LONG_AGO_NS = -STORED_AFTER_NS


class Batch(NamedTuple):
    """Records up to ``end``, sent to one journald; all of them read by it at ``read_ns``, None: not yet."""

    end: int
    incarnation: Incarnation
    counts: Counts
    read_ns: int | None


class _Mark(NamedTuple):
    """The sink's, of the records before ``end``: while others flood it, it never has read all that was sent by now."""

    end: int
    mark: int


class Tail:
    """The oldest first."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._batches: deque[Batch] = deque()
        self._mark: _Mark | None = None
        self._looked_ns = -LOOK_AFTER_NS

    @property
    def incarnation(self) -> Incarnation | None:
        """To which journald it was sent; None: there is nothing."""
        return self._batches[0].incarnation if self._batches else None

    @property
    def next_settle_ns(self) -> int | None:
        """When to settle again (monotonic); None when nothing waits for that."""
        if not self._batches:
            return None
        look_ns = self._looked_ns + LOOK_AFTER_NS
        oldest_ns = self._batches[0].read_ns
        if oldest_ns is None:
            return look_ns
        return min(look_ns, oldest_ns + STORED_AFTER_NS) if self._unread() else oldest_ns + STORED_AFTER_NS

    def add(self, batch: Batch, *, stored: bool) -> None:
        """One with its like: in a storm there would be hundreds. ``stored``: it was read back."""
        if stored:
            batch = batch._replace(read_ns=_LONG_AGO_NS)
        last = self._batches[-1] if self._batches else None
        if last and last.read_ns == batch.read_ns and not (self._mark and self._mark.end == last.end):
            batch = batch._replace(counts=self._batches.pop().counts.plus(batch.counts))
        self._batches.append(batch)

    def clear(self) -> None:
        """All of it is to be sent again."""
        self._batches.clear()
        self._mark = None

    def look(self, now_ns: int) -> None:
        """Which of it journald has read by now."""
        self._looked_ns = now_ns
        if not self._unread():
            return
        if self._mark is None and (mark := self._sink.mark()) is not None:
            self._mark = _Mark(self._batches[-1].end, mark)
        if self._mark is not None and self._sink.has_read(self._mark.mark):
            end, self._mark = self._mark.end, None
            read = (b._replace(read_ns=now_ns) if b.read_ns is None and b.end <= end else b for b in self._batches)
            self._batches = deque(read)

    def take_stored(self, now_ns: int) -> tuple[int, Counts] | None:
        """Takes away what is stored: its end, and what is counted of it."""
        end, counts = None, Counts()
        while self._batches and (read_ns := self._batches[0].read_ns) is not None:
            if read_ns + STORED_AFTER_NS > now_ns:
                break
            batch = self._batches.popleft()
            end, counts = batch.end, counts.plus(batch.counts)
        return None if end is None else (end, counts)

    def _unread(self) -> bool:
        return any(batch.read_ns is None for batch in self._batches)
