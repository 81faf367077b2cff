# SPDX-License-Identifier: Apache-2.0
"""From printk's clock to CLOCK_BOOTTIME.

The two begin apart, drift, and only one goes on while the machine sleeps. What is certain is that a line is read after
it was written: the least that lay between its stamp and its reading, of all lines of late, is the nearest to what lies
between the clocks. A time told here is therefore never after the reading, and late by no more than the quickest of
those readings was.
"""

from oomkilld.host.clock import Clock

# For so long a reading counts, and at most twice as long.
_EPOCH_NS = 300 * 10**9


class LogClock:
    """Must be told of every line, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._epoch_began_ns = 0
        self._least_ns: int | None = None  # of this epoch
        self._least_before_ns: int | None = None
        self._last_ns = 0

    def began_usec(self, usec: int) -> int:
        """The stamp that a line would have had when the reading began, by one with this stamp that is read just now."""
        return usec - (self._clock.monotonic_ns() - self._began_ns) // 1000

    def boottime_ns(self, usec: int) -> int:
        """When the line with this stamp, read now, was written; later than all before."""
        now_ns = self._clock.monotonic_ns()  # which sleeps with the machine, as printk's does
        if now_ns - self._epoch_began_ns >= _EPOCH_NS:
            self._epoch_began_ns, self._least_before_ns, self._least_ns = now_ns, self._least_ns, None
        offset_ns = now_ns - usec * 1000
        self._least_ns = offset_ns if self._least_ns is None else min(self._least_ns, offset_ns)
        self._last_ns = max(self.written_ns(usec), self._last_ns + 1)
        return self._last_ns

    def written_ns(self, usec: int) -> int:
        """When one that was told before was written, as far as known by now."""
        assert self._least_ns is not None
        offset_ns = self._least_ns if self._least_before_ns is None else min(self._least_ns, self._least_before_ns)
        asleep_ns = self._clock.boottime_ns() - self._clock.monotonic_ns()
        return usec * 1000 + offset_ns + asleep_ns
