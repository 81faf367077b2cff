# SPDX-License-Identifier: Apache-2.0
"""How much of a kill is told: less in a flood of one domain, which would push the rest of the journal out.

Judged by the kernel's time of the kills, whenever they are read. Records may come again when journald was started anew
(see delivery.py): they are told as they were before.
"""

from _blake2 import blake2b  # hashlib would load OpenSSL: 4 MB resident
from array import array
from bisect import bisect_left, bisect_right

from oomkilld.record.cause import Cause
from oomkilld.record.decode import KillRecord

WITHIN_NS = 10 * 10**9
# So many domains are counted at a time; of one that was set aside for another, the count begins anew.
MAX_DOMAINS = 256

_Domain = tuple[str | None, bytes | None]


class Detail:
    """From the ``reduce_from``-th kill within WITHIN_NS in one domain on, kills are reduced; 0: none is.

    Processes that were spared count like kills, for they have entries, too. ``remembered``: how many verdicts are kept
    at least; what comes again must be among them.
    """

    def __init__(self, reduce_from: int, remembered: int) -> None:
        self._reduce_from = reduce_from
        self._remembered = remembered
        self._kills: dict[_Domain, array[int]] = {}  # when; the domain that was hit last is the last
        self._verdicts = array("Q")  # kill_boottime_ns << 1 | reduced, in the order of time

    def reduced(self, kill: KillRecord, cause: Cause) -> bool:
        """Whether only what matters most shall be told."""
        if not self._reduce_from:
            return False
        # Kills never overlap, so no two have the same time, and the next one belongs at the end.
        at = bisect_left(self._verdicts, kill.kill_boottime_ns << 1)
        if at < len(self._verdicts) and self._verdicts[at] >> 1 == kill.kill_boottime_ns:
            return bool(self._verdicts[at] & 1)
        reduced = self._count(kill, cause) >= self._reduce_from
        self._verdicts.insert(at, kill.kill_boottime_ns << 1 | reduced)
        if len(self._verdicts) >= 2 * self._remembered:
            del self._verdicts[: self._remembered]
        return reduced

    def _count(self, kill: KillRecord, cause: Cause) -> int:
        """With this one, of its domain, at most ``reduce_from``."""
        domain, past_ns = _domain(kill, cause), kill.kill_boottime_ns - WITHIN_NS
        kills = self._kills.pop(domain, None) or array("Q")
        kills.append(kill.kill_boottime_ns)
        del kills[: max(bisect_right(kills, past_ns), len(kills) - self._reduce_from)]
        self._kills[domain] = kills
        self._forget(past_ns)
        return len(kills)

    def _forget(self, past_ns: int) -> None:
        """Domains without a kill of late, and the ones that are too many."""
        while True:
            oldest = next(iter(self._kills))
            if len(self._kills) <= MAX_DOMAINS and self._kills[oldest][-1] > past_ns:
                return
            del self._kills[oldest]


def _domain(kill: KillRecord, cause: Cause) -> _Domain:
    """Where it is not known whose limit was hit (level tracepoint), the victim's own cgroup stands for it."""
    path = kill.domain_cgroup or kill.victim_cgroup
    if path is None or cause.domain not in (None, "cgroup"):
        return cause.domain, None
    # A path may have kilobytes, and anyone may have made it.
    return cause.domain, blake2b(path, digest_size=16).digest()
