# SPDX-License-Identifier: Apache-2.0
"""What led up to a kill, from samples alone: since when memory grew, how, and in which cgroups most.

The points of a series are times (nanoseconds of CLOCK_BOOTTIME, ascending) and sizes in pages; the last point is the
size at the kill. A series has grown if it ends above its smallest size by at least LEAST_PAGES and by a sixteenth of
its end. It grows since the last point that is not above the smallest size by more than a sixteenth of the growth. Then
OOM_TREND is, by the first rule that holds:

``start``: the cgroup was created at most START_NS before the kill.
``spike``: half of the growth or more came after the newest point that is at least SPIKE_NS before the kill, which is at
    most MOST_SPIKE_NS before it; and the samples begin at least OBSERVED_NS before the kill.
``leak``: it grew for at least OBSERVED_NS, in which there are LEAK_POINTS points or more, none further from a straight
    line than a quarter of the growth.
``plateau``: it did not grow, and all points of the last OBSERVED_NS, LEAK_POINTS or more, are at 90 % of the limit or
    above.
``unknown``: none of these, or there are too few samples.
"""

from collections.abc import Mapping, Sequence

from oomkilld.lighttyping import NamedTuple

START, SPIKE, LEAK, PLATEAU, UNKNOWN = "start", "spike", "leak", "plateau", "unknown"
START_NS = 120 * 10**9
SPIKE_NS, MOST_SPIKE_NS = 10 * 10**9, 30 * 10**9
# The minute before the kill, less what the first sample of it may be late.
OBSERVED_NS = 55 * 10**9
LEAK_POINTS = 5
LEAST_PAGES = 256
# In parts of the end, and of the growth.
_SIXTEENTH, _QUARTER, _HALF = 16, 4, 2
_NEAR_PERCENT = 90

Point = tuple[int, int]


class Growth(NamedTuple):
    """``since_ns``: since when the series grows; None: it has not grown."""

    trend: str
    since_ns: int | None


def growth_of(points: Sequence[Point], limit: int | None, *, is_new: bool) -> Growth:
    """``limit`` in pages, None: none, or unknown. ``is_new``: it was created at most START_NS before the last point."""
    since = _since(points)
    since_ns = None if since is None else points[since][0]
    if is_new:
        return Growth(START, since_ns)
    if since is None:
        return Growth(PLATEAU if _is_plateau(points, limit) else UNKNOWN, None)
    if _is_spike(points, since):
        return Growth(SPIKE, since_ns)
    return Growth(LEAK if _is_leak(points[since:]) else UNKNOWN, since_ns)


def _since(points: Sequence[Point]) -> int | None:
    """The index of the point since which the series grows; None: it has not grown."""
    if len(points) < 2:
        return None
    end, least = points[-1][1], min(pages for _time, pages in points)
    grown = end - least
    if grown < LEAST_PAGES or grown * _SIXTEENTH < end:
        return None
    return max(index for index, (_time, pages) in enumerate(points) if (pages - least) * _SIXTEENTH <= grown)


def _is_spike(points: Sequence[Point], since: int) -> bool:
    end_ns, end = points[-1]
    before = [point for point in points if point[0] <= end_ns - SPIKE_NS]
    if not before or before[-1][0] < end_ns - MOST_SPIKE_NS or end_ns - points[0][0] < OBSERVED_NS:
        return False
    return (end - before[-1][1]) * _HALF >= end - points[since][1]


def _is_leak(points: Sequence[Point]) -> bool:
    (begin_ns, begin), (end_ns, end) = points[0], points[-1]
    lasted, grown = end_ns - begin_ns, end - begin
    if lasted < OBSERVED_NS or len(points) < LEAK_POINTS:
        return False
    return all(
        abs((pages - begin) * lasted - grown * (time - begin_ns)) * _QUARTER <= grown * lasted for time, pages in points
    )


def _is_plateau(points: Sequence[Point], limit: int | None) -> bool:
    if limit is None or not points:
        return False
    end_ns = points[-1][0]
    last = [pages for time, pages in points if time >= end_ns - OBSERVED_NS]
    return (
        end_ns - points[0][0] >= OBSERVED_NS
        and len(last) >= LEAK_POINTS
        and all(pages * 100 >= limit * _NEAR_PERCENT for pages in last)
    )


def grew_most(pages: Mapping[bytes, int], most: int) -> list[tuple[bytes, int]]:
    """The cgroups that grew most, by path, of those that grew by LEAST_PAGES or more; that which grew most first.

    One of which half of the growth or more was in a single cgroup below it is left out for that one.
    """
    grown = [(path, size) for path, size in pages.items() if size >= LEAST_PAGES]
    grown.sort(key=lambda each: (-each[1], each[0]))
    found: list[tuple[bytes, int]] = []
    for path, size in grown:
        below = path.rstrip(b"/") + b"/"
        if not any(inner * _HALF >= size and other.startswith(below) for other, inner in grown):
            found.append((path, size))
            if len(found) == most:
                break
    return found
