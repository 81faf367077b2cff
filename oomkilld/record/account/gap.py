# SPDX-License-Identifier: Apache-2.0
"""Kills that the kernel counted and that have no record, while they are looked for."""

from oomkilld.lighttyping import NamedTuple

# From one look in vain to the next: that is a process each time, and the count may rise for ever, and be wrong.
FIRST_REST_NS, LAST_REST_NS = 12 * 10**9, 300 * 10**9


class Gap(NamedTuple):
    """Kills that the kernel counted and that have no record: before this source was there; lost by it; not seen by it.

    ``recalled``: how many had been found in the kernel's log by then.
    """

    before: int = 0
    lost: int = 0
    since: int = 0
    recalled: int = 0

    @property
    def kills(self) -> int:
        """All of them."""
        return self.before + self.lost + self.since

    def less(self, recalled: int) -> "Gap":
        """What is left of it when so many have been found, in that order."""
        found = recalled - self.recalled
        before = max(0, self.before - found)
        found -= self.before - before
        lost = max(0, self.lost - found)
        found -= self.lost - lost
        return Gap(before, lost, max(0, self.since - found), recalled)


class Rest:
    """Looks that find nothing are made less and less often; ``until_ns`` (monotonic): the next one."""

    def __init__(self) -> None:
        self.until_ns = 0
        self._rest_ns = 0

    def looked(self, now_ns: int, *, in_vain: bool) -> None:
        """It has come to its end."""
        if not in_vain or now_ns - self.until_ns > LAST_REST_NS:
            self._rest_ns = 0
        if in_vain:
            self._rest_ns = min(max(2 * self._rest_ns, FIRST_REST_NS), LAST_REST_NS)
        self.until_ns = now_ns + self._rest_ns
