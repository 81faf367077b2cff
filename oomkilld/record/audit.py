# SPDX-License-Identifier: Apache-2.0
"""Says in the journal how many kills have no entry, and why."""

from collections.abc import Callable

from oomkilld.record.sink import JournalRefused, Sink

RING_FULL = "ring-full"
RECORD_REJECTED = "record-rejected"


class Audit:
    """Remembers what was said, so that each missed kill is counted in one entry only."""

    def __init__(self, sink: Sink, render: Callable[[int, str], list[bytes]]) -> None:
        self._sink = sink
        self._render = render
        self._said = {RING_FULL: 0, RECORD_REJECTED: 0}

    def report(self, lost: int, rejected: int) -> None:
        """Totals since the probe was attached. What journald does not take is said the next time."""
        for reason, total in ((RING_FULL, lost), (RECORD_REJECTED, rejected)):
            missed = total - self._said[reason]
            if missed <= 0:
                continue
            try:
                self._sink.send(self._render(missed, reason))
            except JournalRefused:
                return
            self._said[reason] = total
