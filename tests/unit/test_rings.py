# SPDX-License-Identifier: Apache-2.0
"""The flight recorder's samples: a fixed grid, in which nothing is invented."""

from array import array

from oomkilld.record.history.rings import GRID, HOST, MAX_CGROUPS, Rings, stored

NS = 10**9
HOUR_S = 3600


def values(rings: Rings, pages: int) -> "array[int]":
    return array("I", [stored(pages)] * rings.columns)


def filled(seconds: range) -> Rings:
    """A sample at each of these seconds: as many pages as seconds have passed."""
    rings = Rings(HOST)
    for second in seconds:
        rings.add(second * NS, values(rings, second))
    return rings


def kept(rings: Rings, since_s: int = 0, until_s: int = 1 << 30) -> list[tuple[int, int | None]]:
    rows = rings.rows(since_s * NS, until_s * NS)
    return [(rings.time_ns(row) // NS, rings.pages(row, 3)) for row in rows]


def test_all_samples_fit_into_256_kib() -> None:
    assert 4 * (HOST + MAX_CGROUPS) * sum(rows for _seconds, rows in GRID) <= 256 << 10
    assert GRID == ((1, 60), (12, 60), (300, 72))


def test_of_every_second_the_last_minute_is_kept_then_every_12_s_then_every_5_min() -> None:
    begin, end = 600_000, 600_000 + 7 * HOUR_S
    times = [time for time, _pages in kept(filled(range(begin, end + 1)), end - 6 * HOUR_S)]
    assert times == sorted(
        {*range(end - 59, end + 1), *range(end - 708, end + 1, 12), *range(begin + HOUR_S + 300, end, 300)}
    )
    assert len(times) == 60 + 55 + 69


def test_a_sample_is_the_size_at_its_own_time() -> None:
    assert all(time == pages for time, pages in kept(filled(range(5000, 9000, 7))))


def test_a_slot_takes_one_sample_the_first() -> None:
    rings = Rings(HOST)
    for number, time_ns in enumerate((100 * NS, 100 * NS + 1, 101 * NS - 1)):
        rings.add(time_ns, values(rings, number))
    assert kept(rings) == [(100, 0)]
    assert not rings.is_free(101 * NS - 1, 0)
    assert rings.is_free(101 * NS, 0)
    assert not rings.is_free(107 * NS, 1)
    assert rings.is_free(108 * NS, 1)


def test_a_gap_stays_empty() -> None:
    rings = filled(range(1000, 1010))
    rings.add(5000 * NS, values(rings, 5))
    assert [time for time, _pages in kept(rings, 1005)] == [*range(1005, 1010), 5000]


def test_no_sample_is_not_a_size_of_zero() -> None:
    rings = Rings(HOST)
    sample = values(rings, 0)
    sample[4] = 0
    rings.add(7 * NS, sample)
    (row,) = rings.rows(0, 8 * NS)
    assert (rings.pages(row, 3), rings.pages(row, 4)) == (0, None)


def test_the_largest_size_that_fits_stands_for_any_above_it() -> None:
    assert stored(1 << 60) == stored((1 << 32) - 2) == (1 << 32) - 1
    assert stored(0) == 1


def test_a_column_that_becomes_another_cgroups_is_empty() -> None:
    rings = filled(range(1000, 9000, 12))
    rings.clear(3)
    assert {pages for _time, pages in kept(rings)} == {None}
    (row, *_rest) = rings.rows(0, 9000 * NS)
    assert rings.pages(row, 2) == rings.time_ns(row) // NS


def test_only_the_wanted_time_is_returned() -> None:
    assert [time for time, _pages in kept(filled(range(1000, 1060)), 1010, 1012)] == [1010, 1011, 1012]
