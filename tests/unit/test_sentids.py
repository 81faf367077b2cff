# SPDX-License-Identifier: Apache-2.0
"""Ids of what was sent last: which are kept, and for whom."""

from pathlib import Path

from oomkilld.record.state.sentids import KEPT, SentEntry, SentIds, open_sent_ids, sent_ids_in_memory


def entry_of(number: int) -> SentEntry:
    return SentEntry(number.to_bytes(16, "big"), source=7, repeats=1)


def kept(ids: SentIds, first: int, end: int) -> list[int]:
    return [int.from_bytes(entry.kill_id, "big") for entry in ids.between(first, end)]


def test_the_newest_are_kept_and_told_by_number() -> None:
    ids = sent_ids_in_memory()
    assert kept(ids, 0, 5) == []
    for number in range(KEPT + 3):
        ids.keep(number, entry_of(number))
    assert kept(ids, 10, 13) == [10, 11, 12]
    assert kept(ids, KEPT, KEPT + 3) == [KEPT, KEPT + 1, KEPT + 2]
    assert kept(ids, 0, KEPT + 3) == list(range(3, KEPT + 3))
    # Others stand in their places now.
    assert kept(ids, 0, 3) == []
    # These were not sent.
    assert kept(ids, KEPT + 2, KEPT + 9) == [KEPT + 2]


def test_the_next_run_has_them_too(tmp_path: Path) -> None:
    before = open_sent_ids(str(tmp_path))
    entries = [
        SentEntry(bytes(range(16)), 1 << 62, 0),
        SentEntry(bytes(range(16, 32)), 3, None),
        SentEntry(b"\xff" * 16, 0, 99),
        SentEntry(b"\xff" * 16, 3, 0, end=1 << 40, counted=False),
        SentEntry(b"\xff" * 16, 3, None, end=70, counted=False),
    ]
    for number, entry in enumerate(entries, 7):
        before.keep(number, entry)
    assert list(open_sent_ids(str(tmp_path)).between(0, 100)) == entries
    assert (tmp_path / "sent").stat().st_mode & 0o777 == 0o600


def test_of_a_source_that_has_gone_those_behind_the_last_that_was_counted_are_not() -> None:
    ids = sent_ids_in_memory()
    for number, (source, end) in enumerate([(3, 10), (3, 30), (4, 30), (3, 20), (0, 99), (3, 40)]):
        ids.keep(number, SentEntry(bytes(16), source, None if end == 40 else 0, end))
    ids.uncount(3, 20)
    assert [entry.counted for entry in ids.between(0, 6)] == [True, False, True, True, True, False]
    assert [(entry.source, entry.end, entry.repeats) for entry in ids.between(4, 6)] == [(0, 99, 0), (3, 40, None)]


def test_one_that_was_about_to_be_sent_keeps_its_place() -> None:
    ids = sent_ids_in_memory()
    for number, source in enumerate((3, 0, 0)):
        ids.keep(number, SentEntry(bytes(16), source))
    assert [ids.was_being_sent(number) for number in (0, 2, 2 + KEPT, 9)] == [True, True, False, False]
    # Of one whose record the source has its place there shows whether it is counted.
    assert [entry.counted for entry in ids.between(0, 3)] == [True, True, False]
