# SPDX-License-Identifier: Apache-2.0
"""The service's own log lines: in the journal, or on stderr when run by hand."""

from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.stderr import say

WARNING, INFO = 4, 6


def log_fields(priority: int, text: str) -> list[bytes]:
    """A log line as a journal entry."""
    return [b"MESSAGE=" + text.encode(), b"PRIORITY=%d" % priority, b"SYSLOG_IDENTIFIER=oomkilld"]


class Log:
    """Leaves out lines less urgent than ``limit``. ``journal`` None: writes to stderr."""

    def __init__(self, limit: int, journal: Sink | None) -> None:
        self._limit = limit
        self._journal = journal

    def warning(self, text: str) -> None:
        self._say(WARNING, text)

    def info(self, text: str) -> None:
        self._say(INFO, text)

    def _say(self, priority: int, text: str) -> None:
        if priority > self._limit:
            return
        if self._journal is None:
            say(priority, text)
            return
        try:
            self._journal.send(log_fields(priority, text))
        except JournalRefused:
            return  # the queue's room is for kills
