# SPDX-License-Identifier: Apache-2.0
"""Kills that were not seen are looked for in the kernel's log: in what order, and what comes of a failure."""

import marshal
import os
import time
from collections.abc import Sequence

import pytest

from oomkilld.record import recall as module
from oomkilld.record.delivery import Delivery
from oomkilld.record.recall import (
    DEADLINE_NS,
    END,
    KILL,
    LOG_IS_READ,
    Asked,
    FoundKills,
    Process,
    Progress,
    Recall,
    Recalled,
)
from oomkilld.record.sink import STORED_AFTER_NS
from tests.unit.fakes import FakeClock, FakeHandler, FakeJournal, FakeLooker
from tests.unit.records import kill_of

STORED = Progress(drained=True, position=100, stored=100, entries=7, repeats=2)


def kill(pid: int, repeats: int = 0) -> bytes:
    return marshal.dumps((KILL, tuple(kill_of(victim_pid=pid)), repeats))


def end(without_entry: int, known: int = 7, repeats: int = 2) -> bytes:
    return marshal.dumps((END, ("CONSTRAINT_NONE",), without_entry, known, repeats))


class Scene:
    """A recall, and the process that it is told by."""

    def __init__(self, *messages: bytes) -> None:
        self.clock = FakeClock()
        self.looker = FakeLooker(*messages)
        self.asked: list[int] = []
        self.constraints: Sequence[str] = ()
        self.warnings: list[str] = []
        self.events: list[str] = []
        self.journal = FakeJournal(self.events)
        self.recall = Recall(self.start, self.deliver, self.clock, self.warnings.append)

    def start(self, kills: int) -> FakeLooker:
        self.asked.append(kills)
        return self.looker

    def deliver(self, found: FoundKills, constraints: Sequence[str]) -> Delivery:
        self.constraints = constraints
        return Delivery(found, self.journal, FakeHandler(), self.clock, self.warnings.append)

    def finish(self) -> Recalled | None:
        """Check as the loop does, until it is at rest."""
        recalled = self.recall.check(STORED)
        while recalled is None and (due := self.recall.next_check_ns) is not None and due < DEADLINE_NS:
            self.clock.now_ns = max(due, self.clock.now_ns + 1)
            recalled = self.recall.check(STORED)
        return recalled


def test_what_is_found_gets_entries_and_is_done_once_they_are_stored() -> None:
    scene = Scene(LOG_IS_READ, kill(1), kill(2, repeats=1), end(2))
    assert scene.recall.check(STORED) is None
    assert scene.recall.next_check_ns is None
    scene.recall.begin(5)
    assert scene.asked == [5]
    assert scene.recall.check(STORED) is None
    assert scene.events == ["sent 1", "sent 2"]
    assert scene.looker.ended
    assert scene.recall.busy
    assert scene.finish() == Recalled(2, 1, more=False)
    assert scene.clock.now_ns >= STORED_AFTER_NS
    assert not scene.recall.busy
    assert scene.constraints == ("CONSTRAINT_NONE",)


def test_the_journal_is_read_when_all_is_stored_there_that_was_seen_before_the_log_was_read() -> None:
    scene = Scene(LOG_IS_READ)
    scene.recall.begin(1)
    scene.recall.check(STORED._replace(drained=False, position=100, stored=100))
    assert not scene.looker.gone_on
    scene.recall.check(STORED._replace(drained=True, position=200, stored=150))
    assert not scene.looker.gone_on
    # That it takes journald long is no failure.
    assert scene.recall.next_check_ns is None
    scene.clock.now_ns += 2 * DEADLINE_NS
    scene.recall.check(STORED._replace(drained=True, position=300, stored=199))
    assert not scene.looker.gone_on
    scene.recall.check(STORED._replace(drained=False, position=400, stored=200))
    assert scene.looker.gone_on
    assert scene.warnings == []


def test_before_the_log_is_read_nothing_that_is_stored_counts() -> None:
    scene = Scene()
    scene.recall.begin(1)
    scene.recall.check(STORED)
    assert not scene.looker.gone_on
    scene.looker.messages.append(LOG_IS_READ)
    scene.recall.check(STORED._replace(drained=True, position=300, stored=100))
    assert not scene.looker.gone_on


def test_where_more_are_without_entry_than_are_taken_at_once_it_is_worth_looking_again() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(2))
    scene.recall.begin(2)
    assert scene.finish() == Recalled(1, 0, more=True)
    # But not when none of them was given.
    scene.looker = FakeLooker(LOG_IS_READ, end(7))
    scene.recall.begin(1)
    assert scene.finish() == Recalled(0, 0, more=False)


def test_entries_that_the_books_do_not_know_of_are_not_missing() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(1, known=10, repeats=3))
    scene.recall.begin(5)
    assert scene.finish() == Recalled(1 + 3, 1, more=False)
    # Entries that were lost from the journal make none missing, either.
    scene.looker = FakeLooker(LOG_IS_READ, end(0, known=5, repeats=9))
    scene.recall.begin(5)
    assert scene.finish() == Recalled(0, 0, more=False)


def test_while_journald_takes_nothing_it_is_tried_again() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(1))
    scene.journal.refuses = True
    scene.recall.begin(1)
    assert scene.recall.check(STORED) is None
    assert scene.recall.next_check_ns == 250 * 10**6
    assert scene.recall.check(STORED) is None
    scene.journal.refuses = False
    assert scene.finish() == Recalled(1, 0, more=False)


def test_when_journald_is_started_anew_they_are_sent_again() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(1))
    scene.recall.begin(1)
    scene.recall.check(STORED)
    scene.journal.started = 2
    assert scene.finish() == Recalled(1, 0, more=False)
    assert scene.events == ["sent 1", "sent 1"]


@pytest.mark.parametrize("messages", [(b"",), (LOG_IS_READ, b""), (LOG_IS_READ, kill(1), b"")])
def test_a_process_that_ends_before_it_has_told_all_has_told_nothing(messages: tuple[bytes, ...]) -> None:
    scene = Scene(*messages)
    scene.recall.begin(3)
    assert scene.recall.check(STORED) == Recalled(0, 0, more=False)
    assert scene.looker.ended
    assert scene.warnings == ["looking for kills in the kernel's log failed: the process that does it ended, ignoring"]
    assert scene.events == []


@pytest.mark.parametrize("messages", [(), (LOG_IS_READ, kill(1))])
def test_one_that_takes_too_long_is_ended(messages: tuple[bytes, ...]) -> None:
    scene = Scene(*messages)
    scene.recall.begin(3)
    assert scene.recall.check(STORED) is None
    assert scene.recall.next_check_ns == DEADLINE_NS
    scene.clock.now_ns = DEADLINE_NS
    assert scene.recall.check(STORED) == Recalled(0, 0, more=False)
    assert scene.looker.ended
    assert scene.warnings == ["looking for kills in the kernel's log failed: it took longer than 60 s, ignoring"]


def test_without_room_for_it_nothing_is_found() -> None:
    scene = Scene()

    def start(_kills: int) -> FakeLooker:
        raise OSError(12, "Cannot allocate memory")

    scene.recall = Recall(start, scene.deliver, scene.clock, scene.warnings.append)
    scene.recall.begin(3)
    assert scene.recall.check(STORED) == Recalled(0, 0, more=False)
    assert scene.warnings == [
        "kills that were not seen are not looked for in the kernel's log: Cannot allocate memory, ignoring"
    ]
    scene.looker.end()


def test_at_the_end_what_was_taken_by_journald_counts() -> None:
    scene = Scene(LOG_IS_READ, kill(1, repeats=2), end(1))
    scene.recall.begin(3)
    scene.recall.check(STORED)
    assert scene.recall.end() == Recalled(1, 2, more=False)
    scene = Scene(LOG_IS_READ)
    scene.recall.begin(3)
    scene.recall.check(STORED)
    assert scene.recall.end() == Recalled(0, 0, more=False)
    assert scene.looker.ended


def test_the_process_is_one_of_its_own_and_is_put_away(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        "import socket, sys; s = socket.socket(fileno=3); asked = s.recv(999); s.send(asked + s.recv(1)); s.recv(1)"
    )
    monkeypatch.setattr(module, "_BOOTSTRAP", answer)
    asked = Asked(5, 512, os.getpid(), b"boot", 4096)
    process = Process(asked)
    process.go_on()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            message = process.receive()
            break
        except BlockingIOError:
            time.sleep(0.01)
    assert marshal.loads(message[:-1]) == tuple(asked)
    assert message[-1:] == b"+"
    process.end()
    with pytest.raises(ChildProcessError):
        os.waitpid(process._pid, os.WNOHANG)
