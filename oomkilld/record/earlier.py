# SPDX-License-Identifier: Apache-2.0
"""Whether the journal has by now what runs before this one have sent: what it has not then, it will never have."""

from oomkilld.lighttyping import Protocol
from oomkilld.record.cgroupfs import MonotonicClock
from oomkilld.record.looks import Looks
from oomkilld.record.sink import STORED_AFTER_NS


class Queue(Protocol):
    """See journal.Journal."""

    def mark(self) -> int | None:
        """Stands for all that was sent by now, by this run and before; None: that is not to be told yet."""

    def has_read(self, mark: int) -> bool:
        """Whether nothing of that waits to be read any more."""


class EarlierRuns:
    """journald reads in the order in which it was sent to, and then needs some time; or dies, and loses it."""

    def __init__(self, queue: Queue, clock: MonotonicClock) -> None:
        self._queue = queue
        self._clock = clock
        self._mark: int | None = None
        self._read_ns: int | None = None
        self._settled = False
        self._looks = Looks()

    @property
    def next_look_ns(self) -> int:
        """When to ask again (monotonic)."""
        return self._looks.next_ns if self._read_ns is None else self._read_ns + STORED_AFTER_NS

    def settled(self) -> bool:
        """Once it is, for good. To be asked again and again: when it was read is when that is seen here."""
        if self._settled:
            return True
        now_ns = self._clock.monotonic_ns()
        if self._read_ns is None:
            if self._mark is None:
                self._mark = self._queue.mark()
            if self._mark is not None and self._queue.has_read(self._mark):
                self._read_ns = now_ns
            else:
                self._looks.looked(now_ns)
        self._settled = self._read_ns is not None and now_ns >= self._read_ns + STORED_AFTER_NS
        return self._settled
