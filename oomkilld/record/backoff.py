# SPDX-License-Identifier: Apache-2.0
"""When to try again what journald did not take: soon where others flood it, less and less often where it hangs."""

from oomkilld.record.sink import JournalBusy, JournalRefused

# So much of the time that it has taken nothing for; within these.
_SHARE = 16
FIRST_RETRY_NS, LAST_RETRY_NS = 20 * 10**6, 2 * 10**9


class BackOff:
    """``reason``: why it takes nothing; None: it does. ``retry_ns``: when to try again (monotonic)."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.retry_ns = 0
        self._since_ns = 0

    def refused(self, error: JournalRefused, now_ns: int) -> None:
        """It took nothing."""
        if self.reason is None:
            self._since_ns = now_ns
        self.reason = str(error)
        if isinstance(error, JournalBusy):
            self.retry_ns = 0
        else:
            self.retry_ns = now_ns + min(max((now_ns - self._since_ns) // _SHARE, FIRST_RETRY_NS), LAST_RETRY_NS)

    def taken(self, now_ns: int) -> float:
        """It takes something again: after how many seconds."""
        self.reason, self.retry_ns = None, 0
        return (now_ns - self._since_ns) / 10**9
