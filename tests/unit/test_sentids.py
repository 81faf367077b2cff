# SPDX-License-Identifier: Apache-2.0
"""Ids of what was sent last: which are kept, and for whom."""

from pathlib import Path

from oomkilld.record.state.sentids import KEPT, RECALLED, SENT, SentIds, open_sent_ids, sent_ids_in_memory


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def kept(ids: SentIds, first: int, end: int) -> list[int]:
    return [int.from_bytes(kill_id, "big") for kill_id in ids.between(first, end)]


def test_the_newest_are_kept_and_told_by_number() -> None:
    ids = sent_ids_in_memory()
    assert kept(ids, 0, 5) == []
    for number in range(KEPT + 3):
        ids.keep(number, id_of(number))
    assert kept(ids, 10, 13) == [10, 11, 12]
    assert kept(ids, KEPT, KEPT + 3) == [KEPT, KEPT + 1, KEPT + 2]
    assert kept(ids, 0, KEPT + 3) == list(range(3, KEPT + 3))
    # Others stand in their places now.
    assert kept(ids, 0, 3) == []
    # These were not sent.
    assert kept(ids, KEPT + 2, KEPT + 9) == [KEPT + 2]


def test_the_next_run_has_them_too(tmp_path: Path) -> None:
    before = open_sent_ids(str(tmp_path), SENT)
    before.keep(7, id_of(7))
    before.keep(8, id_of(8))
    assert kept(open_sent_ids(str(tmp_path), SENT), 0, 100) == [7, 8]
    assert kept(open_sent_ids(str(tmp_path), RECALLED), 0, 100) == []
    assert (tmp_path / "sent").stat().st_mode & 0o777 == 0o600
