# SPDX-License-Identifier: Apache-2.0
"""Says in the journal how many kills have no entry, and why."""

from collections.abc import Callable, Mapping
from typing import Protocol

from oomkilld.record.sink import JournalRefused, Sink

RING_FULL = "ring-full"
LOG_OVERWRITTEN = "log-overwritten"
RECORD_REJECTED = "record-rejected"
STOPPED = "stopped"


class Tally(Protocol):
    """What the kernel counts; see ring.Counters and logaudit.LogAudit."""

    @property
    def next_check_ns(self) -> int | None:
        """When to check again (monotonic); None: at the next tick."""

    def repeats(self) -> int:
        """Kills of a process that the same decision had killed before: no record of their own."""

    def missed(self) -> Mapping[str, int]:
        """Kills of which no record came, by reason, so far as known."""

    def check(self) -> None:
        """Bring what is known up to date."""

    def end(self) -> None:
        """Likewise, for the last time: all records that will be taken have been."""


class Audit:
    """Remembers what was said, so that each missed kill is counted in one entry only."""

    def __init__(self, sink: Sink, render: Callable[[int, str], list[bytes]]) -> None:
        self._sink = sink
        self._render = render
        self._said: dict[str, int] = {}

    def report(self, totals: Mapping[str, int]) -> bool:
        """Kills missed for each reason since the probe was attached.

        False when journald does not take all of it; what it did not take is said the next time.
        """
        for reason, total in totals.items():
            missed = total - self._said.get(reason, 0)
            if missed <= 0:
                continue
            try:
                self._sink.send(self._render(missed, reason))
            except JournalRefused:
                return False
            self._said[reason] = total
        return True
