# SPDX-License-Identifier: Apache-2.0
"""Waiting for command lines: never for long, and not repeatedly for victims of one owner."""

import os

import pytest

from oomkilld.record.cmdline.commandlines import CommandLines
from oomkilld.record.cmdline.helper import Helper, HelperGone
from oomkilld.record.cmdline.reader import (
    ASKED_WITHIN_NS,
    DEADLINE_NS,
    HELD_BACK_NS,
    MAX_FAILURES,
    MAX_OWNERS,
    START_AGAIN_NS,
    VictimReader,
)
from oomkilld.record.cmdline.redact import Redactor
from oomkilld.record.kill import CommandLine, KillRecord
from tests.unit.fakes import FakeClock
from tests.unit.records import kill_of, raw_cmdline

LINE = CommandLine(b"java\0-x\0", cut=False)


class FakeHelper(Helper):
    """Answers when a test lets it; ``gone``: it has ended."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0)
        self.asked: list[tuple[int, int]] = []
        self.answers: list[CommandLine | None] = []
        self.gone = False
        self.killed = self.put_away = False
        self.dead = False

    def fileno(self) -> int:
        return self._fd

    def ask(self, pid: int, start_ticks: int) -> None:
        if self.gone:
            raise HelperGone
        self.asked.append((pid, start_ticks))

    def answer(self) -> CommandLine | None:
        if self.gone:
            raise HelperGone
        if not self.answers:
            raise BlockingIOError
        return self.answers.pop(0)

    def kill(self) -> None:
        self.killed = True
        os.close(self._fd)

    def reaped(self) -> bool:
        assert self.killed
        assert not self.put_away
        self.put_away = self.dead
        return self.dead


class Scene:
    """A reader with fake helpers."""

    def __init__(self) -> None:
        self.helpers: list[FakeHelper] = []
        self.warnings: list[str] = []
        self.clock = FakeClock()
        self.no_room = False
        self.reader = VictimReader(self.start, lambda ns: ns // 10**7, self.clock, self.warnings.append)

    def start(self) -> FakeHelper:
        if self.no_room:
            raise OSError(12, "Cannot allocate memory")
        self.helpers.append(FakeHelper())
        return self.helpers[-1]

    def ready(self, kill: KillRecord, *, more: bool = False, after_ns: int = 0) -> bool:
        self.clock.now_ns += after_ns
        return self.reader.ready(kill, more=more)

    def hang(self, kill: KillRecord) -> None:
        assert not self.ready(kill)
        self.clock.now_ns += DEADLINE_NS
        self.reader.check()
        assert self.ready(kill)
        assert self.reader.found(kill) is None

    def answer(self, kill: KillRecord) -> None:
        """Ask about ``kill`` and get an answer."""
        assert not self.ready(kill)
        self.helpers[-1].answers.append(LINE)
        self.reader.check()
        assert self.ready(kill)
        assert self.reader.found(kill) == LINE


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_kill_waits_for_the_answer_and_is_asked_about_once(scene: Scene) -> None:
    kill = kill_of()
    assert not scene.ready(kill)
    assert not scene.ready(kill)
    assert scene.helpers[0].asked == [(4242, 300)]
    assert scene.reader.due_ns == DEADLINE_NS
    scene.reader.check()
    assert not scene.ready(kill)
    scene.helpers[0].answers = [LINE]
    scene.reader.check()
    # Also when its entry has to be sent again.
    for _ in range(2):
        assert scene.ready(kill)
        assert scene.reader.found(kill) == LINE
    assert scene.reader.due_ns is None
    assert scene.helpers[0].asked == [(4242, 300)]


def test_an_answer_belongs_to_its_kill_only(scene: Scene) -> None:
    scene.ready(kill_of())
    scene.helpers[0].answers = [LINE]
    scene.reader.check()
    other = kill_of(kill_boottime_ns=5_000_000_001)
    assert scene.reader.found(other) is None
    assert not scene.ready(other)
    scene.helpers[0].answers = [None]
    scene.reader.check()
    assert scene.ready(other)
    assert scene.reader.found(other) is None


def test_it_waits_until_the_deadline_and_then_replaces_the_helper(scene: Scene) -> None:
    kill = kill_of()
    scene.ready(kill)
    scene.clock.now_ns = DEADLINE_NS - 1
    scene.reader.check()
    assert not scene.ready(kill)
    scene.clock.now_ns += 1
    scene.reader.check()
    assert scene.ready(kill)
    assert scene.reader.found(kill) is None
    assert scene.helpers[0].killed
    assert scene.warnings == []
    # The new helper answers about the next kill.
    other = kill_of(victim_tid=1)
    assert not scene.ready(other)
    scene.helpers[1].answers = [LINE]
    scene.reader.check()
    assert scene.reader.found(other) == LINE


USERS = "/user.slice/user-%d.slice/user@%d.service/app.slice/%s"


def of_user(uid: int, tid: int, group: str = "app.scope") -> KillRecord:
    return kill_of(victim_tid=tid + 1)._replace(victim_cgroup=(USERS % (uid, uid, group)).encode())


def test_after_three_timeouts_an_owners_victims_are_skipped_for_an_hour_and_no_others(
    scene: Scene,
) -> None:
    for tid in range(MAX_FAILURES):
        assert scene.warnings == []
        assert scene.reader.trouble == ""
        scene.hang(of_user(1001, tid, f"group-{tid}.scope"))
    assert all(helper.killed for helper in scene.helpers[:MAX_FAILURES])
    (warning,) = scene.warnings
    assert warning.startswith("Failed to read command lines of victims of 'user 1001' 3 times: ")
    assert warning.endswith("the helper process did not answer within 100 ms, ignoring them for an hour")
    assert scene.reader.trouble == "victims of 1 owner blocked the helper process"
    assert scene.ready(of_user(1001, 10, "yet-another.scope"))
    assert scene.reader.due_ns is None
    assert scene.helpers[-1].asked == []
    scene.answer(of_user(1002, 11))
    assert not scene.ready(of_user(1001, 12), after_ns=HELD_BACK_NS)
    assert scene.reader.trouble == ""


def test_old_timeouts_do_not_count(scene: Scene) -> None:
    for tid in range(MAX_FAILURES - 1):
        scene.hang(of_user(1001, tid))
    scene.clock.now_ns += HELD_BACK_NS
    scene.hang(of_user(1001, 10))
    assert not scene.ready(of_user(1001, 11))
    assert scene.warnings == []


def test_the_number_of_owners_it_remembers_is_bounded(scene: Scene) -> None:
    for tid in range(3 * MAX_OWNERS):
        scene.hang(of_user(tid, tid))
    assert len(scene.reader._failures) == MAX_OWNERS


def test_the_triggers_command_line_is_shown_even_if_the_victims_is_skipped(scene: Scene) -> None:
    lines = CommandLines(Redactor([]), scene.reader, only_first=False)
    for tid in range(MAX_FAILURES):
        scene.hang(of_user(1001, tid))
    victim = of_user(1001, 10)
    assert lines.ready(victim, more=False)
    asked = kill_of(cmdline=raw_cmdline(b"a\0")).trigger_cmdline
    assert lines.shown(victim._replace(trigger_cmdline=asked)) == (b"a", None)
    assert lines.shown(victim._replace(trigger_cmdline=asked, trigger_pid=victim.victim_pid)) == (b"a", b"a")


def test_a_kill_that_waited_behind_a_timeout_does_not_wait_for_another(scene: Scene) -> None:
    scene.hang(of_user(1001, 1))
    late = of_user(1002, 2)._replace(kill_boottime_ns=scene.clock.now_ns - ASKED_WITHIN_NS - 1)
    assert scene.ready(late, more=True)
    assert scene.helpers[-1].asked == []
    # With nothing behind it, it delays nobody. Below, a kill that is young enough is asked about.
    assert not scene.ready(late)
    scene.answer(late)
    quick = of_user(1002, 3)._replace(kill_boottime_ns=scene.clock.now_ns - ASKED_WITHIN_NS)
    assert not scene.ready(quick, more=True)


def test_a_helper_that_ended_is_replaced_but_not_repeatedly(scene: Scene) -> None:
    scene.helpers[0].gone = True
    assert scene.ready(kill_of())
    assert len(scene.helpers) == 2
    scene.helpers[1].gone = True
    scene.reader.check()  # noticed before a kill asks
    assert len(scene.helpers) == 2
    assert scene.reader.trouble == "the helper process keeps exiting"
    assert scene.ready(kill_of(victim_tid=1))
    scene.clock.now_ns += START_AGAIN_NS
    scene.reader.check()
    assert scene.reader.trouble == ""
    scene.answer(kill_of(victim_tid=2))


def test_if_no_helper_can_start_it_retries_later(scene: Scene) -> None:
    scene.no_room = True
    scene.hang(kill_of(victim_tid=1))
    assert scene.reader.trouble == "cannot start the helper process: Cannot allocate memory"
    for _ in range(3):
        scene.clock.now_ns += START_AGAIN_NS - 1
        scene.reader.check()
        scene.clock.now_ns += 1
        scene.reader.check()
    assert len(scene.warnings) == 1
    scene.no_room = False
    scene.clock.now_ns += START_AGAIN_NS
    scene.reader.check()
    scene.answer(kill_of(victim_tid=2))
    assert scene.reader.trouble == ""


def test_dead_helpers_are_reaped_once_they_can_be(scene: Scene) -> None:
    scene.hang(kill_of(victim_tid=1))
    scene.reader.check()
    assert not scene.helpers[0].put_away
    scene.helpers[0].dead = True
    scene.reader.check()
    assert scene.helpers[0].put_away
    scene.reader.check()  # and not a second time


def test_at_the_end_nothing_waits(scene: Scene) -> None:
    kill = kill_of()
    scene.ready(kill)
    scene.reader.end()
    assert scene.helpers[0].killed
    assert scene.ready(kill)
    assert scene.ready(kill_of(victim_tid=1))
    assert scene.warnings == []


@pytest.mark.parametrize("unknown", [("victim_start_boottime_ns",)])
def test_a_victim_that_could_be_mistaken_is_not_asked_about(scene: Scene, unknown: tuple[str, ...]) -> None:
    assert scene.ready(kill_of(unknown=unknown))
    assert scene.helpers[0].asked == []


def test_only_victims_that_did_not_ask_themselves_need_the_helper(scene: Scene) -> None:
    lines = CommandLines(Redactor(["-x*"]), scene.reader, only_first=False)
    asker = kill_of(trigger_pid=4242)
    assert lines.ready(asker, more=False)
    assert lines.shown(asker) == (None, None)
    assert scene.helpers[0].asked == []
    kill = kill_of(cmdline=raw_cmdline(b"asker\0"))
    assert not lines.ready(kill, more=False)
    scene.helpers[0].answers = [CommandLine(b"java\0-xy\0", cut=False)]
    scene.reader.check()
    assert lines.ready(kill, more=False)
    assert lines.shown(kill) == (b"asker", b"java -x***")


def test_an_answer_that_is_still_due_is_not_taken_for_another_kill(scene: Scene) -> None:
    """As after a restart of journald, when the entries sent last are handled again."""
    assert not scene.ready(kill_of(victim_tid=1))
    assert not scene.ready(kill_of(victim_tid=2))
    assert scene.helpers[0].killed
    assert len(scene.helpers) == 2
    scene.helpers[1].answers.append(LINE)
    scene.reader.check()
    assert scene.ready(kill_of(victim_tid=2))
    assert scene.reader.found(kill_of(victim_tid=2)) == LINE
    assert scene.reader.trouble == ""
