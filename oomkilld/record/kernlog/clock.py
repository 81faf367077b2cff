# SPDX-License-Identifier: Apache-2.0
"""Converts printk's clock to CLOCK_BOOTTIME.

The two clocks start apart and drift, and only CLOCK_BOOTTIME runs during suspend. A line is always read after it was
written, so the smallest difference between reading and timestamp, over the recent lines, comes closest to the offset
of the clocks. A converted time is therefore never later than the reading, and late by at most the shortest delay of the
recent readings.
"""

from oomkilld.host.clock import KernelClock

# A reading counts for at least this time, and for at most twice as long.
_EPOCH_NS = 300 * 10**9


class LogClock:
    """Needs every line, in order."""

    def __init__(self, clock: KernelClock) -> None:
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._epoch_began_ns = 0
        self._least_ns: int | None = None  # of this epoch
        self._least_before_ns: int | None = None
        self._last_ns = 0

    def began_usec(self, usec: int) -> int:
        """When reading began, as a timestamp of the log; ``usec``: that of a line that was just read."""
        return usec - (self._clock.monotonic_ns() - self._began_ns) // 1000

    def boottime_ns(self, usec: int) -> int:
        """When the line with this timestamp, which was just read, was written; later than every earlier result."""
        now_ns = self._clock.monotonic_ns()  # stops during suspend, as printk's clock does
        if now_ns - self._epoch_began_ns >= _EPOCH_NS:
            self._epoch_began_ns, self._least_before_ns, self._least_ns = now_ns, self._least_ns, None
        offset_ns = now_ns - usec * 1000
        self._least_ns = offset_ns if self._least_ns is None else min(self._least_ns, offset_ns)
        self._last_ns = max(self.written_ns(usec), self._last_ns + 1)
        return self._last_ns

    def written_ns(self, usec: int) -> int:
        """When an earlier line with this timestamp was written, by what is known now."""
        assert self._least_ns is not None
        offset_ns = self._least_ns if self._least_before_ns is None else min(self._least_ns, self._least_before_ns)
        asleep_ns = self._clock.boottime_ns() - self._clock.monotonic_ns()
        return usec * 1000 + offset_ns + asleep_ns
