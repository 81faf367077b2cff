# SPDX-License-Identifier: Apache-2.0
"""Guards against a probe that does not work: too many records that cannot be true, or kills that it does not see.

Which record cannot be true: capture/plausible.py.
"""

from collections import deque

from oomkilld.host.clock import Clock
from oomkilld.text import counted

TOO_MANY = 3
WITHIN_NS = 3600 * 10**9


class Drift:
    """Says when a level is not to be relied on. ``level_below`` None: there is no other level to go to.

    ``refused``: how many records were before this run. ``exact``: whether it should see each kill.
    """

    def __init__(self, clock: Clock, level_below: str | None, refused: int = 0, *, exact: bool = True) -> None:
        self._clock = clock
        self._exact = exact
        self.level_below = level_below
        self.reason = ""  # why it is not
        self._refused = refused
        self._when: deque[int] = deque(maxlen=TOO_MANY)

    def exceeded(self, refused: int, not_seen: int, seen: int) -> bool:
        """``refused``: how many records so far; ``not_seen``: kills that only the kernel's log has; ``seen``: others.

        True: one that was not seen is enough, where not each is seen anyway more than were; of records that were
        refused too many within WITHIN_NS; and there is a level below.
        """
        if self.level_below is None:
            return False
        if not_seen > (0 if self._exact else seen):
            kills = counted(not_seen, "kill that was not seen", "kills that were not seen")
            self.reason = f"the kernel's log has {kills}"
        elif self._too_many(refused):
            self.reason = f"{TOO_MANY} of its records within an hour could not be true"
        return bool(self.reason)

    def _too_many(self, refused: int) -> bool:
        now_ns = self._clock.monotonic_ns()
        # Records that are read again, after journald was started anew, are refused again: only more than ever counts.
        self._when.extend([now_ns] * min(TOO_MANY, max(0, refused - self._refused)))
        self._refused = max(self._refused, refused)
        return len(self._when) == TOO_MANY and now_ns - self._when[0] <= WITHIN_NS
