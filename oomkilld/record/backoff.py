# SPDX-License-Identifier: Apache-2.0
"""When to try again what journald did not take: at once where it may take it, less and less often where it hangs."""

from oomkilld.record.sink import JournalBusy, JournalRefused

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.05, 2.0
_NS = 10**9


class BackOff:
    """``reason``: why it takes nothing; None: it does. ``retry_ns``: when to try again (monotonic)."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.retry_ns = 0
        self._since_ns = 0
        self._seconds = 0.0

    def refused(self, error: JournalRefused, now_ns: int) -> None:
        """It took nothing."""
        if self.reason is None:
            self._since_ns, self._seconds = now_ns, FIRST_RETRY_SECONDS / 2
        self.reason = str(error)
        if isinstance(error, JournalBusy):
            self.retry_ns = 0
        else:
            self._seconds = min(self._seconds * 2, LAST_RETRY_SECONDS)
            self.retry_ns = now_ns + int(self._seconds * _NS)

    def taken(self, now_ns: int) -> float:
        """It takes something again: after how many seconds."""
        self.reason, self.retry_ns = None, 0
        return (now_ns - self._since_ns) / _NS
