# SPDX-License-Identifier: Apache-2.0
"""The kernel's task list gives the processes that it chose from, all of them or none."""

import pytest

from oomkilld.record.kernlog.tasktable import MAX_ROWS, Candidates, TaskTable
from oomkilld.recordlayout import MOST_CANDIDATES

COLUMNS = b"[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
NEWER = (
    b"[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name"
)


def row(pid: int, rss: int, swap: int = 0, adj: int = 0, name: bytes = b"hog") -> bytes:
    """A process of one thread, with 3 pages of page tables."""
    return b"[%7d]     0 %5d     9000 %8d    12288 %8d         %5d %s" % (pid, pid, rss, swap, adj, name)


def read(*lines: bytes) -> TaskTable:
    table = TaskTable(4096)
    for line in lines:
        table.take(line)
    return table


def test_all_are_counted_and_the_largest_are_named_in_descending_order() -> None:
    sizes = [7, 900, 30, 30, 1, 600, 5]
    found = read(
        COLUMNS, *(row(100 + at, size, at, -1000 * (at % 3 == 1)) for at, size in enumerate(sizes))
    ).candidates()
    assert found is not None
    assert (found.number, found.exempt, found.pages) == (7, 2, sum(sizes) + sum(range(7)) + 7 * 3)
    assert [(pages - 3, pid, adj) for pages, pid, _name, adj in found.largest] == [
        *((901, 101, -1000), (605, 105, 0), (33, 103, 0), (32, 102, 0), (11, 106, 0)),
    ]


def test_of_equal_ones_the_first_are_named() -> None:
    found = read(COLUMNS, *(row(pid, 5) for pid in range(1, 9))).candidates()
    assert found is not None
    assert [pid for _pages, pid, _name, _adj in found.largest] == [1, 2, 3, 4, 5]


def test_newer_columns() -> None:
    line = b"[     42]     0    42     9000     2100     2000      100         0    61440      512          -17 hog"
    assert read(NEWER, line).candidates() == Candidates(1, 0, 2627, ((2627, 42, b"hog", -17),))


def test_a_process_whose_first_thread_has_ended_has_its_own_number() -> None:
    found = read(COLUMNS, row(43, 5).replace(b"    43     9000", b"    42     9000")).candidates()
    assert found is not None
    assert [pid for _pages, pid, _name, _adj in found.largest] == [42]


@pytest.mark.parametrize("name", [b"", b" ", b"] 1 2", b"[     42]     0", b"9 9 9 9", b"\xff\n", row(9, 9)[:15]])
def test_names_may_look_like_rows(name: bytes) -> None:
    found = read(COLUMNS, row(42, 5, name=name), row(43, 4)).candidates()
    assert found is not None
    assert [(pid, name) for _pages, pid, name, _adj in found.largest] == [(42, name), (43, b"hog")]


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (row(1, 5),),
        (row(1, 5), COLUMNS, row(2, 5)),
        (COLUMNS, row(1, 5), COLUMNS, row(2, 5)),
        (COLUMNS.replace(b"pgtables_bytes", b"pgtables"), row(1, 5)),
        (COLUMNS, row(1, 5)[:40]),
        (COLUMNS, row(1, 5), b"[      2] from another writer"),
    ],
    ids=[
        "no list",
        "no columns",
        "columns in between",
        "columns twice",
        "unknown columns",
        "a cut row",
        "another line",
    ],
)
def test_if_a_part_may_be_missing_none_are_known(lines: tuple[bytes, ...]) -> None:
    assert read(*lines).candidates() is None


def test_a_list_without_rows_has_no_candidates() -> None:
    assert read(b"Tasks state (memory values in pages):", COLUMNS).candidates() == Candidates(0, 0, 0, ())


def test_more_rows_than_are_kept_are_counted() -> None:
    rows = [row(pid, pid) for pid in range(1, MAX_ROWS + 11)]
    table = read(COLUMNS, *rows)
    found = table.candidates()
    assert found is not None
    assert (found.number, len(found.largest)) == (MAX_ROWS + 10, MOST_CANDIDATES)
    assert found.largest[0][1] == MAX_ROWS + 10
    assert table.task(MAX_ROWS, b"hog", 0) is not None
    assert table.task(MAX_ROWS + 1, b"hog", 0) is None
