# SPDX-License-Identifier: Apache-2.0
"""The kernel's clocks."""

import time


class KernelClock:
    """In nanoseconds. ``boottime_offset_ns``: of this time namespace; the kernel's records are without it."""

    def __init__(self, boottime_offset_ns: int = 0) -> None:
        self._boottime_offset_ns = boottime_offset_ns

    def boottime_ns(self) -> int:
        """Since boot, including suspend: the clock of the records."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._boottime_offset_ns

    def realtime_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()
