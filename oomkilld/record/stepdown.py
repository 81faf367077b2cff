# SPDX-License-Identifier: Apache-2.0
"""Detects a probe that does not work: too many impossible records, or kills that it does not see.

Which record is impossible: capture/impossible.py.
"""

from collections import deque

from oomkilld.host.clock import KernelClock
from oomkilld.text import counted

TOO_MANY = 3
WITHIN_NS = 3600 * 10**9


class LevelJudge:
    """Decides when a level is unreliable. ``level_below`` None: there is no other level to go to.

    ``refused``: how many records were refused before this run. ``exact``: whether the level should see each kill.
    """

    def __init__(self, clock: KernelClock, level_below: str | None, refused: int = 0, *, exact: bool = True) -> None:
        self._clock = clock
        self._exact = exact
        self.level_below = level_below
        self.reason = ""  # why the level is unreliable
        self._refused = refused
        self._when: deque[int] = deque(maxlen=TOO_MANY)

    def finds_unreliable(self, refused: int, not_seen: int, seen: int) -> bool:
        """Counts so far. ``refused``: records; ``not_seen``: kills that only the kernel log has; ``seen``: other kills.

        True, if there is a level below: too many records were refused within WITHIN_NS, or a kill was not seen; at a
        level that is not exact, more kills were unseen than seen.
        """
        if self.level_below is None:
            return False
        if not_seen > (0 if self._exact else seen):
            kills = counted(not_seen, "kill")
            self.reason = f"the probe missed {kills} that the kernel log has"
        elif self._too_many(refused):
            self.reason = f"{TOO_MANY} impossible records within an hour"
        return bool(self.reason)

    def _too_many(self, refused: int) -> bool:
        now_ns = self._clock.monotonic_ns()
        # After a restart of journald, records are read and refused again: only more than ever before count.
        self._when.extend([now_ns] * min(TOO_MANY, max(0, refused - self._refused)))
        self._refused = max(self._refused, refused)
        return len(self._when) == TOO_MANY and now_ns - self._when[0] <= WITHIN_NS
