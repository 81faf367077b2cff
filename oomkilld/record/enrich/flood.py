# SPDX-License-Identifier: Apache-2.0
"""How much of a kill is told: less in a flood of one owner, which would push the rest of the journal out.

Counted by what nobody can have more of by making cgroups (see cgrouppath.owner_key()), so that who floods from many is
one. Judged by the kernel's time of the kills, whenever they are read. Records may come again when journald was started
anew (see delivery.py): they are told as they were before.
"""

from array import array
from bisect import bisect_left, bisect_right

from oomkilld.host.cgrouppath import owner_key
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.kill import KillRecord

WITHIN_NS = 10 * 10**9
# So many owners are counted at a time, and all others together.
MAX_OWNERS = 256
# As many floods may have their share in full; beyond that, who has more than an even share of it is reduced.
FLOODS = 4

_OTHERS = b""


class Detail:
    """From the ``reduce_from``-th kill within WITHIN_NS of one owner on, kills are reduced; 0: none is.

    Processes that were spared count like kills, for they have entries, too. ``remembered``: how many verdicts are kept
    at least; what comes again must be among them.
    """

    def __init__(self, reduce_from: int, remembered: int) -> None:
        self._reduce_from = reduce_from
        self._remembered = remembered
        self._kills: dict[bytes, array[int]] = {}  # when, of each owner, at most ``reduce_from``
        self._verdicts = array("Q")  # kill_boottime_ns << 1 | reduced, in the order of time

    def reduced(self, kill: KillRecord, cause: Cause) -> bool:
        """Whether only what matters most shall be told."""
        if not self._reduce_from:
            return False
        # Kills never overlap, so no two have the same time, and the next one belongs at the end.
        at = bisect_left(self._verdicts, kill.kill_boottime_ns << 1)
        if at < len(self._verdicts) and self._verdicts[at] >> 1 == kill.kill_boottime_ns:
            return bool(self._verdicts[at] & 1)
        reduced = self._count(owner_of(kill, cause), kill.kill_boottime_ns) >= self._allowed()
        self._verdicts.insert(at, kill.kill_boottime_ns << 1 | reduced)
        if len(self._verdicts) >= 2 * self._remembered:
            del self._verdicts[: self._remembered]
        return reduced

    def _count(self, owner: bytes, now_ns: int) -> int:
        """With this one, at most ``reduce_from``."""
        self._forget(now_ns - WITHIN_NS)
        if owner not in self._kills and len(self._kills) >= MAX_OWNERS:
            owner = _OTHERS
        kills = self._kills.setdefault(owner, array("Q"))
        kills.append(now_ns)
        del kills[: -self._reduce_from]
        return len(kills)

    def _allowed(self) -> int:
        """Of how many kills of one owner, and more, the last one is reduced."""
        if sum(map(len, self._kills.values())) < FLOODS * self._reduce_from:
            return self._reduce_from
        # Whoever has more is the first to have less.
        return min(self._reduce_from, max(1, FLOODS * self._reduce_from // len(self._kills)) + 1)

    def _forget(self, past_ns: int) -> None:
        """Kills of long ago, and owners without any other."""
        past = [owner for owner, kills in self._kills.items() if kills[0] <= past_ns]
        for owner in past:
            kills = self._kills[owner]
            del kills[: bisect_right(kills, past_ns)]
            if not kills:
                del self._kills[owner]


def owner_of(kill: KillRecord, cause: Cause) -> bytes:
    """Of the domain; where that is the machine's memory, or a place that many share, of the victim."""
    place = _OTHERS
    domain = kill.domain_cgroup if cause.domain in (None, "cgroup") else None
    for path in (domain, kill.victim_cgroup):
        if path is not None:
            owner, answers = owner_key(path)
            if answers:
                return owner
            place = owner
    return place
