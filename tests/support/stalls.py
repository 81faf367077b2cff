# SPDX-License-Identifier: Apache-2.0
"""When this machine did not run: the excuse for a missed deadline.

A host may take a virtual machine's processors away for seconds, and no program there can keep a deadline then.
"""

import os
import threading
import time
from contextlib import suppress
from typing import NamedTuple, Self


class Stall(NamedTuple):
    """Seconds since 1970."""

    start: float
    end: float


class Stalls:
    """Watches how late each CPU wakes an idle thread, which has priority over all other work where that is allowed."""

    step = 0.002  # seconds between two wake-ups
    least = 0.001  # seconds: shorter delays are ordinary lateness of timers

    def __init__(self) -> None:
        self._found: list[Stall] = []
        self._ended = False
        self._threads = [threading.Thread(target=self._watch, args=(cpu,)) for cpu in os.sched_getaffinity(0)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()

    def within(self, start: float, end: float) -> float:
        """For how many of the seconds between ``start`` and ``end`` (since 1970) at least one CPU stood still."""
        total, counted = 0.0, start
        for stall in sorted(self._found):
            total += max(0.0, min(stall.end, end) - max(stall.start, counted))
            counted = max(counted, stall.end)
        return total

    @property
    def seconds(self) -> float:
        """The sum of all stalls until now."""
        return self.within(0.0, time.time())

    def _watch(self, cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while not self._ended:
            due = time.time() + self.step
            time.sleep(self.step)
            if (now := time.time()) - due > self.least:
                self._found.append(Stall(due, now))
