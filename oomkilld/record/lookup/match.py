# SPDX-License-Identifier: Apache-2.0
"""Finds the kills of the kernel log that have no entry in the journal.

The id of an entry made from a log line names that line. Any other entry is matched by the victim's thread number and
the time. A line's time is by printk's clock, which starts elsewhere than CLOCK_BOOTTIME, drifts, and stops while the
machine sleeps. So the shift between both clocks is measured at kills whose thread number has one line and one entry.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.loggedkills import Logged
from oomkilld.text import printable

# Largest difference between the two times of one kill, after the shift.
WITHIN_NS = 2 * 10**9
# Upper limit of the drift: NTP does not correct printk's clock, and slews the others by at most this much.
DRIFT_PPM = 500


class Recorded(NamedTuple):
    """A kill with an entry in the journal. ``comm``: the victim's name as printed; None: the entry has none."""

    kill_id: str
    tid: int
    comm: str | None
    boottime_ns: int


class Clocks(NamedTuple):
    """What converts printk's times to CLOCK_BOOTTIME.

    ``asleep_ns``: how long the machine has slept in this boot; it is added to the time of every line, whether the sleep
    was before or after it. ``shift_ns``: estimate of what must be added then. ``now_ns``: upper limit (CLOCK_BOOTTIME).
    """

    asleep_ns: int
    shift_ns: int
    now_ns: int


def unrecorded(
    logged: Sequence[Logged], recorded: Iterable[Recorded], kill_id: Callable[[KillRecord], str], clocks: Clocks
) -> list[Logged]:
    """The kills of ``logged`` without an entry, in order, with times corrected to CLOCK_BOOTTIME."""
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
    """Indexes of the lines that have an entry. Pairs whose names fit come first, and of these the nearest in time."""
    near = []
    for at, (each, may_be) in enumerate(zip(logged, times, strict=True)):
        comm = printable(each.kill.victim_comm or b"")
        for entry in by_tid.get(each.kill.victim_tid, ()):
            apart_ns = min(abs(entry.boottime_ns - time_ns) for time_ns in may_be)
            if apart_ns <= WITHIN_NS:
                # The process may have changed its name between the two readings.
                near.append((entry.comm not in (comm, None), apart_ns, at, entry.kill_id))
    lines: set[int] = set()
    taken: set[str] = set()
    for _other_name, _apart, at, kill_id in sorted(near):
        if at not in lines and kill_id not in taken:
            lines.add(at)
            taken.add(kill_id)
    return lines


def take_counted(repeats: dict[int, int], places: Iterable[int], counted: int) -> None:
    """Take ``counted`` repeats, which the ledger counts already, off those of the kills at ``places``, oldest first.

    The source had counted them when it saw these kills, before it was gone.
    """
    for at in places:
        if counted <= 0:
            return
        less = min(repeats.get(at, 0), counted)
        if less:
            repeats[at] -= less
            counted -= less


def latest(found: Sequence[int], repeats: Mapping[int, int], kills: int, at_most: int) -> Sequence[int]:
    """The latest of ``found`` that, with their repeats, make up ``kills``; of these, the oldest ``at_most``."""
    left, first = kills, len(found)
    while first and 1 + repeats.get(found[first - 1], 0) <= left:
        first -= 1
        left -= 1 + repeats.get(found[first], 0)
    return found[first : first + at_most]


class _Shift:
    """What to add to the time of a line, measured at kills whose thread number has one line and one entry."""

    def __init__(self, logged: Iterable[Logged], by_tid: Mapping[int, Sequence[Recorded]], clocks: Clocks) -> None:
        self._else_ns = clocks.shift_ns
        lines = [(each.kill.kill_boottime_ns, each.kill.victim_tid) for each in logged]
        once = Counter(tid for _time, tid in lines)
        self._pairs = []
        for time_ns, tid in lines:
            if once[tid] == 1 and len(by_tid.get(tid, ())) == 1:
                shift_ns = by_tid[tid][0].boottime_ns - time_ns
                slack_ns = WITHIN_NS + time_ns * DRIFT_PPM // 10**6
                # A line after all sleep needs no shift, one before it a shift of -asleep_ns, any other one in between.
                if -clocks.asleep_ns - slack_ns <= shift_ns <= slack_ns:
                    self._pairs.append((time_ns, shift_ns))

    def at(self, time_ns: int) -> list[int]:
        """Of the nearest pairs before and after: the machine may have slept between them. No pair: the estimate."""
        at = bisect_right(self._pairs, time_ns, key=lambda pair: pair[0])
        near = self._pairs[max(0, at - 1) : at + 1]
        return [shift_ns for _time, shift_ns in near] or [self._else_ns]
