# SPDX-License-Identifier: Apache-2.0
"""Kills that the kernel counted and that have no record, while they are looked for."""

from oomkilld.lighttyping import NamedTuple


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
