# SPDX-License-Identifier: Apache-2.0
"""The ledger outlives the service, consistent at any point, and ends with the boot."""

import mmap
import os
from pathlib import Path

import pytest

from oomkilld.record.state.ledger import Ledger, Totals, ledger_in_memory, open_ledger

BOOT, OTHER_BOOT = bytes(range(16)), bytes(range(1, 17))
SOME = Totals._make(range(1, len(Totals._fields) + 1))


def test_a_ledger_begins_once_per_boot(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, BOOT, 7)
    assert (ledger.baseline, ledger.totals) == (7, Totals())
    ledger.commit(SOME)
    again = open_ledger(tmp_path, BOOT, 9)
    assert (again.baseline, again.totals) == (7, SOME)
    other = open_ledger(tmp_path, OTHER_BOOT, 0)
    assert (other.baseline, other.totals) == (0, Totals())
    assert ledger_in_memory(BOOT, None).baseline is None


def test_a_symbolic_link_is_not_followed_and_a_damaged_file_begins_again(tmp_path: Path) -> None:
    (tmp_path / "ledger").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        open_ledger(tmp_path, BOOT, 1)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "ledger").unlink()
    (tmp_path / "ledger").write_bytes(b"nonsense" * 10)
    assert open_ledger(tmp_path, BOOT, 3).totals == Totals()
    assert (tmp_path / "ledger").stat().st_size == mmap.PAGESIZE


def test_a_ledger_with_impossible_numbers_begins_again(tmp_path: Path) -> None:
    open_ledger(tmp_path, BOOT, 1).commit(SOME._replace(kills=(1 << 64) - 1))
    assert open_ledger(tmp_path, BOOT, 2).totals == Totals()


def test_an_interrupted_commit_changes_nothing() -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    ledger = Ledger(page, BOOT, 1)
    ledger.commit(SOME)
    before = bytes(page)
    ledger.commit(SOME._replace(entries=99))
    after = bytes(page)
    changed = [at for at in range(0, mmap.PAGESIZE, 8) if before[at : at + 8] != after[at : at + 8]]
    # However much of the other copy is written, only the number of the valid copy matters.
    for count in range(len(changed)):
        part = bytearray(before)
        for at in [at for at in changed if at != 4 * 8][:count]:
            part[at : at + 8] = after[at : at + 8]
        page[:] = bytes(part)
        assert Ledger(page, BOOT, 1).totals == SOME
    page[:] = after
    assert Ledger(page, BOOT, 1).totals == SOME._replace(entries=99)


def test_the_number_of_kills_before_the_first_start_is_set_when_the_ledger_begins(tmp_path: Path) -> None:
    assert open_ledger(tmp_path, BOOT, 0, 5).totals == Totals(before_first=5)
    assert open_ledger(tmp_path, BOOT, 0, 7).totals == Totals(before_first=5)


def test_a_replaced_source_leaves_only_its_counts() -> None:
    totals = Totals(
        source=1,
        position=500,
        sent_position=900,
        ids=8,
        confirmed=5,
        entries=7,
        spared=1,
        rejected=2,
        refused=3,
        kills=20,
        repeats=3,
        lost=4,
        earlier_kills=100,
        earlier_repeats=50,
        earlier_lost=50,
    )
    assert totals.with_source(1) == totals
    other = totals.with_source(2)
    # Of the 20 kills it saw, 3 were repeats, 4 were lost, 7 were sent and 2 rejected.
    assert (other.unsent, other.stopped) == (4, 0)
    assert (other.source, other.position, other.sent_position) == (2, 0, 0)
    assert (other.kills, other.repeats, other.lost) == (0, 0, 0)
    assert (other.earlier_kills, other.earlier_repeats, other.earlier_lost) == (116, 53, 54)
    assert (other.entries, other.spared, other.rejected, other.refused) == (7, 1, 2, 3)
    # Of the 8 sent, 5 are known to be stored.
    assert (other.ids, other.confirmed) == (8, 5)
    # Another source comes before all of that was looked for.
    assert other.with_source(3) == other._replace(source=3)
    # Kills that a normal end reported as lost are not counted twice.
    told = totals._replace(stopped=4).with_source(2)
    assert (told.unsent, told.stopped, told.earlier_kills) == (0, 4, 120)
    # The run was killed before it saved the source's last counters: more was sent than they have.
    early = totals._replace(kills=2).with_source(2)
    assert (early.unsent, early.earlier_kills) == (0, 116)
    assert totals._replace(kills=2, stopped=4).with_source(2).earlier_kills == 120
    # One of the kills searched for was not found.
    assert other.with_unsent_stopped(1) == other._replace(unsent=3, stopped=1, earlier_kills=117)


def test_kills_whose_entries_are_not_stored_are_searched_for() -> None:
    sent = Totals(source=1, entries=7, spared=2, ids=9, kills=7).with_source(2)
    known = sent.without_entries(2, 1)
    assert (known.entries, known.spared, known.unsent, known.earlier_kills) == (5, 1, 2, 5)
    # A later source does not count them as recorded, nor search for them twice.
    assert known.with_source(4) == known._replace(source=4)
    late = known._replace(entries=6, kills=3).with_source(4)
    assert (late.earlier_kills, late.unsent) == (6, 2 + 2)
    assert known.with_unsent_stopped(2).with_source(4).earlier_kills == 7


def test_numbers_that_are_too_large_stop_no_service_for_ever(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, BOOT, 1)
    for wrong in (
        Totals().without_entries(1, 1),
        Totals(entries=1).without_entries(3, 0),
        Totals().with_unsent_stopped(2),
    ):
        ledger.commit(wrong)
        assert min(ledger.totals) == 0


def test_the_file_is_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ledger = open_ledger(tmp_path, BOOT, 1)
    assert ledger.totals == Totals()
    # The mapping holds a descriptor of its own.
    assert len(os.listdir("/proc/self/fd")) <= before + 1
