# SPDX-License-Identifier: Apache-2.0
"""The ids of the entries sent last: which are kept, and that the next run reads them."""

from pathlib import Path

from oomkilld.record.state.sentids import KEPT, Kinds, SentEntry, SentIds, each_once, open_sent_ids, sent_ids_in_memory


def entry_of(number: int) -> SentEntry:
    return SentEntry(number.to_bytes(16, "big"), source=7, repeats=1)


def kept(ids: SentIds, first: int, end: int) -> list[int]:
    return [int.from_bytes(entry.kill_id, "big") for entry in ids.between(first, end)]


def test_the_newest_ids_are_kept_and_found_by_number() -> None:
    ids = sent_ids_in_memory()
    assert kept(ids, 0, 5) == []
    for number in range(KEPT + 3):
        ids.keep(number, entry_of(number))
    assert kept(ids, 10, 13) == [10, 11, 12]
    assert kept(ids, KEPT, KEPT + 3) == [KEPT, KEPT + 1, KEPT + 2]
    assert kept(ids, 0, KEPT + 3) == list(range(3, KEPT + 3))
    # Newer ids have overwritten these.
    assert kept(ids, 0, 3) == []
    # Numbers that were not sent yet are left out.
    assert kept(ids, KEPT + 2, KEPT + 9) == [KEPT + 2]


def test_the_next_run_reads_the_same_ids(tmp_path: Path) -> None:
    before = open_sent_ids(str(tmp_path))
    entries = [
        SentEntry(bytes(range(16)), 1 << 62, 0),
        SentEntry(bytes(range(16, 32)), 3, None),
        SentEntry(b"\xff" * 16, 0, 99),
        SentEntry(b"\xff" * 16, 3, 0, end=1 << 40),
        SentEntry(b"\xff" * 16, 3, None, end=70),
    ]
    for number, entry in enumerate(entries, 7):
        before.keep(number, entry)
    assert list(open_sent_ids(str(tmp_path)).between(0, 100)) == entries
    assert (tmp_path / "sent").stat().st_mode & 0o777 == 0o600


def test_of_one_that_was_sent_twice_the_last_counts() -> None:
    entries = [SentEntry(bytes(16), 3, 0, 5), SentEntry(bytes(range(16)), 0, 2), SentEntry(bytes(16), 3, 0, 9)]
    assert each_once(entries) == [entries[2], entries[1]]


def test_what_they_are_is_counted() -> None:
    entries = [SentEntry(bytes(16), *kind) for kind in ((3, 0), (0, 2), (3, None), (0, 0), (0, 5), (3, 0), (3, 0))]
    assert Kinds.of(entries) == (3, 1, 3, 7)
    assert Kinds.of([]) == (0, 0, 0, 0)
