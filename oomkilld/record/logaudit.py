# SPDX-License-Identifier: Apache-2.0
"""Counts the kills of which the kernel's log had no line any more, by the kernel's own count; ``audit.Tally``."""

from collections.abc import Callable, Mapping

from oomkilld.record.audit import LOG_OVERWRITTEN
from oomkilld.record.enrich import Clock
from oomkilld.record.logsource import LogSource

# The kernel counts a kill right before it prints its line.
PRINTED_AFTER_NS = 10**9


class LogAudit:
    """``kernel_count`` reads /proc/vmstat's oom_kill, None: not to be had; ``before``: what it was at first."""

    def __init__(
        self, source: LogSource, kernel_count: Callable[[], int | None], before: int | None, clock: Clock
    ) -> None:
        self._source = source
        self._kernel_count = kernel_count
        self._before = before
        self._clock = clock
        self._missing = 0
        self._asked: tuple[int, int] | None = None  # kills that the kernel had counted, and when (monotonic)
        self._due_ns = 0

    @property
    def next_check_ns(self) -> int | None:
        """When to check again (monotonic); None: at the next tick."""
        return None if self._asked is None else self._due_ns

    def repeats(self) -> int:
        """Kills of a process that the same decision had killed before."""
        return self._source.repeats

    def missed(self) -> Mapping[str, int]:
        """Kills without a line, so far as known."""
        return {LOG_OVERWRITTEN: self._missing}

    def check(self) -> None:
        """Compare. What is missing is missing only if the log is read to its end some time after the count."""
        now_ns = self._clock.monotonic_ns()
        if self._asked is None:
            counted = self._counted()
            if counted <= self._source.kills + self._missing:
                return
            self._asked = counted, now_ns
        counted, asked_ns = self._asked
        if self._source.empty_ns >= asked_ns + PRINTED_AFTER_NS:
            self._asked = None
            self._settle(counted)
        else:
            self._due_ns = now_ns + PRINTED_AFTER_NS

    def end(self) -> None:
        """Compare for the last time; the log has been read as far as it will be."""
        self._asked = None
        self._settle(self._counted())

    def _counted(self) -> int:
        count = self._kernel_count()
        return 0 if count is None or self._before is None else count - self._before

    def _settle(self, counted: int) -> None:
        self._missing = max(self._missing, counted - self._source.kills)
