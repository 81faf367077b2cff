# SPDX-License-Identifier: Apache-2.0
"""A record and the kernel's lines about the same kill become one; no entry needs the log or waits long for it."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import pytest

from oomkilld.record.kernlog.kmsg import DevKmsg, Line
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.record.loglines import CATCH_UP_NS, FIRST_CATCH_UP_NS, FOLLOW_NS, LINES, MAX_KEPT, WAIT_NS, LogLines
from tests.unit.fakes import FakeClock
from tests.unit.records import ORIGIN, kill_of
from tests.unit.test_assemble import GROUP, header, killed_line

SECOND = 10**9
# As at level tracepoint, on a kernel that counts memory per CPU and hides the address of these counters.
WHY = (
    *("decision_boottime_ns", "total_pages", "chosen_points", "chosen_pid", "constraint", "order", "gfp_mask"),
    *("reason", "group_kill", "domain_cgroup", "domain_limit_pages", "domain_usage_pages", "domain_swap_limit_pages"),
    *("candidates", "candidates_exempt", "candidates_pages", "largest_candidates"),
    *("domain_swap_usage_pages", "victim_anon_pages", "victim_file_pages", "victim_shmem_pages", "victim_swap_pages"),
)


class Log(DevKmsg):
    """The lines that wait to be read; printk's clock is 5 s behind. ``readable`` works like the device's."""

    def __init__(self) -> None:
        self.waiting: deque[Line] = deque()
        self.readable, self._write = os.pipe()
        self.skipped = self.reads = 0
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self.readable

    def skip(self) -> None:
        self.skipped += 1
        self.waiting.clear()

    def read(self) -> Line | None:
        self.reads += 1
        if self.error:
            raise self.error
        return self.waiting.popleft() if self.waiting else None

    def close(self) -> None:
        os.close(self.readable)
        os.close(self._write)


class Scene:
    """A fake log, and what becomes of its lines."""

    def __init__(self, *, follow: bool = True, constraints: Sequence[str] = ORIGIN.constraints) -> None:
        self.clock = FakeClock()
        self.clock.now_ns = 100 * SECOND
        self.log = Log()
        self.said: list[str] = []
        self.told: list[Unkillable] = []
        origin = ORIGIN._replace(level="tracepoint" if follow else "kprobe", constraints=constraints)
        self.lines = LogLines(self.log, self.clock, origin, self.told.append, self.said.append)

    def write(self, *texts: bytes, ago_ns: int = 0) -> None:
        """Write lines a microsecond apart, the last one ``ago_ns`` ago."""
        last_usec = (self.clock.now_ns - ago_ns) // 1000 - 5_000_000
        first_usec = last_usec - len(texts) + 1
        self.log.waiting += [Line(usec, text) for usec, text in enumerate(texts, start=first_usec)]

    def kill(self, tid: int = 42, *, ago_ns: int = 0, unknown: tuple[str, ...] = WHY) -> KillRecord:
        """A kill that the probe saw ``ago_ns`` ago."""
        changes: dict[str, int | bytes] = {"victim_tid": tid, "victim_start_boottime_ns": SECOND, "victim_comm": b"hog"}
        return kill_of(unknown, kill_boottime_ns=self.clock.now_ns - ago_ns, **changes)


class Stage(Protocol):
    """See Scene."""

    def __call__(self, *, follow: bool = True, constraints: Sequence[str] = ORIGIN.constraints) -> Scene: ...


@pytest.fixture
def stage() -> Iterator[Stage]:
    made: list[Scene] = []

    def make(*, follow: bool = True, constraints: Sequence[str] = ORIGIN.constraints) -> Scene:
        made.append(Scene(follow=follow, constraints=constraints))
        return made[-1]

    yield make
    for scene in made:
        scene.lines.end()
        scene.log.close()


@pytest.fixture
def scene(stage: Stage) -> Scene:
    """A scene whose log was read up to its end."""
    made = stage()
    made.lines.check()
    return made


def test_a_line_adds_missing_facts_and_changes_none_of_the_records(scene: Scene) -> None:
    scene.write(*header(), killed_line())
    kill = scene.kill()._replace(victim_oom_score_adj=5)
    assert scene.lines.ready(kill)
    joined = scene.lines.joined(kill)
    assert (joined.reason, joined.constraint, joined.domain_cgroup) == (b"Memory cgroup out of memory", 3, b"/a")
    assert (joined.order, joined.gfp_mask) == (0, 0xCC0)
    assert (joined.victim_anon_pages, joined.victim_file_pages, joined.victim_shmem_pages) == (7500, 160, 1)
    # The kill's id depends on these.
    assert (joined.logged_usec, joined.kill_boottime_ns) == (None, kill.kill_boottime_ns)
    known = {name: value for name, value in kill._asdict().items() if value is not None}
    assert {name: getattr(joined, name) for name in known} == known
    assert joined.victim_oom_score_adj == 5  # not as in the line


def test_a_line_also_adds_the_processes_that_the_kernel_listed(scene: Scene) -> None:
    first, *rest = header()
    rows = (
        b"[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        b"[     42]     0    42     9000     7661    61440        4             0 hog",
        b"[     50]     0    50     2250      900    61440        0         -1000 exempt one",
    )
    scene.write(first, *rows, *rest, killed_line())
    kill = scene.kill()
    assert scene.lines.ready(kill)
    joined = scene.lines.joined(kill)
    assert (joined.candidates, joined.candidates_exempt, joined.candidates_pages) == (2, 1, 7661 + 4 + 15 + 900 + 15)
    assert joined.largest_candidates == ((7680, 42, b"hog", 0), (915, 50, b"exempt one", -1000))


@pytest.mark.parametrize("other", [{"victim_comm": b"other"}, {"victim_uid": 1}], ids=str)
def test_a_line_of_another_process_with_the_same_id_is_not_used(scene: Scene, other: dict[str, int | bytes]) -> None:
    scene.write(*header(), killed_line())
    kill = scene.kill(ago_ns=WAIT_NS)._replace(**other)  # type: ignore[arg-type]
    scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill
    assert scene.lines.due_ns is None


def test_a_constraint_has_this_kernels_number(stage: Stage) -> None:
    scene = stage(constraints=["CONSTRAINT_NONE", "CONSTRAINT_MEMCG"])
    scene.write(*header(), killed_line())
    kill = scene.kill()
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).constraint == 1


@pytest.mark.parametrize("unknown", [(), ("reason",)], ids=["no fact missing", "one fact missing"])
def test_the_log_is_read_only_if_facts_are_missing(stage: Stage, unknown: tuple[str, ...]) -> None:
    scene = stage(follow=False)
    kill = scene.kill(unknown=unknown)
    scene.write(*header(), killed_line())
    assert scene.lines.ready(kill)
    assert bool(scene.log.reads) == bool(unknown)
    joined = scene.lines.joined(kill)
    assert joined.reason == b"Memory cgroup out of memory"
    # The decision and its other kills are known by its time.
    assert (joined.decision_boottime_ns, joined.decision_logged_usec) == (kill.decision_boottime_ns, None)


def test_a_spared_process_has_no_line(scene: Scene) -> None:
    assert scene.lines.ready(scene.kill()._replace(spared=1))


def test_a_kill_waits_for_its_line_for_a_moment_only(scene: Scene) -> None:
    kill = scene.kill(ago_ns=2_000_000)
    assert not scene.lines.ready(kill)
    assert scene.lines.due_ns == scene.clock.now_ns + WAIT_NS - 2_000_000
    scene.clock.now_ns += 1_000_000
    scene.lines.check()
    scene.write(*header(), killed_line(), ago_ns=2_500_000)
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).order == 0
    other = scene.kill(43)
    assert not scene.lines.ready(other)
    scene.clock.now_ns += WAIT_NS
    scene.lines.check()
    assert scene.lines.due_ns is None
    assert scene.lines.ready(other)
    assert scene.lines.joined(other) == other


def test_of_many_kills_without_a_line_only_the_newest_wait(scene: Scene) -> None:
    kills = [scene.kill(number, ago_ns=WAIT_NS) for number in range(100, 400)]
    assert all(scene.lines.ready(kill) for kill in kills)


def test_each_kill_of_a_storm_gets_its_own_line_also_when_it_is_handled_again(scene: Scene) -> None:
    kills = []
    for tid in range(1000, 1000 + MAX_KEPT):
        scene.clock.now_ns += 1_000_000
        kills.append(scene.kill(tid))
        scene.write(killed_line(tid).replace(b"shmem-rss:4kB", b"shmem-rss:%dkB" % (4 * tid)))
    scene.clock.now_ns += 5 * SECOND
    for _ in range(2):
        assert all(scene.lines.ready(kill) for kill in kills)
        assert [scene.lines.joined(kill).victim_shmem_pages for kill in kills] == list(range(1000, 1000 + MAX_KEPT))


def test_the_number_of_lines_it_remembers_is_bounded(scene: Scene) -> None:
    kills = [scene.kill(tid) for tid in range(1000, 1001 + MAX_KEPT)]
    scene.write(*(killed_line(kill.victim_tid) for kill in kills))
    assert all(scene.lines.ready(kill) for kill in kills)
    assert [scene.lines.joined(kill).reason is None for kill in kills] == [True] + [False] * MAX_KEPT


def test_of_kills_with_the_same_number_each_gets_the_nearest_line(scene: Scene) -> None:
    kills = []
    for order in range(3):
        scene.clock.now_ns += 60 * SECOND
        kills.append(scene.kill())
        scene.write(*(text.replace(b"order=0", b"order=%d" % order) for text in header()), killed_line())
        assert scene.lines.ready(kills[-1])
    assert [scene.lines.joined(kill).order for kill in kills] == [0, 1, 2]
    # A kill whose own line is missing gets no other's.
    scene.clock.now_ns += 60 * SECOND
    kill = scene.kill(ago_ns=WAIT_NS)
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill


def test_a_line_that_was_read_before_the_kill_is_not_used(scene: Scene) -> None:
    # As at a start, when no line has given printk's clock yet.
    scene.write(*header(), killed_line(), ago_ns=SECOND)
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    scene.clock.now_ns += 1_000_000
    kill = scene.kill(ago_ns=500_000)
    assert not scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill


def test_kills_during_a_downtime_get_their_lines_before_printks_clock_is_known(stage: Stage) -> None:
    scene = stage()
    scene.write(killed_line(41), ago_ns=300 * SECOND)
    scene.write(*header(), killed_line(), ago_ns=30 * SECOND)
    kill = scene.kill(ago_ns=30 * SECOND)
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).domain_cgroup == b"/a"


def test_of_two_kills_during_a_downtime_each_gets_its_own_line(stage: Stage) -> None:
    scene = stage()
    ago = (60 * SECOND, 30 * SECOND)
    for order, ago_ns in enumerate(ago):
        scene.write(*(text.replace(b"order=0", b"order=%d" % order) for text in header()), killed_line(), ago_ns=ago_ns)
    scene.write(b"noise")
    scene.lines.check()
    kills = [scene.kill(ago_ns=ago_ns) for ago_ns in ago]
    assert all(scene.lines.ready(kill) for kill in kills)
    assert [scene.lines.joined(kill).order for kill in kills] == [0, 1]
    # A kill whose line was lost gets neither.
    kill = scene.kill(ago_ns=10 * SECOND)
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill


def test_a_long_log_is_read_in_turns_and_for_a_bounded_time(scene: Scene) -> None:
    scene.write(*[b"noise"] * 3 * LINES, killed_line())
    kill = scene.kill(ago_ns=WAIT_NS)
    turns = 0
    while not scene.lines.ready(kill):
        turns += 1
    assert turns == 3
    assert scene.lines.joined(kill).victim_shmem_pages == 1
    # A log that is written faster than it is read delays an entry only briefly, and later entries even less.
    late = [scene.kill(tid, ago_ns=WAIT_NS) for tid in (43, 44, 45)]
    began_ns = scene.clock.now_ns
    for kill in late:
        scene.write(*[b"noise"] * 2 * LINES)
        while not scene.lines.ready(kill):
            scene.clock.now_ns += 10_000_000
            scene.write(*[b"noise"] * LINES)
            assert scene.clock.now_ns - began_ns <= CATCH_UP_NS


def test_what_the_log_holds_at_the_start_is_read_however_slow_the_machine_is(stage: Stage) -> None:
    # Seen where CPUs are emulated: 512 lines in 0.4 s.
    scene = stage()
    scene.write(*[b"noise"] * 6 * LINES, *header(), killed_line())
    scene.clock.step_ns = 200_000
    began_ns = scene.clock.now_ns
    scene.lines.check()
    kill = scene.kill(ago_ns=20 * SECOND)
    while not scene.lines.ready(kill):
        scene.lines.check()
    assert scene.lines.joined(kill).domain_cgroup == b"/a"
    assert scene.log.skipped == 0
    assert scene.clock.now_ns - began_ns >= 4 * CATCH_UP_NS


def test_a_log_that_never_ends_delays_the_first_kills_for_a_bounded_time(stage: Stage) -> None:
    scene = stage()
    kill = scene.kill(ago_ns=20 * SECOND)
    began_ns = scene.clock.now_ns
    scene.write(*[b"noise"] * LINES)
    while not scene.lines.ready(kill):
        scene.clock.now_ns += 100_000_000
        scene.write(*[b"noise"] * LINES)
        scene.lines.check()
        assert scene.clock.now_ns - began_ns <= 1.1 * FIRST_CATCH_UP_NS
    assert scene.lines.joined(kill) == kill


def test_the_log_is_followed_from_time_to_time_or_skipped_until_it_is_needed(stage: Stage) -> None:
    for follow in (True, False):
        scene = stage(follow=follow)
        for _ in range(3):
            scene.write(*[b"noise"] * 10)
            scene.lines.check()
            assert not scene.log.waiting
            reads, skipped = scene.log.reads, scene.log.skipped
            scene.clock.now_ns += FOLLOW_NS // 2
            scene.lines.check()
            assert (scene.log.reads, scene.log.skipped) == (reads, skipped)
            scene.clock.now_ns += FOLLOW_NS
        assert scene.log.skipped == (0 if follow else 3)
        assert scene.lines.due_ns is None


def test_lines_left_in_one_turn_are_read_in_the_next(scene: Scene) -> None:
    scene.write(*[b"noise"] * 2 * LINES)
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    assert len(scene.log.waiting) == LINES
    assert scene.lines.due_ns == scene.clock.now_ns
    for _ in range(2):
        scene.lines.check()
    assert not scene.log.waiting
    assert scene.lines.due_ns is None


def test_at_the_end_nothing_waits_but_available_lines_are_used(scene: Scene) -> None:
    kill = scene.kill()
    assert not scene.lines.ready(kill)
    scene.lines.end()
    assert scene.lines.due_ns is None
    assert scene.lines.ready(kill)
    scene.write(*header(), killed_line())
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).order == 0


def test_a_log_that_becomes_unreadable_is_reported_once(scene: Scene) -> None:
    scene.log.error = OSError(5, "Input/output error")
    for _ in range(2):
        assert scene.lines.ready(scene.kill())
        scene.clock.now_ns += 2 * FOLLOW_NS
        scene.lines.check()
    assert scene.said == ["Failed to read the kernel log: Input/output error, recording fewer fields"]
    assert scene.lines.due_ns is None


def test_members_of_a_group_have_one_decision(scene: Scene) -> None:
    scene.write(b"noise", ago_ns=10 * SECOND)
    kills = [scene.kill(), scene.kill(43)]
    scene.write(*header(), killed_line(), GROUP, killed_line(), killed_line(43))
    assert all(scene.lines.ready(kill) for kill in kills)
    first, second = (scene.lines.joined(kill).decision_logged_usec for kill in kills)
    assert first is not None
    assert first == second


UNKILLABLE = b"Out of memory and no killable processes..."


def test_an_unkillable_decision_is_reported_when_its_line_is_read(scene: Scene) -> None:
    scene.write(*header()[:-1], UNKILLABLE)
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    (told,) = scene.told
    assert (told.decision.order, told.decision.trigger_comm) == (0, b"asker")
    scene.lines.check()
    assert len(scene.told) == 1
    # The line of a kill is used with the kill only.
    scene.write(*header(), killed_line())
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    assert len(scene.told) == 1


def test_unkillable_decisions_before_the_start_are_not_reported_again(stage: Stage) -> None:
    scene = stage()
    scene.write(*header()[:-1], UNKILLABLE)
    scene.lines.check()
    assert (len(scene.log.waiting), scene.told) == (0, [])


def test_if_a_probe_sees_unkillable_decisions_the_log_does_not_report_them_too(stage: Stage) -> None:
    scene = stage(follow=False)
    scene.lines.ready(scene.kill(ago_ns=WAIT_NS))
    scene.write(*header()[:-1], UNKILLABLE)
    scene.clock.now_ns += 2 * FOLLOW_NS
    scene.lines.check()
    assert (len(scene.log.waiting), scene.told) == (0, [])


def test_a_storm_of_unkillable_decisions_does_not_take_all_the_time(scene: Scene) -> None:
    scene.clock.now_ns += FOLLOW_NS
    scene.clock.step_ns = 100_000
    turns = 0
    while scene.lines.due_ns is not None or not turns:
        scene.write(*[*header()[:-1], UNKILLABLE] * LINES)
        scene.lines.check()
        turns += 1
    assert len(scene.told) > turns
    assert scene.log.skipped == 1
    assert turns * LINES * scene.clock.step_ns <= 2 * CATCH_UP_NS
    assert scene.lines.due_ns is None
