# SPDX-License-Identifier: Apache-2.0
"""The kernel's clocks."""

import time

from oomkilld.lighttyping import Protocol


class MonotonicClock(Protocol):
    """For deadlines."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""


class Clock(Protocol):
    """The kernel's clocks, in nanoseconds."""

    def boottime_ns(self) -> int:
        """Since boot, including suspend: the clock of the records."""

    def realtime_ns(self) -> int:
        """Since 1970."""

    def monotonic_ns(self) -> int:
        """For deadlines."""


class KernelClock:
    """The real clocks. ``boottime_offset_ns``: of this time namespace; the kernel's records are without it."""

    def __init__(self, boottime_offset_ns: int = 0) -> None:
        self._boottime_offset_ns = boottime_offset_ns

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME of the machine."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._boottime_offset_ns

    def realtime_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()
