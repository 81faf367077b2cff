# SPDX-License-Identifier: Apache-2.0
"""What leaves the ring is in the journal: the order of sending, waiting and freeing."""

from collections.abc import Sequence

import pytest

from oomkilld.record.audit import Audit
from oomkilld.record.decode import KillRecord
from oomkilld.record.delivery import STORED_AFTER_NS, Counts, Delivery
from oomkilld.record.ring import Item
from oomkilld.record.sink import Incarnation, JournalRefused
from tests.unit.records import raw_record


class FakeRing:
    """Records of 10 positions each; logs when it is told to free."""

    def __init__(self, events: list[str], *records: bytes | None) -> None:
        self.records = list(records)
        self.consumer_position = 0
        self.events = events

    def peek(self, position: int) -> Item | None:
        index = position // 10
        return Item(self.records[index], position + 10) if index < len(self.records) else None

    def free(self, position: int) -> None:
        self.events.append(f"free {position}")
        self.consumer_position = position


class FakeJournal:
    """Takes entries until told to refuse."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.refuses = False
        self.started = 1

    def send(self, fields: Sequence[bytes]) -> None:
        if self.refuses:
            raise JournalRefused("its queue is full")
        self.events.append(b" ".join(fields).decode())

    def incarnation(self) -> Incarnation:
        return ("", self.started)


class FakeClock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    boottime_ns = realtime_ns = monotonic_ns


class Scene:
    """A delivery between fakes."""

    def __init__(self, *records: bytes | None) -> None:
        self.events: list[str] = []
        self.warnings: list[str] = []
        self.ring = FakeRing(self.events, *records)
        self.journal = FakeJournal(self.events)
        self.clock = FakeClock()
        self.delivery = Delivery(self.ring, self.journal, self.render, self.clock, self.warnings.append)

    @staticmethod
    def render(kill: KillRecord) -> list[bytes]:
        return [b"sent %d" % kill.victim_pid]

    def after(self, ns: int) -> None:
        self.clock.now_ns += ns


def records(*pids: int) -> list[bytes]:
    return [raw_record(victim_pid=pid) for pid in pids]


def test_a_record_is_freed_only_when_its_entry_has_had_time_to_be_stored() -> None:
    scene = Scene(*records(1, 2))
    assert not scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2"]
    assert scene.delivery.next_settle_ns == STORED_AFTER_NS
    scene.after(STORED_AFTER_NS - 1)
    assert not scene.delivery.settle()
    assert scene.events == ["sent 1", "sent 2"]
    scene.after(1)
    assert not scene.delivery.settle()
    assert scene.events == ["sent 1", "sent 2", "free 20"]
    assert scene.delivery.next_settle_ns is None
    assert scene.delivery.counts == Counts(entries=2)


def test_two_seconds_are_what_was_found_to_be_enough() -> None:
    assert STORED_AFTER_NS >= 2 * 10**9


def test_what_another_journald_was_given_is_sent_again_and_counted_once() -> None:
    scene = Scene(*records(1, 2))
    scene.delivery.drain(64)
    scene.journal.started = 2
    scene.after(STORED_AFTER_NS)
    assert scene.delivery.settle()
    assert scene.delivery.counts == Counts()
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2", "sent 1", "sent 2"]
    assert scene.warnings == ["journald was started anew: sending again what it may not have stored"]
    scene.after(STORED_AFTER_NS)
    assert not scene.delivery.settle()
    assert scene.events[-1] == "free 20"
    assert scene.delivery.counts == Counts(entries=2)


def test_what_is_refused_stays_and_is_sent_when_it_is_taken_again() -> None:
    scene = Scene(*records(1, 2))
    scene.journal.refuses = True
    with pytest.raises(JournalRefused):
        scene.delivery.drain(64)
    scene.after(10 * STORED_AFTER_NS)
    scene.delivery.settle()
    assert scene.events == []
    scene.journal.refuses = False
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2"]


def test_a_refusal_midway_keeps_what_was_sent_before_it() -> None:
    scene = Scene(*records(1, 2))
    assert scene.delivery.drain(1)
    scene.journal.refuses = True
    with pytest.raises(JournalRefused):
        scene.delivery.drain(64)
    scene.after(STORED_AFTER_NS)
    scene.delivery.settle()
    assert scene.events == ["sent 1", "free 10"]


def test_a_repeat_is_counted_and_not_sent() -> None:
    scene = Scene(*records(1), raw_record(victim_pid=1, repeat=1))
    scene.delivery.drain(64)
    assert scene.events == ["sent 1"]
    assert scene.delivery.counts == Counts(entries=1, repeats=1)


def test_a_record_that_cannot_be_a_kill_is_counted_said_and_passed() -> None:
    scene = Scene(b"nonsense", *records(2))
    scene.delivery.drain(64)
    assert scene.events == ["sent 2"]
    assert scene.delivery.counts == Counts(entries=1, rejected=1)
    (warning,) = scene.warnings
    assert warning.startswith("the kernel handed over a record that cannot be a kill: found 8 bytes, expected")


def test_a_discarded_record_leaves_no_trace() -> None:
    scene = Scene(None, *records(2))
    scene.delivery.drain(64)
    assert scene.delivery.counts == Counts(entries=1)


def test_a_batch_is_bounded_and_says_when_there_may_be_more() -> None:
    scene = Scene(*records(1, 2, 3))
    assert scene.delivery.drain(2)
    assert not scene.delivery.drain(2)


def missed(count: int, reason: str) -> list[bytes]:
    return [b"%d missed, %s" % (count, reason.encode())]


def test_each_missed_kill_is_in_one_entry_only() -> None:
    events: list[str] = []
    audit = Audit(FakeJournal(events), missed)
    audit.report(lost=0, rejected=0)
    audit.report(lost=3, rejected=0)
    audit.report(lost=3, rejected=0)
    audit.report(lost=5, rejected=1)
    assert events == ["3 missed, ring-full", "2 missed, ring-full", "1 missed, record-rejected"]


def test_what_journald_did_not_take_is_said_later() -> None:
    events: list[str] = []
    journal = FakeJournal(events)
    audit = Audit(journal, missed)
    journal.refuses = True
    audit.report(lost=3, rejected=0)
    journal.refuses = False
    audit.report(lost=4, rejected=0)
    assert events == ["4 missed, ring-full"]
