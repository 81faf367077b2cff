# SPDX-License-Identifier: Apache-2.0
"""Tracks which entries journald has read and stored.

A queued entry may not be read yet, and a read one not on disk: if journald is killed at that point, it is lost. So an
entry counts as stored STORED_AFTER_NS after journald has read it, provided that journald has not restarted.
"""

from collections import deque

from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import STORED_AFTER_NS, Incarnation, Sink

# First and longest interval between checks whether journald has read entries: that may take milliseconds, or hours
# where journald is stopped.
FIRST_LOOK_NS, LAST_LOOK_NS = 20 * 10**6, 2 * 10**9


class _Point(NamedTuple):
    """Entries numbered ``first`` to ``end``, read at ``read_ns`` (monotonic; None: not yet). ``ids``: see sent()."""

    first: int
    end: int
    ids: int
    read_ns: int | None


class _Mark(NamedTuple):
    """A mark of the sink, behind everything up to number ``end``.

    While others flood journald, it never catches up with the last entry sent, so an earlier point is awaited.
    """

    end: int
    mark: int


class StoreTracker:
    """Numbers everything sent to journald in this run, from 1 on. ``read``, ``stored``: last number read and stored.

    ``stored_ids``: of the ids that were kept, how many are of entries that are stored. ``losses``: how often journald
    was another one, and what was not stored may be lost, of the first ``lost_ids``.
    """

    def __init__(self, sink: Sink, clock: KernelClock) -> None:
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
    def due_ns(self) -> int | None:
        """When to call settle() again (monotonic); None: everything sent is stored or lost."""
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
        """The journald that received the entries not stored yet; None: everything is stored or lost."""
        return self._incarnation if self._points else None

    def stored_together(self, number: int, other: int) -> bool:
        """Whether both numbers will count as stored at the same time."""
        return number == other or bool(self._points and self._points[-1].first <= min(number, other))

    def sent(self, ids: int) -> int:
        """Returns the number of what was just sent. ``ids``: size of the file of sent ids, including this entry's."""
        self.last += 1
        first = self.last
        soon_ns = self._clock.monotonic_ns() + FIRST_LOOK_NS
        if not self._points or self._points[-1].read_ns is not None or soon_ns < self._look_ns:
            self._look_ns, self._after_ns = soon_ns, 2 * FIRST_LOOK_NS
        if self._points and self._points[-1].read_ns is None and not self._is_marked(self._points[-1]):
            first = self._points.pop().first  # merge both points: a storm would add hundreds
        self._points.append(_Point(first, self.last, ids, None))
        return self.last

    def ping(self, ids: int) -> int:
        """Queue an empty message behind everything sent. Returns its number. Raises JournalRefused."""
        self._sink.ping()
        return self.sent(ids)

    def incarnation(self) -> Incarnation:
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
            self._settle_at_once = True  # wake the loop: each sender must notice the loss

    def settle(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if (due_ns := self.due_ns) is None or now_ns < due_ns:
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
