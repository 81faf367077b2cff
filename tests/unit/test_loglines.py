# SPDX-License-Identifier: Apache-2.0
"""A record and the kernel's lines about the same kill become one; no entry depends on it, nor waits long."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import pytest

from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.record.loglines import CATCH_UP_NS, FOLLOW_NS, LINES, MAX_KEPT, WAIT_NS, LogLines
from tests.unit.fakes import FakeClock
from tests.unit.records import ORIGIN, kill_of
from tests.unit.test_assemble import GROUP, header, killed_line

SECOND = 10**9
# As at level tracepoint where the kernel counts memory in parts whose address it does not tell.
WHY = (
    *("decision_boottime_ns", "total_pages", "chosen_points", "chosen_pid", "constraint", "order", "gfp_mask"),
    *("reason", "group_kill", "domain_cgroup", "domain_limit_pages", "domain_usage_pages", "domain_swap_limit_pages"),
    *("domain_swap_usage_pages", "victim_anon_pages", "victim_file_pages", "victim_shmem_pages", "victim_swap_pages"),
)


class Log:
    """What can be read; printk's clock is 5 s behind. ``readable`` as the device is."""

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
    """A log, and what is made of it."""

    def __init__(self, *, follow: bool = True, constraints: Sequence[str] = ORIGIN.constraints) -> None:
        self.clock = FakeClock()
        self.clock.now_ns = 100 * SECOND
        self.log = Log()
        self.said: list[str] = []
        self.told: list[Unkillable] = []
        origin = ORIGIN._replace(level="tracepoint" if follow else "kprobe", constraints=constraints)
        self.lines = LogLines(self.log, self.clock, origin, self.told.append, self.said.append)

    def write(self, *texts: bytes, ago_ns: int = 0) -> None:
        """A microsecond apart, the last one so long ago."""
        last_usec = (self.clock.now_ns - ago_ns) // 1000 - 5_000_000
        first_usec = last_usec - len(texts) + 1
        self.log.waiting += [Line(usec, text) for usec, text in enumerate(texts, start=first_usec)]

    def kill(self, tid: int = 42, *, ago_ns: int = 0, unknown: tuple[str, ...] = WHY) -> KillRecord:
        """Seen so long ago."""
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
    """Its log was read before."""
    made = stage()
    made.lines.check()
    return made


def test_what_the_line_tells_is_added_and_nothing_that_the_record_tells_is_changed(scene: Scene) -> None:
    scene.write(*header(), killed_line())
    kill = scene.kill()._replace(victim_oom_score_adj=5)
    assert scene.lines.ready(kill)
    joined = scene.lines.joined(kill)
    assert (joined.reason, joined.constraint, joined.domain_cgroup) == (b"Memory cgroup out of memory", 3, b"/a")
    assert (joined.order, joined.gfp_mask) == (0, 0xCC0)
    assert (joined.victim_anon_pages, joined.victim_file_pages, joined.victim_shmem_pages) == (7500, 160, 1)
    # Its id is made of that.
    assert (joined.logged_usec, joined.kill_boottime_ns) == (None, kill.kill_boottime_ns)
    known = {name: value for name, value in kill._asdict().items() if value is not None}
    assert {name: getattr(joined, name) for name in known} == known
    assert joined.victim_oom_score_adj == 5  # not as in the line


@pytest.mark.parametrize("other", [{"victim_comm": b"other"}, {"victim_uid": 1}], ids=str)
def test_a_line_of_another_process_with_the_same_number_is_not_its(scene: Scene, other: dict[str, int | bytes]) -> None:
    scene.write(*header(), killed_line())
    kill = scene.kill(ago_ns=WAIT_NS)._replace(**other)  # type: ignore[arg-type]
    scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill
    assert scene.lines.deadline_ns is None


def test_a_constraint_has_the_number_that_this_kernel_gives_it(stage: Stage) -> None:
    scene = stage(constraints=["CONSTRAINT_NONE", "CONSTRAINT_MEMCG"])
    scene.write(*header(), killed_line())
    kill = scene.kill()
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).constraint == 1


@pytest.mark.parametrize("unknown", [(), ("reason",)], ids=["all told", "one fact missing"])
def test_the_log_is_asked_only_about_what_is_missing(stage: Stage, unknown: tuple[str, ...]) -> None:
    scene = stage(follow=False)
    kill = scene.kill(unknown=unknown)
    scene.write(*header(), killed_line())
    assert scene.lines.ready(kill)
    assert bool(scene.log.reads) == bool(unknown)
    joined = scene.lines.joined(kill)
    assert joined.reason == b"Memory cgroup out of memory"
    # The decision is known by its time, and so are its other kills.
    assert (joined.decision_boottime_ns, joined.decision_logged_usec) == (kill.decision_boottime_ns, None)


def test_one_that_was_spared_has_no_line(scene: Scene) -> None:
    assert scene.lines.ready(scene.kill()._replace(spared=1))


def test_a_line_is_waited_for_a_moment_and_no_longer(scene: Scene) -> None:
    kill = scene.kill(ago_ns=2_000_000)
    assert not scene.lines.ready(kill)
    assert scene.lines.deadline_ns == scene.clock.now_ns + WAIT_NS - 2_000_000
    scene.clock.now_ns += 1_000_000
    scene.lines.check()
    scene.write(*header(), killed_line(), ago_ns=2_500_000)
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).order == 0
    other = scene.kill(43)
    assert not scene.lines.ready(other)
    scene.clock.now_ns += WAIT_NS
    scene.lines.check()
    assert scene.lines.deadline_ns is None
    assert scene.lines.ready(other)
    assert scene.lines.joined(other) == other


def test_of_many_without_a_line_only_the_newest_wait(scene: Scene) -> None:
    kills = [scene.kill(number, ago_ns=WAIT_NS) for number in range(100, 400)]
    assert all(scene.lines.ready(kill) for kill in kills)


def test_each_of_a_storm_gets_its_own_and_again_when_it_comes_again(scene: Scene) -> None:
    kills = []
    for tid in range(1000, 1000 + MAX_KEPT):
        scene.clock.now_ns += 1_000_000
        kills.append(scene.kill(tid))
        scene.write(killed_line(tid).replace(b"shmem-rss:4kB", b"shmem-rss:%dkB" % (4 * tid)))
    scene.clock.now_ns += 5 * SECOND
    for _ in range(2):
        assert all(scene.lines.ready(kill) for kill in kills)
        assert [scene.lines.joined(kill).victim_shmem_pages for kill in kills] == list(range(1000, 1000 + MAX_KEPT))


def test_of_so_many_and_no_more_the_lines_are_kept(scene: Scene) -> None:
    kills = [scene.kill(tid) for tid in range(1000, 1001 + MAX_KEPT)]
    scene.write(*(killed_line(kill.victim_tid) for kill in kills))
    assert all(scene.lines.ready(kill) for kill in kills)
    assert [scene.lines.joined(kill).reason is None for kill in kills] == [True] + [False] * MAX_KEPT


def test_of_a_number_that_comes_again_the_nearest_line_is_the_kills(scene: Scene) -> None:
    kills = []
    for order in range(3):
        scene.clock.now_ns += 60 * SECOND
        kills.append(scene.kill())
        scene.write(*(text.replace(b"order=0", b"order=%d" % order) for text in header()), killed_line())
        assert scene.lines.ready(kills[-1])
    assert [scene.lines.joined(kill).order for kill in kills] == [0, 1, 2]
    # And where its own is missing no other's is taken.
    scene.clock.now_ns += 60 * SECOND
    kill = scene.kill(ago_ns=WAIT_NS)
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill


def test_a_line_that_was_read_before_the_kill_is_not_its_own(scene: Scene) -> None:
    # As at a start: no line has told the time yet.
    scene.write(*header(), killed_line(), ago_ns=SECOND)
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    scene.clock.now_ns += 1_000_000
    kill = scene.kill(ago_ns=500_000)
    assert not scene.lines.ready(kill)
    assert scene.lines.joined(kill) == kill


def test_of_kills_during_a_downtime_lines_are_found_though_no_line_has_told_the_time_yet(stage: Stage) -> None:
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
    # One whose line was lost gets none of both.
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
    # One that is written faster than it is read keeps no entry for long, and the next not as long again.
    late = [scene.kill(tid, ago_ns=WAIT_NS) for tid in (43, 44, 45)]
    began_ns = scene.clock.now_ns
    for kill in late:
        scene.write(*[b"noise"] * 2 * LINES)
        while not scene.lines.ready(kill):
            scene.clock.now_ns += 10_000_000
            scene.write(*[b"noise"] * LINES)
            assert scene.clock.now_ns - began_ns <= CATCH_UP_NS


def test_it_is_read_on_now_and_then_or_passed_over_until_it_is_needed(stage: Stage) -> None:
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
        assert scene.lines.deadline_ns is None


def test_what_is_not_read_at_once_is_read_in_the_next_turns(scene: Scene) -> None:
    scene.write(*[b"noise"] * 2 * LINES)
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    assert len(scene.log.waiting) == LINES
    assert scene.lines.deadline_ns == scene.clock.now_ns
    for _ in range(2):
        scene.lines.check()
    assert not scene.log.waiting
    assert scene.lines.deadline_ns is None


def test_at_the_end_nothing_is_waited_for_but_what_is_there_is_told(scene: Scene) -> None:
    kill = scene.kill()
    assert not scene.lines.ready(kill)
    scene.lines.end()
    assert scene.lines.deadline_ns is None
    assert scene.lines.ready(kill)
    scene.write(*header(), killed_line())
    assert scene.lines.ready(kill)
    assert scene.lines.joined(kill).order == 0


def test_a_log_that_cannot_be_read_any_more_is_said_once(scene: Scene) -> None:
    scene.log.error = OSError(5, "Input/output error")
    for _ in range(2):
        assert scene.lines.ready(scene.kill())
        scene.clock.now_ns += 2 * FOLLOW_NS
        scene.lines.check()
    assert scene.said == ["Failed to read the kernel log: Input/output error, recording fewer fields"]
    assert scene.lines.deadline_ns is None


def test_members_of_a_group_have_one_decision(scene: Scene) -> None:
    scene.write(b"noise", ago_ns=10 * SECOND)
    kills = [scene.kill(), scene.kill(43)]
    scene.write(*header(), killed_line(), GROUP, killed_line(), killed_line(43))
    assert all(scene.lines.ready(kill) for kill in kills)
    first, second = (scene.lines.joined(kill).decision_logged_usec for kill in kills)
    assert first is not None
    assert first == second


UNKILLABLE = b"Out of memory and no killable processes..."


def test_where_nothing_could_be_killed_is_told_when_it_is_read(scene: Scene) -> None:
    scene.write(*header()[:-1], UNKILLABLE)
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    (told,) = scene.told
    assert (told.decision.order, told.decision.trigger_comm) == (0, b"asker")
    scene.lines.check()
    assert len(scene.told) == 1
    # A kill's line is told with its kill.
    scene.write(*header(), killed_line())
    scene.clock.now_ns += FOLLOW_NS
    scene.lines.check()
    assert len(scene.told) == 1


def test_what_was_so_before_the_start_is_not_told_again(stage: Stage) -> None:
    scene = stage()
    scene.write(*header()[:-1], UNKILLABLE)
    scene.lines.check()
    assert (len(scene.log.waiting), scene.told) == (0, [])


def test_where_a_probe_sees_that_the_log_does_not_tell_it_twice(stage: Stage) -> None:
    scene = stage(follow=False)
    scene.lines.ready(scene.kill(ago_ns=WAIT_NS))
    scene.write(*header()[:-1], UNKILLABLE)
    scene.clock.now_ns += 2 * FOLLOW_NS
    scene.lines.check()
    assert (len(scene.log.waiting), scene.told) == (0, [])


def test_a_storm_of_it_does_not_take_all_the_time(scene: Scene) -> None:
    scene.clock.now_ns += FOLLOW_NS
    scene.clock.step_ns = 100_000
    turns = 0
    while scene.lines.deadline_ns is not None or not turns:
        scene.write(*[*header()[:-1], UNKILLABLE] * LINES)
        scene.lines.check()
        turns += 1
    assert len(scene.told) > turns
    assert scene.log.skipped == 1
    assert turns * LINES * scene.clock.step_ns <= 2 * CATCH_UP_NS
    assert scene.lines.deadline_ns is None
