# SPDX-License-Identifier: Apache-2.0
"""When to send again what journald refused: soon where others flood it, at growing intervals where it hangs."""

from collections.abc import Callable

from oomkilld.record.deliver.sink import JournalBusy, JournalRefused
from oomkilld.text import counted

# The interval is this part (1/16) of the time since the first refusal, within these limits.
_SHARE = 16
FIRST_RETRY_NS, LAST_RETRY_NS = 20 * 10**6, 2 * 10**9
# Longer refusals are logged, because an entry is promised within a second.
LATE_NS = 10**9
# Refusals less than this apart form one series: the first is logged at once, the others in one line after the series.
QUIET_NS = 60 * 10**9


class BackOff:
    """``reason``: why journald refuses entries; None: it accepts them. ``retry_ns``: when to retry (monotonic)."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self.reason: str | None = None
        self.retry_ns = 0
        self._since_ns = 0
        self._late_ns: int | None = None  # end of the last long refusal of the current series; None: no series
        self._more = self._more_ns = 0  # number and total duration of the series' refusals after the first

    def refused(self, error: JournalRefused, now_ns: int) -> None:
        """Set ``retry_ns``: journald has refused an entry."""
        if self.reason is None:
            self._since_ns = now_ns
        self.reason = str(error)
        if isinstance(error, JournalBusy):
            self.retry_ns = 0
        else:
            self.retry_ns = now_ns + min(max((now_ns - self._since_ns) // _SHARE, FIRST_RETRY_NS), LAST_RETRY_NS)

    def taken(self, now_ns: int) -> None:
        """Reset: journald accepts entries again. Log the refusal if it was long and the first of its series."""
        reason, waited_ns = self.reason, now_ns - self._since_ns
        self.reason, self.retry_ns = None, 0
        if waited_ns < LATE_NS:
            return
        if self._late_ns is None:
            self._warn(f"journald took no entries for {_seconds(waited_ns)} s ({reason}), sending waiting entries now")
        else:
            self._more += 1
            self._more_ns += waited_ns
        self._late_ns = now_ns

    def tell(self, now_ns: int, *, ended: bool = False) -> None:
        """Log the rest of a series of refusals once the series is over, or when this service has ``ended``."""
        if self._late_ns is None or not (ended or now_ns - self._late_ns >= QUIET_NS):
            return
        if self._more:
            times = counted(self._more, "more time", "more times")
            in_all = f"for {_seconds(self._more_ns)} s in total"
            self._warn(f"journald took no entries {times}, {in_all}, before it took them")
        self._late_ns, self._more, self._more_ns = None, 0, 0


def _seconds(ns: int) -> str:
    return f"{ns / 10**9:.1f}"
