# SPDX-License-Identifier: Apache-2.0
"""Impossible records are refused, records that a hostile process can cause are not, and too many step down."""

from pathlib import Path

import pytest

from oomkilld.host.procfs import ProcReader
from oomkilld.record.capture.impossible import Judge, Machine, why_impossible
from oomkilld.record.stepdown import TOO_MANY, WITHIN_NS, LevelJudge
from tests.unit.fakes import FakeClock
from tests.unit.records import kill_of

MACHINE = Machine(
    boottime_ns=6_000_000_000, capacity_bytes=1 << 30, capacity_since_ns=1_000_000_000, page_bytes=4096, constraints=4
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"victim_tid": 1 << 23}, "found victim_tid 8388608, expected 1 to 4194304"),
        ({"trigger_pid": 0}, "found trigger_pid 0, expected 1 to 4194304"),
        ({"victim_oom_score_adj": 1001}, "found oom_score_adj 1001, expected -1000 to 1000"),
        ({"order": -2}, "found order -2, expected -1 to 63"),
        ({"constraint": 4}, "found constraint 4, expected less than 4"),
        ({"kill_boottime_ns": 0}, "found a kill 0 ns after the boot, expected at most 6000000000"),
        ({"kill_boottime_ns": 6_000_000_001}, "found a kill 6000000001 ns after the boot, expected at most 6000000000"),
        ({"decision_boottime_ns": 5_000_000_001}, "found a decision that began 1 ns after the kill"),
        ({"victim_start_boottime_ns": 5_000_000_002}, "found a victim that began 2 ns after the kill"),
        ({"victim_comm": b"x" * 16}, "found victim_comm without a terminating NUL"),
        ({"trigger_comm": b"x" * 16}, "found trigger_comm without a terminating NUL"),
        ({"reason": b"\x90\x90"}, "found the reason b'\\x90\\x90', expected the kernel's message"),
        ({"victim_total_vm_pages": 1 << 46}, f"found {1 << 46} pages of total_vm"),
        ({"victim_anon_pages": 1 << 46}, f"found {1 << 46} pages of anon"),
        ({"victim_pgtables_bytes": 1 << 31}, f"found {1 << 31} bytes of page tables on a machine with {1 << 30}"),
        ({"machine_free_pages": 1 << 20}, f"found {1 << 32} bytes of free memory on a machine with {1 << 30}"),
        (
            {"total_pages": 1 << 20, "constraint": 0},
            f"found {1 << 32} bytes of RAM and swap on a machine with {1 << 30}",
        ),
    ],
)
def test_impossible_values_are_found(changes: dict[str, int | bytes], reason: str) -> None:
    assert why_impossible(kill_of((), **changes), MACHINE) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"order": -1},
        {"victim_comm": b"\xff" * 15, "trigger_comm": b""},
        {"reason": b"Out of memory (oom_kill_allocating_task)"},
        # One file mapped again and again: more resident than the machine has.
        {"victim_total_vm_pages": 1 << 30, "victim_file_pages": 1 << 29},
        {"domain_limit_pages": 1 << 51},
        # execve() counts the pages of the new program's arguments as the old program's.
        {"victim_total_vm_pages": 77, "victim_anon_pages": 736},
        {"victim_parent_comm": b"x" * 16},  # read while it changed
        {"total_pages": 1 << 50},
    ],
)
def test_values_that_a_process_may_cause_are_possible(changes: dict[str, int | bytes]) -> None:
    assert why_impossible(kill_of((), **changes), MACHINE) is None


def test_unknown_values_are_possible() -> None:
    unknown = ("victim_comm", "reason", "order", "victim_total_vm_pages", "domain_usage_pages", "constraint")
    assert why_impossible(kill_of(unknown=unknown), MACHINE._replace(capacity_bytes=None)) is None


def test_swap_that_was_added_later_counts(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1024 kB\nSwapTotal: 0 kB\n")
    clock = FakeClock()
    judge = Judge(ProcReader(str(tmp_path)), clock, 4096, 4)
    clock.now_ns = 6_000_000_000
    kill = kill_of(machine_free_pages=0, machine_swap_free_pages=400)
    assert judge.why_impossible(kill) == f"found {400 * 4096} bytes of free swap on a machine with {1 << 20}"
    meminfo.write_text("MemTotal: 1024 kB\nSwapTotal: 1024 kB\n")
    assert judge.why_impossible(kill) is None
    # Swap that was removed may have been there at the kill.
    meminfo.write_text("MemTotal: 1024 kB\nSwapTotal: 0 kB\n")
    assert judge.why_impossible(kill_of(machine_free_pages=0, machine_swap_free_pages=4000)) is not None
    assert judge.why_impossible(kill) is None


def test_a_kill_before_the_first_look_at_the_machine_may_have_had_more_swap(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 1024 kB\nSwapTotal: 0 kB\n")
    clock = FakeClock()
    clock.now_ns = 6_000_000_000
    judge = Judge(ProcReader(str(tmp_path)), clock, 4096, 4)
    assert judge.why_impossible(kill_of(machine_swap_free_pages=400)) is None
    clock.now_ns += 10**9
    assert judge.why_impossible(kill_of(machine_swap_free_pages=400, kill_boottime_ns=clock.now_ns)) is not None


class TestLevelJudge:
    """Enough impossible records or missed kills lead to the level below."""

    def test_too_many_within_an_hour(self) -> None:
        judge = LevelJudge(FakeClock(), "fentry")
        assert [judge.finds_unreliable(refused, 0, 9) for refused in (0, 1, 2, 2, TOO_MANY)] == [
            False,
            False,
            False,
            False,
            True,
        ]
        assert judge.reason == "3 impossible records within an hour"

    def test_all_at_once(self) -> None:
        assert LevelJudge(FakeClock(), "fentry").finds_unreliable(70, 0, 9)

    def test_not_over_more_than_an_hour(self) -> None:
        clock = FakeClock()
        judge = LevelJudge(clock, "fentry")
        for refused in (1, 2):
            judge.finds_unreliable(refused, 0, 9)
        clock.now_ns += WITHIN_NS + 1
        assert not judge.finds_unreliable(3, 0, 9)

    def test_records_that_are_read_again_do_not_count_again(self) -> None:
        judge = LevelJudge(FakeClock(), "fentry")
        assert not any(judge.finds_unreliable(refused, 0, 9) for refused in (2, 0, 2, 0, 2))

    def test_without_a_level_below_nothing_happens(self) -> None:
        judge = LevelJudge(FakeClock(), None)
        assert not judge.finds_unreliable(10, 0, 9)
        assert not judge.finds_unreliable(0, 1, 9)
        assert judge.reason == ""

    def test_records_of_the_previous_run_do_not_count(self) -> None:
        judge = LevelJudge(FakeClock(), "fentry", refused=7)
        assert not judge.finds_unreliable(9, 0, 9)
        assert judge.finds_unreliable(10, 0, 9)

    def test_one_missed_kill_is_enough(self) -> None:
        judge = LevelJudge(FakeClock(), "fentry")
        assert not judge.finds_unreliable(0, 0, 9)
        assert judge.finds_unreliable(0, 1, 9)
        assert judge.reason == "the probe missed 1 kill that the kernel log has"

    def test_a_level_that_misses_some_anyway_steps_down_once_it_misses_more_than_it_sees(self) -> None:
        judge = LevelJudge(FakeClock(), "kmsg", exact=False)
        assert not judge.finds_unreliable(0, 2, 2)
        assert judge.finds_unreliable(0, 1, 0)
