# SPDX-License-Identifier: Apache-2.0
"""Waiting for command lines: never for long, and not for ever again."""

import os

import pytest

from oomkilld.record.cmdline import CommandLines
from oomkilld.record.cmdlinehelper import HelperGone
from oomkilld.record.cmdlinereader import DEADLINE_NS, VictimReader
from oomkilld.record.decode import CommandLine
from oomkilld.record.redact import Redactor
from tests.unit.fakes import FakeClock
from tests.unit.records import kill_of, raw_cmdline

LINE = CommandLine(b"java\0-x\0", cut=False)


class FakeHelper:
    """Answers when told to; ``gone``: it has ended."""

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
    """A reader whose helpers are fakes."""

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

    def hang(self, tid: int) -> None:
        kill = kill_of(victim_tid=tid)
        assert not self.reader.ready(kill)
        self.clock.now_ns += DEADLINE_NS
        self.reader.check()
        assert self.reader.ready(kill)
        assert self.reader.found(kill) is None


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_kill_waits_for_the_answer_and_is_asked_about_once(scene: Scene) -> None:
    kill = kill_of()
    assert not scene.reader.ready(kill)
    assert not scene.reader.ready(kill)
    assert scene.helpers[0].asked == [(4242, 300)]
    assert scene.reader.deadline_ns == DEADLINE_NS
    scene.reader.check()
    assert not scene.reader.ready(kill)
    scene.helpers[0].answers = [LINE]
    scene.reader.check()
    # Also when its entry has to be sent again.
    for _ in range(2):
        assert scene.reader.ready(kill)
        assert scene.reader.found(kill) == LINE
    assert scene.reader.deadline_ns is None
    assert scene.helpers[0].asked == [(4242, 300)]


def test_an_answer_is_that_of_its_kill_only(scene: Scene) -> None:
    scene.reader.ready(kill_of())
    scene.helpers[0].answers = [LINE]
    scene.reader.check()
    other = kill_of(kill_boottime_ns=5_000_000_001)
    assert scene.reader.found(other) is None
    assert not scene.reader.ready(other)
    scene.helpers[0].answers = [None]
    scene.reader.check()
    assert scene.reader.ready(other)
    assert scene.reader.found(other) is None


def test_it_waits_no_longer_than_promised_and_takes_another_helper(scene: Scene) -> None:
    kill = kill_of()
    scene.reader.ready(kill)
    scene.clock.now_ns = DEADLINE_NS - 1
    scene.reader.check()
    assert not scene.reader.ready(kill)
    scene.clock.now_ns += 1
    scene.reader.check()
    assert scene.reader.ready(kill)
    assert scene.reader.found(kill) is None
    assert scene.helpers[0].killed
    assert scene.warnings == []
    # The next is answered.
    other = kill_of(victim_tid=1)
    assert not scene.reader.ready(other)
    scene.helpers[1].answers = [LINE]
    scene.reader.check()
    assert scene.reader.found(other) == LINE


def test_the_third_that_hangs_switches_it_off(scene: Scene) -> None:
    lines = CommandLines(Redactor([]), scene.reader, only_first=False)
    asker = kill_of(trigger_pid=4242, cmdline=raw_cmdline(b"a\0"))
    scene.hang(1)
    scene.hang(2)
    assert scene.warnings == []
    assert scene.reader.trouble == ""
    assert lines.shown(asker) == (b"a", b"a")
    scene.hang(3)
    assert len(scene.helpers) == 3
    assert all(helper.killed for helper in scene.helpers)
    reason = "the process that reads them gave no answer within 100 ms, the last of 3"
    assert scene.reader.trouble == reason
    assert scene.warnings == [
        f"command lines are not recorded any more until the service is started again: {reason}, ignoring"
    ]
    assert scene.reader.ready(kill_of(victim_tid=4))
    assert scene.reader.deadline_ns is None
    scene.reader.check()
    assert lines.shown(asker) == (None, None)


def test_one_that_has_ended_is_replaced(scene: Scene) -> None:
    scene.helpers[0].gone = True
    assert scene.reader.ready(kill_of())
    assert len(scene.helpers) == 2
    scene.helpers[1].gone = True
    scene.reader.check()  # noticed before it is asked
    assert len(scene.helpers) == 3
    assert not scene.reader.ready(kill_of(victim_tid=1))
    scene.helpers[2].gone = True
    scene.reader.check()
    assert scene.reader.trouble == "the process that reads them has ended, the last of 3"


def test_without_room_for_another_it_is_switched_off(scene: Scene) -> None:
    scene.no_room = True
    scene.hang(1)
    assert scene.reader.trouble == "no process to read them can be started: Cannot allocate memory"
    assert len(scene.warnings) == 1


def test_the_dead_are_put_away_in_time(scene: Scene) -> None:
    scene.hang(1)
    scene.reader.check()
    assert not scene.helpers[0].put_away
    scene.helpers[0].dead = True
    scene.reader.check()
    assert scene.helpers[0].put_away
    scene.reader.check()  # and not again


def test_at_the_end_nothing_is_waited_for(scene: Scene) -> None:
    kill = kill_of()
    scene.reader.ready(kill)
    scene.reader.end()
    assert scene.helpers[0].killed
    assert scene.reader.ready(kill)
    assert scene.reader.ready(kill_of(victim_tid=1))
    assert scene.warnings == []


@pytest.mark.parametrize("unknown", [("victim_start_boottime_ns",)])
def test_a_victim_that_could_be_taken_for_another_is_not_asked_about(scene: Scene, unknown: tuple[str, ...]) -> None:
    assert scene.reader.ready(kill_of(unknown=unknown))
    assert scene.helpers[0].asked == []


def test_the_helper_is_for_victims_that_did_not_ask_themselves(scene: Scene) -> None:
    lines = CommandLines(Redactor(["-x*"]), scene.reader, only_first=False)
    asker = kill_of(trigger_pid=4242)
    assert lines.ready(asker)
    assert lines.shown(asker) == (None, None)
    assert scene.helpers[0].asked == []
    kill = kill_of(cmdline=raw_cmdline(b"asker\0"))
    assert not lines.ready(kill)
    scene.helpers[0].answers = [CommandLine(b"java\0-xy\0", cut=False)]
    scene.reader.check()
    assert lines.ready(kill)
    assert lines.shown(kill) == (b"asker", b"java -x***")


def test_an_answer_that_is_still_to_come_is_not_taken_for_anothers(scene: Scene) -> None:
    """journald was started anew, and what was sent last is looked at again."""
    assert not scene.reader.ready(kill_of(victim_tid=1))
    assert not scene.reader.ready(kill_of(victim_tid=2))
    assert scene.helpers[0].killed
    assert len(scene.helpers) == 2
    scene.helpers[1].answers.append(LINE)
    scene.reader.check()
    assert scene.reader.ready(kill_of(victim_tid=2))
    assert scene.reader.found(kill_of(victim_tid=2)) == LINE
    assert scene.reader.trouble == ""
