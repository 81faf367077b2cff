# SPDX-License-Identifier: Apache-2.0
"""Which kills of the kernel's log the journal has no entry of.

Of an entry that was made of a line, the id tells which line it was. Any other is told apart by the victim's thread and
the time: a line has printk's, which begins elsewhere than CLOCK_BOOTTIME, drifts, and sleeps with the machine. So what
lies between the two is looked up at kills of which there is only one line and only one entry.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.loggedkills import Logged
from oomkilld.text import printable

# Between the two times of one kill, once the clocks are compared.
WITHIN_NS = 2 * 10**9
# No clock of a machine drifts more: NTP does not correct printk's, and slews others by as much at most.
DRIFT_PPM = 500


class Recorded(NamedTuple):
    """A kill that the journal has an entry of. ``comm``: the victim's name as it is shown; None: it is not told."""

    kill_id: str
    tid: int
    comm: str | None
    boottime_ns: int


class Clocks(NamedTuple):
    """``asleep_ns``: for how long the machine slept; the times of lines are as if it always had.

    ``shift_ns``: what is then to be added to them, as far as known; ``now_ns``: none was later (CLOCK_BOOTTIME).
    """

    asleep_ns: int
    shift_ns: int
    now_ns: int


def unrecorded(
    logged: Sequence[Logged], recorded: Iterable[Recorded], kill_id: Callable[[KillRecord], str], clocks: Clocks
) -> list[Logged]:
    """Of ``logged``, in order, those without an entry, with times put right."""
    entries = {each.kill_id: each for each in recorded}
    rest = [each for each in logged if entries.pop(kill_id(each.kill), None) is None]
    by_tid: defaultdict[int, list[Recorded]] = defaultdict(list)
    for entry in entries.values():
        by_tid[entry.tid].append(entry)
    shift = _Shift(rest, by_tid, clocks)
    times = [[each.kill.kill_boottime_ns + ns for ns in shift.at(each.kill.kill_boottime_ns)] for each in rest]
    has_one = _pair(rest, times, by_tid)
    return [
        each._replace(kill=each.kill._replace(kill_boottime_ns=min(may_be[0], clocks.now_ns)))
        for at, (each, may_be) in enumerate(zip(rest, times, strict=True))
        if at not in has_one
    ]


def _pair(logged: Sequence[Logged], times: Sequence[Sequence[int]], by_tid: Mapping[int, list[Recorded]]) -> set[int]:
    """Which lines have an entry: the nearest are one kill, and of two as near those whose names fit."""
    near = []
    for at, (each, may_be) in enumerate(zip(logged, times, strict=True)):
        comm = printable(each.kill.victim_comm or b"")
        for entry in by_tid.get(each.kill.victim_tid, ()):
            apart_ns = min(abs(entry.boottime_ns - time_ns) for time_ns in may_be)
            if apart_ns <= WITHIN_NS:
                # The name may have been changed between the reading of the one and the other.
                near.append((entry.comm not in (comm, None), apart_ns, at, entry.kill_id))
    lines: set[int] = set()
    taken: set[str] = set()
    for _other_name, _apart, at, kill_id in sorted(near):
        if at not in lines and kill_id not in taken:
            lines.add(at)
            taken.add(kill_id)
    return lines


def take_counted(repeats: dict[int, int], places: Iterable[int], counted: int) -> None:
    """So many ``repeats`` of kills at ``places``, in order, are counted already, for their kills had been seen.

    Those of the first in the log. Of both that are stored and that are found: at a look before, what is stored by now
    was found, too.
    """
    for at in places:
        if counted <= 0:
            return
        less = min(repeats.get(at, 0), counted)
        if less:
            repeats[at] -= less
            counted -= less


def latest(found: Sequence[int], repeats: Mapping[int, int], kills: int, at_most: int) -> Sequence[int]:
    """Of more than the ``kills`` looked for the latest; of these the first ``at_most``."""
    left, first = kills, len(found)
    while first and 1 + repeats.get(found[first - 1], 0) <= left:
        first -= 1
        left -= 1 + repeats.get(found[first], 0)
    return found[first : first + at_most]


class _Shift:
    """What is to be added to the time of a line."""

    def __init__(self, logged: Iterable[Logged], by_tid: Mapping[int, Sequence[Recorded]], clocks: Clocks) -> None:
        self._else_ns = clocks.shift_ns
        lines = [(each.kill.kill_boottime_ns, each.kill.victim_tid) for each in logged]
        once = Counter(tid for _time, tid in lines)
        self._pairs = []
        for time_ns, tid in lines:
            if once[tid] == 1 and len(by_tid.get(tid, ())) == 1:
                shift_ns = by_tid[tid][0].boottime_ns - time_ns
                slack_ns = WITHIN_NS + time_ns * DRIFT_PPM // 10**6
                # The machine cannot have slept for longer than by now.
                if -clocks.asleep_ns - slack_ns <= shift_ns <= slack_ns:
                    self._pairs.append((time_ns, shift_ns))

    def at(self, time_ns: int) -> list[int]:
        """As at the pair before, and at the one behind: the machine may have slept between them. Or as far as known."""
        at = bisect_right(self._pairs, time_ns, key=lambda pair: pair[0])
        near = self._pairs[max(0, at - 1) : at + 1]
        return [shift_ns for _time, shift_ns in near] or [self._else_ns]
