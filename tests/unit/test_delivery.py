# SPDX-License-Identifier: Apache-2.0
"""A record leaves the ring only once its entry is stored: the order of sending, waiting and freeing."""

import pytest

from oomkilld.record.capture.decode import decode
from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.checkpoint import Counts, Kept, KeptSource
from oomkilld.record.deliver.delivery import Delivery, Target
from oomkilld.record.deliver.sink import ANOTHER, STORED_AFTER_NS, JournalRefused, number_of
from oomkilld.record.deliver.tracker import FIRST_LOOK_NS, LAST_LOOK_NS, StoreTracker
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.record.levelnotice import LevelChange
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import SentEntry, sent_ids_in_memory
from tests.unit.fakes import FakeClock, FakeConfirm, FakeJournal, FakeLedger, FakePipeline, FakeRing
from tests.unit.records import id_of, kill_of, raw_record, raw_release

# The number of the fake journal's first incarnation.
FIRST = number_of(("", 1))


class Scene:
    """A delivery between fakes."""

    def __init__(
        self,
        *records: bytes | Unkillable | None,
        totals: Totals = Totals(),  # noqa: B008 # immutable
    ) -> None:
        self.events: list[str] = []
        self.ledger = FakeLedger()
        self.ledger.totals = totals
        self.warnings: list[str] = []
        self.ring = FakeRing(self.events, *records)
        self.journal = FakeJournal(self.events)
        self.clock = FakeClock()
        self.pipeline = FakePipeline(self.warnings.append)
        self.confirm = FakeConfirm()
        self.outlives = False
        self.sent_ids = sent_ids_in_memory()
        self.delivery = self.start()

    def start(self) -> Delivery:
        source = KeptSource(self.ring, Kept(self.ledger, self.sent_ids), id_of, outlives=self.outlives)
        self.tracker = StoreTracker(self.journal, self.clock)
        self.confirm.holders = []
        return Delivery(source, Target(self.journal, self.tracker, self.confirm), self.pipeline, self.warnings.append)

    def after(self, ns: int) -> bool:
        """Let ``ns`` pass as the loop does: settle whenever due. True: journald restarted."""
        end = self.clock.now_ns + ns
        while (due := self.tracker.due_ns) is not None and due <= end:
            self.clock.now_ns = max(self.clock.now_ns, due)
            self.tracker.settle()
            if self.delivery.free_stored():
                return True
        self.clock.now_ns = end
        return False

    def sent(self) -> list[str]:
        return [event for event in self.events if event.startswith("sent")]

    def kept_ids(self) -> list[SentEntry]:
        return list(self.sent_ids.between(0, self.ledger.totals.ids + 1))


def kept_of(*pids: int, spared: int = 0) -> list[SentEntry]:
    return [SentEntry(pid.to_bytes(16, "big"), 0, None if pid == spared else 0) for pid in pids]


def kinds(entries: list[SentEntry]) -> list[SentEntry]:
    """Wherever their records end."""
    return [entry._replace(end=0) for entry in entries]


def records(*pids: int) -> list[bytes]:
    return [raw_record(victim_pid=pid) for pid in pids]


def test_a_record_is_freed_only_when_its_entry_has_had_time_to_be_stored() -> None:
    scene = Scene(*records(1, 2))
    assert scene.tracker.due_ns is None
    assert not scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2"]
    assert not scene.after(FIRST_LOOK_NS + STORED_AFTER_NS - 1)
    assert scene.events == ["sent 1", "sent 2"]
    assert not scene.after(1)
    assert scene.events == ["sent 1", "sent 2", "free 20"]
    assert scene.tracker.due_ns is None
    assert scene.delivery.counts == Counts(entries=2)


def test_the_ledger_counts_each_entry_right_after_it_is_sent() -> None:
    scene = Scene(*records(1, 2, 3))
    known: list[tuple[int, int]] = []

    def ready(_kill: KillRecord, *, more: bool) -> bool:  # noqa: ARG001
        known.append((scene.ledger.totals.entries, scene.ledger.totals.sent_position))
        return True

    scene.pipeline.ready = ready  # type: ignore[assignment, method-assign]
    scene.delivery.drain(64)
    assert known == [(0, 0), (1, 10), (2, 20)]


def test_a_spared_process_gets_an_entry_and_does_not_count_as_a_kill() -> None:
    scene = Scene(raw_record(victim_pid=1, spared=1), raw_record(victim_pid=2))
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2"]
    assert scene.delivery.counts == Counts(entries=1, spared=1)


def test_no_record_is_freed_while_journald_does_not_read() -> None:
    scene = Scene(*records(1, 2))
    scene.journal.hangs = True
    scene.delivery.drain(64)
    scene.after(100 * STORED_AFTER_NS)
    assert scene.events == ["sent 1", "sent 2"]
    scene.journal.hangs = False
    scene.after(STORED_AFTER_NS)
    assert scene.events == ["sent 1", "sent 2"]
    scene.after(LAST_LOOK_NS)
    assert scene.events == ["sent 1", "sent 2", "free 20"]


def test_journald_gets_two_seconds_to_store_an_entry() -> None:
    assert STORED_AFTER_NS >= 2 * 10**9


def test_after_a_restart_of_journald_entries_are_sent_again_and_counted_once() -> None:
    scene = Scene(*records(1, 2))
    scene.delivery.drain(64)
    scene.journal.started = 2
    assert scene.after(STORED_AFTER_NS)
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2", "sent 1", "sent 2"]
    assert scene.warnings == ["2 entries were missing from this service's journal (of the last 2), sent again"]
    assert not scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events[-1] == "free 20"
    assert scene.delivery.counts == Counts(entries=2)


def test_a_refused_entry_stays_and_is_sent_once_journald_accepts_entries_again() -> None:
    scene = Scene(*records(1, 2))
    scene.journal.refuses = True
    with pytest.raises(JournalRefused):
        scene.delivery.drain(64)
    scene.after(10 * STORED_AFTER_NS)
    assert scene.events == []
    scene.journal.refuses = False
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2"]


def test_a_refusal_in_the_middle_keeps_the_entries_sent_before_it() -> None:
    scene = Scene(*records(1, 2))
    assert scene.delivery.drain(1)
    scene.journal.refuses = True
    with pytest.raises(JournalRefused):
        scene.delivery.drain(64)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events == ["sent 1", "free 10"]


def test_a_record_of_the_wrong_size_is_counted_logged_and_skipped() -> None:
    scene = Scene(b"nonsense", *records(2))
    scene.delivery.drain(64)
    assert scene.events == ["sent 2"]
    assert scene.delivery.counts == Counts(entries=1, rejected=1, refused=1)
    (warning,) = scene.warnings
    assert warning.startswith("the kernel handed over an impossible record: found 8 bytes, expected")


def test_an_impossible_record_gets_no_entry() -> None:
    scene = Scene(raw_record(victim_pid=1), raw_record(victim_pid=2))
    scene.pipeline.reasons[kill_of(victim_pid=1)] = "found a kill in the future"
    scene.delivery.drain(10)
    assert [event for event in scene.events if event.startswith("sent")] == ["sent 2"]
    assert scene.delivery.counts == Counts(entries=1, rejected=1, refused=1)
    assert scene.warnings == ["the kernel handed over an impossible record: found a kill in the future, ignoring"]


def test_a_refused_record_of_another_kind_does_not_count_as_a_missing_kill() -> None:
    scene = Scene(raw_record(spared=1), raw_record(spared=1, layout=1), raw_release(layout=1))
    scene.pipeline.reasons[kill_of(spared=1)] = "found one in the future"
    scene.delivery.drain(10)
    assert scene.delivery.counts == Counts(rejected=0, refused=3)


def test_a_release_gets_no_entry_and_does_not_count_as_a_kill() -> None:
    scene = Scene(raw_record(), raw_release())
    assert not scene.delivery.drain(10)
    assert scene.delivery.counts == Counts(entries=1)
    assert scene.pipeline.told == [kill_of(), decode(raw_release())]
    assert scene.warnings == []


def test_a_release_whose_entry_journald_refuses_is_taken_again() -> None:
    scene = Scene(raw_release(), raw_record())
    scene.pipeline.refuses_releases = True
    with pytest.raises(JournalRefused):
        scene.delivery.drain(64)
    assert scene.pipeline.told == []
    scene.pipeline.refuses_releases = False
    scene.delivery.drain(64)
    assert scene.pipeline.told == [decode(raw_release()), kill_of()]


def test_at_the_end_a_log_that_grows_faster_than_it_is_read_does_not_block() -> None:
    scene = Scene(*records(1, 2))
    left = [Item(None, 10), Item(scene.ring.records[1], 20)]
    scene.delivery.drain(1)
    scene.ring.peek = lambda position: left.pop(0) if left else Item(None, position)  # type: ignore[method-assign]
    scene.delivery = scene.start()
    scene.delivery.drain(1)
    assert scene.delivery.leave() == (1, 1)


def test_a_discarded_record_leaves_no_trace() -> None:
    scene = Scene(None, *records(2))
    scene.delivery.drain(64)
    assert scene.delivery.counts == Counts(entries=1)


def test_a_batch_is_bounded_and_reports_whether_there_may_be_more() -> None:
    scene = Scene(*records(1, 2, 3))
    assert scene.delivery.drain(2)
    assert not scene.delivery.drain(2)


def test_kills_left_at_the_end_are_counted() -> None:
    scene = Scene(*records(1, 2), None, raw_release(), raw_record(spared=1), b"not one", *records(3))
    scene.delivery.drain(1)
    assert scene.delivery.leave() == (3, 3)
    assert scene.delivery.leave() == (0, 0)
    assert scene.events == ["sent 1"]
    assert scene.ledger.totals == Totals(sent_position=10, sent_to=FIRST, entries=1, ids=1, stopped=3)


def test_entries_not_sent_again_by_the_end_are_left_to_the_next_run_by_their_ids() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.delivery.drain(2)
    scene.journal.started = 2
    scene.journal.refuses = True
    assert scene.after(STORED_AFTER_NS)
    # Neither entry is freed, nor can it be sent again now. The third kill was never sent.
    assert scene.delivery.leave() == (1, 1)
    totals = scene.ledger.totals._replace(kills=3).with_source(9)
    assert (totals.stopped, totals.unsent, totals.entries, totals.earlier_kills) == (1, 0, 2, 3)
    assert (totals.confirmed, totals.ids) == (0, 2)
    # The next run finds another journald than this one, and so looks the entries up.
    assert totals.sent_to == number_of(ANOTHER)
    assert kinds(scene.kept_ids()) == kept_of(1, 2)


def test_the_id_of_each_entry_is_saved_before_each_time_it_is_sent() -> None:
    scene = Scene(*records(1), raw_record(spared=1, victim_pid=7), b"not one", *records(2))
    scene.delivery.drain(64)
    assert kinds(scene.kept_ids()) == kept_of(1, 7, 2, spared=7)
    scene.journal.started = 2
    scene.confirm.pids = (7,)
    assert scene.after(STORED_AFTER_NS)
    scene.delivery.drain(64)
    assert kinds(scene.kept_ids()) == kept_of(1, 7, 2, 1, 2, spared=7)
    assert scene.delivery.counts == Counts(2, 1, 1, 1)
    # The id is saved before journald has the entry: a run that is killed at that point may have sent it.
    scene = Scene(*records(1))
    scene.journal.refuses = True
    with pytest.raises(JournalRefused):
        scene.delivery.drain(64)
    assert (kinds(scene.kept_ids()), scene.ledger.totals.ids) == (kept_of(1), 0)


def test_no_kill_is_lost_in_a_source_that_the_next_run_takes_over() -> None:
    scene = Scene(*records(1, 2))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(1)
    assert scene.delivery.leave() == (1, 0)
    assert scene.ledger.totals == Totals(sent_position=10, sent_to=FIRST, entries=1, ids=1)


def test_counts_are_saved_before_the_records_are_freed() -> None:
    scene = Scene(*records(1), raw_record(spared=1), b"not one")
    scene.ledger = FakeLedger(scene.events)
    scene.delivery = scene.start()
    scene.delivery.drain(2)
    scene.after(STORED_AFTER_NS // 2)
    scene.delivery.drain(2)
    scene.after(STORED_AFTER_NS // 2 + FIRST_LOOK_NS)
    assert scene.events[-2:] == ["committed 20", "free 20"]
    assert scene.ledger.totals == Totals(
        position=20, sent_position=30, ids=2, entries=1, spared=1, rejected=1, refused=1
    )


def test_the_next_run_does_not_send_stored_entries_again() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(2)
    scene.confirm.pids = (1, 2)
    scene.delivery = scene.start()
    assert scene.confirm.begun == 1
    scene.delivery.drain(64)
    assert scene.sent() == ["sent 1", "sent 2", "sent 3"]
    assert scene.delivery.counts == Counts(entries=3)
    assert not scene.delivery.free_stored()
    assert scene.ring.consumer_position == 20
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.ring.consumer_position == 30
    assert scene.ledger.totals.entries == 3
    assert scene.warnings == []


def test_after_a_normal_end_the_next_run_looks_nothing_up_if_journald_is_the_same() -> None:
    scene = Scene(*records(1, 2, 3), b"not one", raw_record(victim_pid=4, spared=1), *records(5))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(5)
    for _restart in range(10):
        scene.delivery.leave()
        scene.delivery = scene.start()
        assert (scene.confirm.begun, scene.delivery.counts) == (0, Counts(3, 1, 1, 1))
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2", "sent 3", "sent 4", "sent 5"]
    assert len(scene.warnings) == 1, "what was refused is said again"
    # The next run frees the records as usual.
    scene.delivery.leave()
    scene.delivery = scene.start()
    scene.journal.hangs = True
    assert not scene.after(10 * STORED_AFTER_NS)
    assert scene.ring.consumer_position == 0
    scene.journal.hangs = False
    assert not scene.after(LAST_LOOK_NS + STORED_AFTER_NS)
    assert scene.ring.consumer_position == 60
    assert scene.ledger.totals.entries == 4


@pytest.mark.parametrize("moment", ["before the next run starts", "after it"])
def test_after_a_normal_end_and_a_restart_of_journald_the_entries_not_stored_are_sent_again(moment: str) -> None:
    scene = Scene(*records(1, 2, 3))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(2)
    scene.delivery.leave()
    if moment == "after it":
        scene.delivery = scene.start()
        assert not scene.delivery.drain(64)
    scene.journal.started = 2
    scene.confirm.pids = (1, 3)
    if moment == "after it":
        assert scene.after(STORED_AFTER_NS)
    else:
        scene.delivery = scene.start()
    scene.delivery.drain(64)
    assert scene.confirm.begun == 1
    # Entries without a known unit count as stored.
    assert not scene.confirm.shown
    resent = ["sent 3", "sent 2"] if moment == "after it" else ["sent 2", "sent 3"]
    assert scene.sent()[:5] == ["sent 1", "sent 2", *resent]
    # If this run is killed now, the ledger names no journald.
    assert scene.ledger.totals.sent_to == 0


def test_after_a_normal_end_during_a_lookup_entries_without_a_known_unit_count_as_stored() -> None:
    scene = Scene(*records(1, 2))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(64)
    scene.journal.started = 2
    scene.confirm.waits = scene.confirm.ended = True
    scene.delivery.drain(64)
    assert scene.delivery.leave() == (0, 0)
    scene.confirm.waits = scene.confirm.ended = False
    scene.confirm.pids = (1, 2)
    scene.delivery = scene.start()
    assert (scene.confirm.begun, scene.confirm.shown) == (2, False)
    scene.delivery.drain(64)
    assert scene.sent() == ["sent 1", "sent 2"]


def test_at_the_end_an_unfinished_lookup_is_left_to_the_next_run_and_new_kills_are_sent() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(2)
    # The first run is killed, and the next ones end while their lookup waits.
    scene.confirm.waits = True
    for restart in range(3):
        scene.confirm.ended = False
        scene.delivery = scene.start()
        assert scene.delivery.counts.entries == 2 + (restart > 0)
        assert scene.confirm.shown
        assert not scene.delivery.drain(64)
        assert scene.delivery.waiting
        scene.confirm.ended = True
        # Also when journald restarts meanwhile.
        scene.journal.started += restart
        scene.delivery.drain(64)
        assert not scene.delivery.waiting
        assert scene.confirm.shown
        assert scene.delivery.leave() == (0, 0)
    assert scene.sent() == ["sent 1", "sent 2", "sent 3"]
    assert scene.ring.consumer_position == 0
    scene.confirm.waits = scene.confirm.ended = False
    scene.confirm.pids = (1, 3)
    scene.delivery = scene.start()
    scene.delivery.drain(64)
    assert scene.confirm.begun >= 4
    assert scene.sent()[3:] == ["sent 2"]


def test_after_a_restart_of_journald_old_entries_are_sent_before_new_ones() -> None:
    scene = Scene(*records(1, 2))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(1)
    scene.journal.started = 2
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 1", "sent 2"]
    assert (scene.ledger.totals.sent_position, scene.ledger.totals.entries) == (20, 2)


def test_the_next_run_sends_the_entries_that_are_not_stored_again() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(2)
    scene.journal.started = 2
    scene.delivery = scene.start()
    assert scene.delivery.counts == Counts(entries=2)
    scene.delivery.drain(64)
    assert scene.sent()[2:] == ["sent 1", "sent 2", "sent 3"]
    assert scene.delivery.counts == Counts(entries=3)
    # And again after another restart of journald.
    scene.journal.started = 3
    assert scene.after(STORED_AFTER_NS)
    scene.confirm.pids = (1, 3)
    scene.delivery.drain(64)
    assert scene.sent()[5:] == ["sent 2"]
    assert scene.warnings == [
        "2 entries were missing from this service's journal (of the last 2), sent again",
        "1 entry was missing from this service's journal (of the last 3), sent again",
    ]


def test_after_a_restart_of_journald_only_entries_that_are_not_stored_are_sent_again() -> None:
    scene = Scene(*records(1, 2), raw_record(victim_pid=3, spared=1), *records(4))
    scene.confirm.pids = (1, 3)
    scene.delivery.drain(3)
    scene.journal.started = 2
    scene.confirm.waits = True
    # Nothing is sent during the lookup, not even the new kill.
    assert scene.after(STORED_AFTER_NS)
    assert not scene.delivery.drain(64)
    assert scene.delivery.waiting
    assert scene.confirm.begun == 1
    assert scene.sent() == ["sent 1", "sent 2", "sent 3"]
    scene.confirm.waits = False
    scene.delivery.drain(64)
    # The last one was not sent before, so the warning does not count it.
    assert scene.sent()[3:] == ["sent 2", "sent 4"]
    assert scene.warnings == ["1 entry was missing from this service's journal (of the last 3), sent again"]
    assert scene.confirm.holders == []
    assert scene.delivery.counts == Counts(entries=3, spared=1)
    # Entries found in the journal are stored: the record before the missing one is freed at once.
    assert "free 10" in scene.events
    assert "free 20" not in scene.events
    assert [told.victim_pid for told in scene.pipeline.told if isinstance(told, KillRecord)] == [1, 2, 3, 4]
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events[-1] == "free 40"


def test_after_a_crash_during_a_lookup_the_next_run_looks_up_the_same_entries() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.outlives = True
    scene.delivery = scene.start()
    scene.delivery.drain(2)
    scene.journal.started = 2
    scene.confirm.waits = True
    assert scene.after(STORED_AFTER_NS)
    scene.delivery.drain(64)
    scene.delivery = scene.start()
    # The same after some were sent again.
    scene.confirm.waits = False
    scene.delivery.drain(1)
    scene.delivery = scene.start()
    assert scene.confirm.begun == 3
    assert scene.sent()[2:] == ["sent 1"]
    scene.confirm.pids = (1,)
    scene.delivery.drain(2)
    assert scene.sent()[3:] == ["sent 2"]


def test_entries_sent_again_are_freed_in_time_whatever_record_is_behind_them() -> None:
    scene = Scene(*records(1), raw_release())
    scene.delivery.drain(64)
    scene.journal.started = 2
    assert scene.after(STORED_AFTER_NS)
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 1"]
    assert not scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events[-1] == "free 20"
    assert scene.tracker.due_ns is None


def test_after_a_failed_lookup_no_warning_claims_that_entries_were_missing() -> None:
    scene = Scene(*records(1))
    scene.confirm.was_read = False
    scene.delivery.drain(64)
    scene.journal.started = 2
    assert scene.after(STORED_AFTER_NS)
    scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 1"]
    assert scene.warnings == []


def test_when_journald_restarts_while_entries_are_sent_again_the_lookup_starts_over() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.delivery.drain(3)
    scene.journal.started = 2
    assert scene.after(STORED_AFTER_NS)
    scene.delivery.drain(1)
    scene.journal.started = 3
    scene.confirm.pids = (2, 3)
    scene.delivery.drain(64)
    assert scene.confirm.begun == 2
    assert scene.events[3:] == ["sent 1", "sent 1"]


def test_a_record_behind_a_stored_one_is_freed_only_when_its_own_entry_is_stored() -> None:
    scene = Scene(*records(1), raw_release(), *records(2))
    scene.confirm.pids = (1,)
    scene.delivery.drain(2)
    scene.journal.started = 2
    assert scene.after(STORED_AFTER_NS)
    assert scene.delivery.drain(2)
    assert scene.warnings == []
    assert not scene.delivery.free_stored()
    # A release gets no entry.
    assert scene.events == ["sent 1", "free 20"]
    scene.delivery.drain(64)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS - 1)
    assert scene.events == ["sent 1", "free 20", "sent 2"]
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events[-1] == "free 30"
    assert scene.delivery.counts == Counts(entries=2)


def test_counting_continues_where_the_previous_run_ended() -> None:
    # The previous run was killed after it saved the position and before it freed the record.
    scene = Scene(*records(1, 2), totals=Totals(position=10, entries=7, spared=1, rejected=2, refused=3))
    assert scene.events == ["free 10"]
    assert scene.delivery.counts == Counts(7, 1, 2, 3)
    scene.delivery.drain(64)
    assert scene.events == ["free 10", "sent 2"]
    assert scene.delivery.counts == Counts(8, 1, 2, 3)
    # The other way round, nothing is to be done: the records are freed already.
    scene = Scene(totals=Totals(position=0, entries=1))
    assert scene.events == []


def test_a_change_of_level_is_reported_once_journald_takes_it_and_then_saved() -> None:
    events: list[str] = []
    journal = FakeJournal(events)
    change = LevelChange(journal, [b"OOM_EVENT=level"], lambda: events.append("remembered"))
    journal.refuses = True
    change.report()
    assert events == []
    journal.refuses = False
    change.report()
    change.report()
    assert events == ["OOM_EVENT=level", "remembered"]
    LevelChange(journal, None, lambda: events.append("the same")).report()
    assert events[2:] == ["the same"]


def test_a_record_that_is_not_ready_delays_only_those_behind_it() -> None:
    scene = Scene(*records(1, 2), raw_release(), *records(3))
    scene.pipeline.waiting = {2}
    assert not scene.delivery.drain(64)
    assert not scene.delivery.drain(64)
    assert scene.events == ["sent 1"]
    assert scene.delivery.counts == Counts(entries=1)
    scene.pipeline.waiting = set()
    assert not scene.delivery.drain(64)
    assert scene.events == ["sent 1", "sent 2", "sent 3"]
    assert scene.delivery.counts == Counts(entries=3)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events[-1] == "free 40"


def test_while_others_flood_journald_records_are_still_freed() -> None:
    """At each check, some entries of this service are unread, but never the same ones."""
    scene = Scene(*records(*range(1, 41)))
    every_ns, most_held = 250 * 10**6, 0
    for _ in range(40):
        # The last three entries sent are never read.
        scene.journal.not_read_from = scene.journal.given - 2
        scene.delivery.drain(1)
        scene.after(every_ns)
        held = scene.delivery.position - scene.ring.consumer_position
        most_held = max(most_held, held // 10)
    print(f"{most_held} of 40 held at the most")
    # As many as are sent until the first is stored, plus those of some checks.
    assert most_held <= STORED_AFTER_NS // every_ns + 8


def test_an_entry_sent_after_the_mark_does_not_count_as_read_with_it() -> None:
    scene = Scene(*records(1, 2))
    scene.journal.not_read_from = 1
    scene.delivery.drain(1)
    scene.after(FIRST_LOOK_NS)  # sets the mark
    scene.delivery.drain(1)
    scene.journal.not_read_from = 2
    scene.after(2 * FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.events == ["sent 1", "sent 2", "free 10"]
    scene.after(10 * STORED_AFTER_NS)
    assert scene.events[-1] == "free 10"


def test_the_pipeline_learns_of_each_record_whether_others_wait_behind_it() -> None:
    scene = Scene(*records(1, 2, 3))
    scene.delivery.drain(64)
    assert scene.pipeline.more == [True, True, False]
