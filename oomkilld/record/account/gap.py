# SPDX-License-Identifier: Apache-2.0
"""Kills that the kernel counted and that have no record, while the kernel log is searched for them."""

from oomkilld.lighttyping import NamedTuple

# Pause after a search that found nothing. Each search starts a process, and a wrong count could rise for ever.
FIRST_REST_NS, LAST_REST_NS = 12 * 10**9, 300 * 10**9


class Gap(NamedTuple):
    """Kills that the kernel counted and that have no record, by cause.

    ``before``: before this source existed; ``lost``: the source had no room; ``since``: the source did not see them.
    ``recalled``: number of kills found in the kernel log when these were counted.
    """

    before: int = 0
    lost: int = 0
    since: int = 0
    recalled: int = 0

    @property
    def kills(self) -> int:
        return self.before + self.lost + self.since

    def less(self, recalled: int) -> "Gap":
        """What is left once ``recalled`` kills are found: they fill ``before`` first, then ``lost``, then ``since``."""
        found = recalled - self.recalled
        before = max(0, self.before - found)
        found -= self.before - before
        lost = max(0, self.lost - found)
        found -= self.lost - lost
        return Gap(before, lost, max(0, self.since - found), recalled)


class Rest:
    """The growing pause between searches that find nothing. ``until_ns`` (monotonic): earliest next search."""

    def __init__(self) -> None:
        self.until_ns = 0
        self._rest_ns = 0

    def looked(self, now_ns: int, *, in_vain: bool) -> None:
        """A search has ended. ``in_vain``: it found nothing."""
        if not in_vain or now_ns - self.until_ns > LAST_REST_NS:
            self._rest_ns = 0
        if in_vain:
            self._rest_ns = min(max(2 * self._rest_ns, FIRST_REST_NS), LAST_REST_NS)
        self.until_ns = now_ns + self._rest_ns
