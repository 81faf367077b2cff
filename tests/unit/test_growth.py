# SPDX-License-Identifier: Apache-2.0
"""How memory grew, from samples alone."""

from collections.abc import Sequence

import pytest

from oomkilld.record.history.growth import LEAST_PAGES, Growth, grew_most, growth_of

NS = 10**9
MIB_PAGES = 256
LIMIT = 100 * MIB_PAGES


def points(*sizes: float, every: float = 12, last: float = 12) -> list[tuple[int, int]]:
    """In MiB, one ``every`` so many seconds; the last one, at the kill, ``last`` seconds after the one before it."""
    times = [number * every for number in range(len(sizes) - 1)]
    times.append((times[-1] if times else 0) + last)
    return [(int(time * NS), int(size * MIB_PAGES)) for time, size in zip(times, sizes, strict=True)]


def told(
    series: Sequence[tuple[int, int]], *, is_new: bool = False, limit: int | None = LIMIT
) -> tuple[str, int | None]:
    """The trend, and how many seconds before the kill the growth began."""
    found = growth_of(series, limit, is_new=is_new)
    return found.trend, None if found.since_ns is None else (series[-1][0] - found.since_ns) // NS


FLAT = [40.0] * 60
CASES = {
    "steady for ten minutes": (points(*range(50)), ("leak", 552)),
    "steady after a flat time": (points(*FLAT, *range(41, 81)), ("leak", 456)),
    "the fourth cycle of one that is killed again and again": (points(*[*range(0, 60, 6)] * 4), ("leak", 108)),
    "with noise": (points(*(number + 2 * (number % 2) for number in range(50))), ("leak", 564)),
    "every second": (points(*range(70), every=1, last=1), ("leak", 65)),
    "at once between two samples": (points(*FLAT, 100), ("spike", 12)),
    "within the last eight seconds": (points(*[40] * 120, *range(44, 108, 8), every=1, last=1), ("spike", 8)),
    "at once after a slow growth": (points(*(x / 10 for x in range(100)), 90), ("spike", 528)),
    "at once, after five minutes without a sample": (points(*FLAT, 100, last=300), ("unknown", 300)),
    "at once, ten minutes before": (points(*FLAT, *[99] * 50, 100), ("unknown", 612)),
    "in two steps": (points(*FLAT, *[70] * 10, 100, 100, 100), ("unknown", 156)),
    "steady for half a minute, and nothing is known before": (points(10, 40, 70, 100), ("unknown", 36)),
    "steady for 39 seconds": (points(*[40] * 120, *range(41, 81), every=1, last=1), ("unknown", 38)),
    "at the limit without growth": (points(*[99.9] * 20), ("plateau", None)),
    "near the limit, up and down": (points(*(95 + number % 5 for number in range(20))), ("plateau", None)),
    "far below the limit": (points(*[50] * 20), ("unknown", None)),
    "at the limit for 45 seconds": (points(*[100] * 10, every=5, last=5), ("unknown", None)),
    "at the limit for half a minute": (points(*[100] * 3), ("unknown", None)),
    "too little": (points(*(99 + number / 60 for number in range(50))), ("plateau", None)),
    "smaller than before": (points(*range(100, 40, -1)), ("unknown", None)),
    "one sample": (points(100), ("unknown", None)),
    "none": ([], ("unknown", None)),
}


@pytest.mark.parametrize("case", CASES)
def test_growth(case: str) -> None:
    series, expected = CASES[case]
    found = growth_of(series, LIMIT, is_new=False)
    since = None if found.since_ns is None else (series[-1][0] - found.since_ns) // NS
    assert (found.trend, since) == expected


def test_what_was_just_created_started() -> None:
    assert told(points(0, 100, every=60, last=60), is_new=True) == ("start", 60)
    assert told(points(0, 1, 99, 99), is_new=True) == ("start", 24)
    assert growth_of([], None, is_new=True) == Growth("start", None)


def test_without_a_limit_there_is_no_plateau() -> None:
    assert told(points(*[99] * 20), limit=None) == ("unknown", None)
    # At 90 % of it there is, and just below there is none.
    assert told(points(*[90] * 20)) == ("plateau", None)
    assert told(points(*[89.9] * 20)) == ("unknown", None)


def test_a_growth_of_less_than_a_mebibyte_is_none() -> None:
    assert growth_of([(0, 0), (60 * NS, LEAST_PAGES)], None, is_new=False).since_ns == 0
    assert growth_of([(0, 0), (60 * NS, LEAST_PAGES - 1)], None, is_new=False).since_ns is None


def test_the_growth_since_then_is_what_made_the_end() -> None:
    """What the window and the sizes at its ends say together: the slope of a leak."""
    series = points(*FLAT, *(40 + 0.5 * number for number in range(1, 100)))
    found = growth_of(series, None, is_new=False)
    assert found.since_ns is not None
    begin = dict(series)[found.since_ns]
    slope = (series[-1][1] - begin) / MIB_PAGES / ((series[-1][0] - found.since_ns) / NS)
    assert abs(slope - 0.5 / 12) < 0.1 * 0.5 / 12


def most(most_of: int = 3, **grown: int) -> list[tuple[str, int]]:
    """By name: an underscore stands for a slash. In MiB."""
    pages = {b"/" + name.replace("_", "/").encode(): size * MIB_PAGES for name, size in grown.items()}
    return [(path.decode(), size // MIB_PAGES) for path, size in grew_most(pages, most_of)]


def test_those_that_grew_most_come_first() -> None:
    assert most(a=1, b=30, c=-5, d=20, e=10) == [("/b", 30), ("/d", 20), ("/e", 10)]
    assert most(a=0, b=-1) == []


def test_one_that_grew_by_a_cgroup_in_it_is_left_out() -> None:
    assert most(a=101, a_b=100, a_b_c=99, d=5) == [("/a/b/c", 99), ("/d", 5)]
    # Half of it is enough; the other half may be in cgroups that are not sampled.
    assert most(a=100, a_b=50) == [("/a/b", 50)]
    assert most(a=100, a_b=49) == [("/a", 100), ("/a/b", 49)]


def test_a_name_that_only_begins_alike_is_another_cgroup() -> None:
    assert most(a=100, ab=90) == [("/a", 100), ("/ab", 90)]
