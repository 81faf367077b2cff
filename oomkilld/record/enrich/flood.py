# SPDX-License-Identifier: Apache-2.0
"""How detailed an entry is: less in a flood of one owner, which would push other entries out of the journal.

An owner is what nobody can multiply by creating cgroups (see cgrouppath.owner_key()), so a flood from many cgroups
counts as one. The time of a kill is the kernel's, whenever its record is read. After a restart of journald, records may
come again (see delivery.py): they get the same verdict as before.
"""

from array import array
from bisect import bisect_left, bisect_right

from oomkilld.host.cgrouppath import owner_key
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.kill import KillRecord

WITHIN_NS = 10 * 10**9
# Owners that are counted at a time; all others count as one.
MAX_OWNERS = 256
# As many owners may flood in full detail. Beyond that, an owner with more than an even share of this is reduced.
FLOODS = 4

_OTHERS = b""


class Detail:
    """From the ``reduce_from``-th kill of one owner within WITHIN_NS on, kills are reduced; 0: never.

    Spared processes count like kills, because they have entries, too. ``remembered``: how many verdicts to keep at
    least, which must cover all records that may come again.
    """

    def __init__(self, reduce_from: int, remembered: int) -> None:
        self._reduce_from = reduce_from
        self._remembered = remembered
        self._kills: dict[bytes, array[int]] = {}  # times by owner, at most ``reduce_from`` each
        self._verdicts = array("Q")  # kill_boottime_ns << 1 | reduced, sorted by time

    def reduced(self, kill: KillRecord, cause: Cause) -> bool:
        if not self._reduce_from:
            return False
        # Kills never overlap, so no two have the same time, and a new one belongs at the end.
        at = bisect_left(self._verdicts, kill.kill_boottime_ns << 1)
        if at < len(self._verdicts) and self._verdicts[at] >> 1 == kill.kill_boottime_ns:
            return bool(self._verdicts[at] & 1)
        reduced = self._count(owner_of(kill, cause), kill.kill_boottime_ns) >= self._allowed()
        self._verdicts.insert(at, kill.kill_boottime_ns << 1 | reduced)
        if len(self._verdicts) >= 2 * self._remembered:
            del self._verdicts[: self._remembered]
        return reduced

    def _count(self, owner: bytes, now_ns: int) -> int:
        """Count this kill; returns the owner's kills, at most ``reduce_from``."""
        self._forget(now_ns - WITHIN_NS)
        if owner not in self._kills and len(self._kills) >= MAX_OWNERS:
            owner = _OTHERS
        kills = self._kills.setdefault(owner, array("Q"))
        kills.append(now_ns)
        del kills[: -self._reduce_from]
        return len(kills)

    def _allowed(self) -> int:
        """From how many kills of one owner on the last one is reduced."""
        if sum(map(len, self._kills.values())) < FLOODS * self._reduce_from:
            return self._reduce_from
        # The owners with the most kills are reduced first.
        return min(self._reduce_from, max(1, FLOODS * self._reduce_from // len(self._kills)) + 1)

    def _forget(self, past_ns: int) -> None:
        past = [owner for owner, kills in self._kills.items() if kills[0] <= past_ns]
        for owner in past:
            kills = self._kills[owner]
            del kills[: bisect_right(kills, past_ns)]
            if not kills:
                del self._kills[owner]


def owner_of(kill: KillRecord, cause: Cause) -> bytes:
    """The domain's owner; the victim's, if the machine ran out of memory or many owners share the domain."""
    place = _OTHERS
    domain = kill.domain_cgroup if cause.domain in (None, "cgroup") else None
    for path in (domain, kill.victim_cgroup):
        if path is not None:
            owner, answers = owner_key(path)
            if answers:
                return owner
            place = owner
    return place
