# SPDX-License-Identifier: Apache-2.0
"""When to try again what journald did not take: soon where others flood it, less and less often where it hangs."""

from collections.abc import Callable

from oomkilld.record.deliver.sink import JournalBusy, JournalRefused
from oomkilld.text import counted

# So much of the time that it has taken nothing for; within these.
_SHARE = 16
FIRST_RETRY_NS, LAST_RETRY_NS = 20 * 10**6, 2 * 10**9
# From then on it is said that it took nothing: an entry is promised within a second.
LATE_NS = 10**9
# What comes again within that is said together with what follows it, once there was nothing of the kind for so long.
QUIET_NS = 60 * 10**9


class BackOff:
    """``reason``: why it takes nothing; None: it does. ``retry_ns``: when to try again (monotonic)."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self.reason: str | None = None
        self.retry_ns = 0
        self._since_ns = 0
        self._late_ns: int | None = None  # when it took something again the last time, of those that are one in a row
        self._more = self._more_ns = 0  # of these, how often after the first one, and for how long

    def refused(self, error: JournalRefused, now_ns: int) -> None:
        """It took nothing."""
        if self.reason is None:
            self._since_ns = now_ns
        self.reason = str(error)
        if isinstance(error, JournalBusy):
            self.retry_ns = 0
        else:
            self.retry_ns = now_ns + min(max((now_ns - self._since_ns) // _SHARE, FIRST_RETRY_NS), LAST_RETRY_NS)

    def taken(self, now_ns: int) -> None:
        """It takes something again."""
        reason, waited_ns = self.reason, now_ns - self._since_ns
        self.reason, self.retry_ns = None, 0
        if waited_ns < LATE_NS:
            return
        if self._late_ns is None:
            self._warn(f"journald took no entries for {_seconds(waited_ns)} s ({reason}); what waited is being sent")
        else:
            self._more += 1
            self._more_ns += waited_ns
        self._late_ns = now_ns

    def tell(self, now_ns: int, *, ended: bool = False) -> None:
        """Say how often it came again, once that is over, as it is where this service has ``ended``."""
        if self._late_ns is None or not (ended or now_ns - self._late_ns >= QUIET_NS):
            return
        if self._more:
            times = counted(self._more, "more time", "more times")
            in_all = f"for {_seconds(self._more_ns)} s in all"
            self._warn(f"journald took no entries {times}, {in_all}; what waited was sent")
        self._late_ns, self._more, self._more_ns = None, 0, 0


def _seconds(ns: int) -> str:
    return f"{ns / 10**9:.1f}"
