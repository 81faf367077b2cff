# SPDX-License-Identifier: Apache-2.0
"""Which kills of the kernel's log the journal has no entry of.

Of an entry that was made of a line, the id tells which line it was. Any other is told apart by the victim's thread and
name, and the time: a line has printk's, which begins elsewhere than CLOCK_BOOTTIME, drifts, and sleeps with the
machine. So what lies between the two is looked up at kills of which there is only one line and only one entry.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from oomkilld.recall.logged import Logged
from oomkilld.record.decode import KillRecord
from oomkilld.text import printable

# Between the two times of one kill.
WITHIN_NS = 2 * 10**9
_Key = tuple[int, str]


class Recorded(NamedTuple):
    """A kill that the journal has an entry of. ``comm``: the victim's name as it is shown."""

    kill_id: str
    tid: int
    comm: str
    boottime_ns: int


def unrecorded(
    logged: Sequence[Logged], recorded: Iterable[Recorded], kill_id: Callable[[KillRecord], str], asleep_ns: int
) -> list[Logged]:
    """Of ``logged``, in order, those without an entry, with times put right.

    Their times are as if the machine had slept as long as now, ``asleep_ns``, when they were written.
    """
    entries = {each.kill_id: each for each in recorded}
    rest = [each for each in logged if entries.pop(kill_id(each.kill), None) is None]
    times: defaultdict[_Key, list[int]] = defaultdict(list)
    for entry in sorted(entries.values(), key=lambda entry: entry.boottime_ns):
        times[entry.tid, entry.comm].append(entry.boottime_ns)
    shift = _Shift(rest, times, asleep_ns)
    found = []
    for each in rest:
        time_ns = each.kill.kill_boottime_ns
        may_be = [time_ns + shift_ns for shift_ns in shift.at(time_ns)]
        of_it = (t for t in times[_key(each.kill)] if any(abs(t - at_ns) <= WITHIN_NS for at_ns in may_be))
        if (entry_ns := next(of_it, None)) is not None:
            times[_key(each.kill)].remove(entry_ns)
        else:
            found.append(each._replace(kill=each.kill._replace(kill_boottime_ns=may_be[0])))
    return found


def latest(found: list[Logged], kills: int, at_most: int) -> list[Logged]:
    """Of more than the ``kills`` looked for the latest; of these the first ``at_most``."""
    left, first = kills, len(found)
    while first and 1 + found[first - 1].repeats <= left:
        first -= 1
        left -= 1 + found[first].repeats
    return found[first : first + at_most]


def _key(kill: KillRecord) -> _Key:
    return kill.victim_tid, printable(kill.victim_comm or b"")


class _Shift:
    """What is to be added to the time of a line."""

    def __init__(self, logged: Iterable[Logged], entries: Mapping[_Key, Sequence[int]], asleep_ns: int) -> None:
        lines = [(each.kill.kill_boottime_ns, _key(each.kill)) for each in logged]
        once = Counter(key for _time, key in lines)
        self._pairs = [
            (time_ns, shift_ns)
            for time_ns, key in lines
            if once[key] == 1
            and len(entries.get(key, ())) == 1
            # The machine cannot have slept for longer than by now.
            and -asleep_ns - WITHIN_NS <= (shift_ns := entries[key][0] - time_ns) <= WITHIN_NS
        ]

    def at(self, time_ns: int) -> list[int]:
        """As at the pair before, and at the one behind: the machine may have slept between them. Or 0."""
        at = bisect_right(self._pairs, time_ns, key=lambda pair: pair[0])
        near = self._pairs[max(0, at - 1) : at + 1]
        return [shift_ns for _time, shift_ns in near] or [0]
