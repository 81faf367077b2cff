# SPDX-License-Identifier: Apache-2.0
"""What was sent: whether journald has read it, and stored it.

A queued entry may not be read yet, and a read one not on disk: if journald is killed at that point, it is lost. So what
was sent counts as stored STORED_AFTER_NS after journald had read it, if it is the same journald still.
"""

from collections import deque

from oomkilld.host.clock import MonotonicClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import STORED_AFTER_NS, Incarnation, Sink

# How often to look whether journald has read what was sent: within milliseconds, or after hours where it is stopped.
FIRST_LOOK_NS, LAST_LOOK_NS = 20 * 10**6, 2 * 10**9


class _Point(NamedTuple):
    """Numbers ``first`` to ``end``, read at ``read_ns`` (monotonic), None: not yet. ``ids``: see sent()."""

    first: int
    end: int
    ids: int
    read_ns: int | None


class _Mark(NamedTuple):
    """The sink's, of all up to number ``end``: while others flood it, it never has read all that was sent by now."""

    end: int
    mark: int


class StoreTracker:
    """Numbers what is sent to journald in this run, from 1 on: ``read`` and ``stored`` are the last ones that are.

    ``stored_ids``: of the ids that were kept, how many are of entries that are stored. ``losses``: how often journald
    was another one, and what was not stored may be lost, of the first ``lost_ids``.
    """

    def __init__(self, sink: Sink, clock: MonotonicClock) -> None:
        self._sink = sink
        self._clock = clock
        self._points: deque[_Point] = deque()
        self._mark: _Mark | None = None
        self._look_ns, self._after_ns = 0, FIRST_LOOK_NS
        self.last = self.read = self.stored = 0
        self.stored_ids = 0
        self.losses = self.lost_ids = 0
        self._settle_at_once = False
        self._incarnation = sink.incarnation()  # to which all of ``_points`` was sent

    @property
    def next_settle_ns(self) -> int | None:
        """When to settle again (monotonic); None when nothing waits for that."""
        if self._settle_at_once:
            return 0
        if not self._points:
            return None
        oldest_ns = self._points[0].read_ns
        if oldest_ns is None:
            return self._look_ns
        stored_ns = oldest_ns + STORED_AFTER_NS
        return min(self._look_ns, stored_ns) if self._points[-1].read_ns is None else stored_ns

    @property
    def waits_for(self) -> Incarnation | None:
        """Which journald has what is not stored yet; None: all is stored, or lost."""
        return self._incarnation if self._points else None

    def same(self, number: int, other: int) -> bool:
        """Whether both are stored at once."""
        return number == other or bool(self._points and self._points[-1].first <= min(number, other))

    def sent(self, ids: int) -> int:
        """Something was sent right now: its number. ``ids``: how many were kept by then."""
        self.last += 1
        first = self.last
        soon_ns = self._clock.monotonic_ns() + FIRST_LOOK_NS
        if not self._points or self._points[-1].read_ns is not None or soon_ns < self._look_ns:
            self._look_ns, self._after_ns = soon_ns, 2 * FIRST_LOOK_NS
        if self._points and self._points[-1].read_ns is None and not self._is_marked(self._points[-1]):
            first = self._points.pop().first  # one with its like: in a storm there would be hundreds
        self._points.append(_Point(first, self.last, ids, None))
        return self.last

    def ping(self, ids: int) -> int:
        """Queue something behind all that was sent: its number. Raises JournalRefused."""
        self._sink.ping()
        return self.sent(ids)

    def incarnation(self) -> Incarnation:
        """Of journald, now."""
        return self._sink.incarnation()

    def look_for_loss(self) -> None:
        """Whether journald is another one: then nothing that is not stored waits for that any more.

        To be called before something is sent: had the one died that read it, it would count as the new one's.
        """
        before, self._incarnation = self._incarnation, self._sink.incarnation()
        if self._points and before != self._incarnation:
            self.lost_ids = self._points[-1].ids
            self._points.clear()
            self._mark = None
            self.losses += 1
            self._settle_at_once = True  # all who send are to see it

    def settle(self) -> None:
        """Look what is read and stored by now."""
        now_ns = self._clock.monotonic_ns()
        if (due_ns := self.next_settle_ns) is None or now_ns < due_ns:
            return
        self.look_for_loss()
        self._settle_at_once = False
        self._look(now_ns)
        while self._points and (read_ns := self._points[0].read_ns) is not None:
            if read_ns + STORED_AFTER_NS > now_ns:
                break
            point = self._points.popleft()
            self.stored, self.stored_ids = point.end, point.ids

    def _look(self, now_ns: int) -> None:
        if not self._points or self._points[-1].read_ns is not None or now_ns < self._look_ns:
            return
        self._set_mark()
        if self._mark is None or not self._sink.has_read(self._mark.mark):
            self._look_ns, self._after_ns = now_ns + self._after_ns, min(2 * self._after_ns, LAST_LOOK_NS)
            return
        self.read, self._mark = self._mark.end, None
        read = (p._replace(read_ns=now_ns) if p.read_ns is None and p.end <= self.read else p for p in self._points)
        self._points = deque(read)
        self._look_ns, self._after_ns = now_ns + FIRST_LOOK_NS, 2 * FIRST_LOOK_NS
        self._set_mark()

    def _is_marked(self, point: _Point) -> bool:
        return self._mark is not None and self._mark.end == point.end

    def _set_mark(self) -> None:
        last = self._points[-1]
        if self._mark is None and last.read_ns is None and (mark := self._sink.mark()) is not None:
            self._mark = _Mark(last.end, mark)
