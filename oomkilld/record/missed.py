# SPDX-License-Identifier: Apache-2.0
"""Says in the journal how many kills have no entry, and why."""

from collections.abc import Callable, Mapping

from oomkilld.record.books import Books
from oomkilld.record.sink import JournalRefused, Sink

RING_FULL = "ring-full"
LOG_OVERWRITTEN = "log-overwritten"
RECORD_REJECTED = "record-rejected"
STOPPED = "stopped"
NOT_RUNNING = "not-running"
NOT_SEEN = "not-seen"

_SAID = {
    RING_FULL: "said_ring_full",
    RECORD_REJECTED: "said_rejected",
    STOPPED: "said_stopped",
    NOT_RUNNING: "said_not_running",
    # One or the other, as the level is.
    NOT_SEEN: "said_not_seen",
    LOG_OVERWRITTEN: "said_not_seen",
}


class MissedNotice:
    """Keeps in the books what was said, so that each missed kill is counted in one entry only."""

    def __init__(self, sink: Sink, books: Books, render: Callable[[int, str], list[bytes]]) -> None:
        self._sink = sink
        self._books = books
        self._render = render

    def report(self, totals: Mapping[str, int]) -> bool:
        """``totals``: kills missed by reason, since the books were begun.

        False when journald does not take all of it; what it did not take is said the next time.
        """
        for reason, total in totals.items():
            said = _SAID[reason]
            missed = total - getattr(self._books.totals, said)
            if missed <= 0:
                continue
            try:
                self._sink.send(self._render(missed, reason))
            except JournalRefused:
                return False
            self._books.commit(self._books.totals._replace(**{said: total}))
        return True
