# SPDX-License-Identifier: Apache-2.0
"""Whether the entries sent last are stored: when that is found out, and what comes of a failure."""

import pytest

from oomkilld.record.deliver.confirm import DEADLINE_NS, LONG_DEADLINE_NS, SAID_AFTER_NS, Confirm, Evidence
from oomkilld.record.deliver.sink import STORED_AFTER_NS, JournalRefused, number_of
from oomkilld.record.deliver.tracker import FIRST_LOOK_NS, LAST_LOOK_NS, StoreTracker
from oomkilld.record.lookup.inquiry import MORE
from oomkilld.record.lookup.protocol import ALL
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import KEPT, SentEntry, sent_ids_in_memory
from tests.unit.fakes import FakeBooks, FakeClock, FakeJournal, FakeLooker, FakeStart
from tests.unit.records import kill_of

NOW, BEFORE, LOG = 2, 1, 0  # sources
SETTLED_NS = FIRST_LOOK_NS + STORED_AFTER_NS
READ_BACK_FAILED = "Failed to read back the entries that journald has stored"
FAILED = "Failed to find out whether the last entries of an earlier run are stored"
# Of 9 that were sent it is not known of the last 3.
SENT = Totals(source=NOW, ids=9, confirmed=6, entries=9, earlier_kills=9)
HOLDER = object()


def hex_of(number: int) -> str:
    return f"{number:032x}"


def ids(*numbers: int) -> bytes:
    return b"".join(bytes.fromhex(hex_of(number)) for number in numbers)


class Scene:
    """A run begins; ``sources``: of the entries sent last. And the process that tells what is stored."""

    def __init__(
        self, *messages: bytes, totals: Totals = SENT, sources: tuple[int, ...] = (BEFORE,) * 9, started: int = 1
    ) -> None:
        self.clock = FakeClock()
        self.books = FakeBooks()
        self.books.totals = totals
        self.journal = FakeJournal([])
        self.journal.started = started
        self.sent = sent_ids_in_memory()
        for number, source in enumerate(sources):
            self.sent.keep(number, SentEntry(ids(number), source))
        self.start = FakeStart(FakeLooker(*messages))
        self.warnings: list[str] = []
        self.tracker = StoreTracker(self.journal, self.clock)
        self.confirm = self.begin()

    def begin(self) -> Confirm:
        evidence = Evidence(self.sent, self.start, lambda kill: hex_of(kill.victim_pid or 0))
        return Confirm(evidence, self.tracker, self.books, self.clock, self.warnings.append)

    def check(self) -> int:
        """As the loop does."""
        self.tracker.settle()
        return self.confirm.check()

    def after(self, ns: int) -> int:
        """Until the time is over; how many are absent."""
        end, absent = self.clock.now_ns + ns, self.check()
        while True:
            dues = [self.tracker.next_settle_ns, self.confirm.deadline_ns]
            due = min((due for due in dues if due is not None), default=end + 1)
            if due > end:
                break
            self.clock.now_ns = max(due, self.clock.now_ns + 1)
            absent += self.check()
        self.clock.now_ns = max(end, self.clock.now_ns)
        return absent + self.check()

    def known(self) -> bool:
        self.check()
        return self.confirm.known()

    def has(self, *pids: int) -> list[int]:
        return [pid for pid in pids if self.confirm.has(kill_of(victim_pid=pid))]


class TestWhatTheSourceHasStill:
    """Delivery asks, and sends nothing before it knows."""

    def scene(self, *messages: bytes, shown: bool = True, unconfirmed: int = 5) -> Scene:
        totals = Totals(source=NOW, ids=5, confirmed=5 - unconfirmed, entries=5)
        scene = Scene(*messages, totals=totals, sources=(NOW,) * 5)
        scene.confirm.begin(HOLDER, shown=shown)
        assert not scene.confirm.known()
        return scene

    def test_what_is_stored_is_known_when_all_is_told(self) -> None:
        scene = self.scene(ids(1, 2), ids(4), ALL)
        scene.after(FIRST_LOOK_NS)
        assert scene.start.asked == [5 + MORE]
        assert scene.start.shown
        assert scene.known()
        assert scene.confirm.was_read
        assert scene.has(1, 2, 3, 4, 5) == [1, 2, 4]
        assert scene.start.looker.killed
        assert scene.confirm.deadline_ns is None
        # It has been read, and needs no time to be stored; what is not there is sent again.
        assert scene.clock.now_ns == FIRST_LOOK_NS
        scene.confirm.done(HOLDER)
        assert scene.has(1) == []
        assert scene.warnings == []

    def test_bytes_of_two_ids_are_no_third(self) -> None:
        assert ids(256, 1).find(ids(65536)) == 1
        scene = self.scene(ids(256, 1), ALL)
        scene.after(FIRST_LOOK_NS)
        assert scene.known()
        assert scene.has(256, 1, 65536) == [256, 1]

    def test_where_all_are_confirmed_they_may_not_be_freed_yet(self) -> None:
        scene = self.scene(ids(1), ALL, unconfirmed=0)
        scene.after(FIRST_LOOK_NS)
        assert scene.known()
        assert (scene.start.asked, scene.has(1)) == ([MORE], [1])

    def test_the_new_one_first_reads_what_waited_for_the_one_before(self) -> None:
        scene = self.scene(ids(1), ALL)
        scene.journal.hangs = True
        scene.after(FIRST_LOOK_NS)
        assert not scene.known()
        assert (scene.start.asked, scene.journal.pinged) == ([], 1)
        scene.journal.hangs = False
        scene.after(LAST_LOOK_NS)
        assert scene.known()
        assert scene.has(1, 2) == [1]

    def test_what_is_sent_later_need_not_be_read(self) -> None:
        scene = self.scene(ids(1), ALL)
        scene.journal.hangs = True
        scene.after(FIRST_LOOK_NS)
        scene.journal.hangs = False
        scene.journal.flood()
        scene.after(2 * FIRST_LOOK_NS)
        assert scene.known()
        assert scene.has(1, 2) == [1]

    def test_where_there_is_no_journald_yet_it_is_waited_for(self) -> None:
        totals = Totals(source=NOW, ids=5, entries=5)
        scene = Scene(ids(1), ALL, totals=totals, sources=(NOW,) * 5)
        scene.journal.refuses = True
        scene.confirm.begin(HOLDER, shown=True)
        for _ in range(3):
            scene.clock.now_ns += DEADLINE_NS
            scene.check()
            with pytest.raises(JournalRefused):
                scene.confirm.known()
            assert scene.confirm.deadline_ns is None
        scene.journal.refuses = False
        assert not scene.confirm.known()
        scene.after(LAST_LOOK_NS)
        assert scene.known()
        assert scene.has(1) == [1]

    @pytest.mark.parametrize(
        ("messages", "why"),
        [
            ((b"",), "the process ended early"),
            ((ids(1), b""), "the process ended early"),
            ((ids(1), b"xyz"), "it sent no valid ids"),
        ],
    )
    def test_where_it_fails_all_is_sent_again(self, messages: tuple[bytes, ...], why: str) -> None:
        scene = self.scene(*messages)
        scene.after(FIRST_LOOK_NS)
        assert scene.known()
        assert not scene.confirm.was_read
        assert scene.has(1, 2) == []
        assert scene.warnings == [f"{READ_BACK_FAILED}: {why}, sending all of them again"]
        assert scene.confirm.deadline_ns is None

    def test_the_process_is_not_waited_for_for_ever(self) -> None:
        scene = self.scene(ids(1))
        scene.after(FIRST_LOOK_NS)
        scene.clock.now_ns = FIRST_LOOK_NS + DEADLINE_NS - 1
        assert not scene.known()
        scene.clock.now_ns += 1
        assert scene.known()
        assert scene.has(1) == []
        assert scene.start.looker.killed
        assert scene.warnings == [f"{READ_BACK_FAILED}: no answer within 5 s, sending all of them again"]

    def test_a_journald_that_hangs_is_waited_for_and_that_is_said(self) -> None:
        scene = self.scene(ids(1), ALL)
        scene.journal.hangs = True
        scene.clock.now_ns = SAID_AFTER_NS - 1
        assert not scene.known()
        for _ in range(3):
            scene.clock.now_ns += 2 * DEADLINE_NS
            with pytest.raises(JournalRefused, match="it has not read earlier entries"):
                scene.known()
            assert (scene.tracker.next_settle_ns or 0) > scene.clock.now_ns, "it would spin"
        scene.journal.hangs = False
        scene.after(LAST_LOOK_NS)
        assert scene.known()
        assert scene.has(1, 2) == [1]
        assert scene.warnings == []

    def test_without_room_for_the_process_all_is_sent_again(self) -> None:
        scene = self.scene()
        scene.start.refuses = True
        scene.after(FIRST_LOOK_NS)
        assert scene.known()
        why = "no process could be started: Cannot allocate memory"
        assert scene.warnings == [f"{READ_BACK_FAILED}: {why}, sending all of them again"]

    def test_when_journald_is_another_one_once_more_it_begins_anew(self) -> None:
        scene = self.scene(ids(1))
        scene.start.looker.dead = False
        scene.after(FIRST_LOOK_NS)
        first = scene.start.looker
        scene.start.looker = FakeLooker(ids(2), ALL)
        scene.books.commit(scene.books.totals._replace(ids=7))
        scene.confirm.begin(HOLDER, shown=True)
        assert first.killed
        assert not scene.known()
        scene.after(LAST_LOOK_NS)
        assert scene.start.asked == [5 + MORE, 7 + MORE]
        assert scene.known()
        assert scene.has(1, 2) == [2]
        # One that does not die is not waited for.
        assert not first.put_away
        first.dead = True
        scene.check()
        assert first.put_away

    def test_two_may_have_records_and_both_are_waited_for(self) -> None:
        scene = self.scene(ids(1, 2), ALL)
        scene.after(FIRST_LOOK_NS)
        other = object()
        scene.start.looker = FakeLooker(ids(1, 2), ALL)
        scene.confirm.begin(other, shown=False)
        assert not scene.known()
        # What one of them needs shown is asked for both.
        scene.after(LAST_LOOK_NS)
        assert scene.start.shown
        assert scene.known()
        scene.confirm.done(HOLDER)
        assert scene.has(1, 2, 3) == [1, 2]
        scene.after(SETTLED_NS)
        assert scene.books.totals.confirmed == 0, "the other has not sent its own again yet"
        scene.confirm.done(other)
        scene.tracker.sent(5)
        scene.after(SETTLED_NS)
        assert scene.books.totals.confirmed == 5

    def test_at_the_end_nothing_is_waited_for(self) -> None:
        scene = self.scene(ids(1))
        scene.after(FIRST_LOOK_NS)
        assert not scene.confirm.ended
        scene.confirm.end()
        assert scene.start.looker.killed
        assert scene.confirm.ended
        assert not scene.confirm.known()
        scene.confirm.begin(HOLDER, shown=True)
        assert not scene.confirm.known()
        assert (scene.start.asked, scene.journal.pinged) == ([5 + MORE], 1)


class TestWhatOnlyTheIdIsLeftOf:
    """Its source has gone."""

    def test_what_the_journal_has_is_recorded_and_what_it_has_not_is_to_be_looked_for(self) -> None:
        scene = Scene(ids(1, 8), ids(3, 6), ALL)
        assert not scene.confirm.settled
        assert scene.confirm.unresolved
        assert scene.after(SETTLED_NS) == 1
        assert scene.start.asked == [3 + MORE]
        assert not scene.start.shown
        assert scene.start.looker.killed
        assert scene.confirm.settled
        assert not scene.confirm.unresolved
        assert scene.books.totals == SENT.without_entries(1, 0)._replace(confirmed=9)
        assert scene.warnings == ["1 entry of an earlier run is missing from the journal (of the last 3)"]
        assert scene.confirm.deadline_ns is None

    def test_when_all_are_there_nothing_is_said(self) -> None:
        scene = Scene(ids(6, 7, 8), ALL)
        assert scene.after(SETTLED_NS) == 0
        assert scene.books.totals == SENT._replace(confirmed=9)
        assert scene.warnings == []

    def test_it_is_asked_only_when_journald_has_had_time_to_store_what_earlier_runs_have_sent(self) -> None:
        scene = Scene(ids(6, 7, 8), ALL)
        scene.journal.hangs = True
        scene.after(100 * STORED_AFTER_NS)
        assert scene.start.asked == []
        scene.journal.hangs = False
        scene.after(LAST_LOOK_NS)
        assert scene.start.asked == []
        assert scene.after(STORED_AFTER_NS) == 0
        assert scene.start.asked == [3 + MORE]

    def test_entries_of_this_run_stand_before_them_in_the_journal(self) -> None:
        scene = Scene(ids(6, 7, 8), ALL)
        for number in range(9, 59):
            scene.sent.keep(number, SentEntry(ids(number), NOW))
        scene.books.commit(scene.books.totals._replace(ids=59))
        scene.after(SETTLED_NS)
        assert scene.start.asked == [50 + 3 + MORE]

    def test_without_doubt_nothing_is_asked(self) -> None:
        scene = Scene(totals=SENT._replace(confirmed=9))
        assert not scene.confirm.settled
        assert scene.confirm.deadline_ns is None
        assert scene.after(SETTLED_NS) == 0
        assert scene.confirm.settled
        assert scene.start.asked == []

    @pytest.mark.parametrize("dies", [False, True])
    def test_of_a_run_that_came_to_its_end_it_is_asked_only_if_journald_dies(self, dies: bool) -> None:  # a case
        scene = Scene(ids(6, 7), ALL, totals=SENT._replace(sent_to=number_of(("", 1))))
        scene.after(SETTLED_NS - 1)
        assert not scene.confirm.settled
        if dies:
            scene.journal.started = 2
        assert scene.after(1 + SETTLED_NS) == dies
        assert scene.start.asked == [3 + MORE] * dies
        assert scene.confirm.settled
        assert scene.books.totals.entries == 9 - dies
        assert scene.books.totals.confirmed == 9

    def test_of_one_that_came_to_its_end_beside_another_journald_it_is_asked(self) -> None:
        scene = Scene(ids(6, 7), ALL, totals=SENT._replace(sent_to=number_of(("", 1))), started=2)
        assert scene.after(SETTLED_NS) == 1

    def test_where_not_all_ids_are_kept_it_is_found_out_for_the_others(self) -> None:
        totals = SENT._replace(ids=KEPT + 7, confirmed=6, entries=KEPT + 7, earlier_kills=KEPT + 7)
        scene = Scene(b"".join(map(ids, range(6, KEPT + 6))), ALL, totals=totals, sources=(BEFORE,) * (KEPT + 7))
        why = "1 entry of an earlier run is stored: no id is kept"
        assert scene.warnings == [f"Failed to find out whether {why}, ignoring"]
        assert scene.after(SETTLED_NS) == 1

    def test_what_this_run_sends_meanwhile_takes_no_id_away(self) -> None:
        scene = Scene(ids(6, 7), ALL)
        for number in range(9, 9 + KEPT):
            scene.sent.keep(number, SentEntry(ids(number), NOW))
        assert scene.after(SETTLED_NS) == 1

    @pytest.mark.parametrize(
        ("stored", "absent"), [(ids(5), 3), (ids(0), 3), (ids(5, 7), 2), (ids(8), 2), (b"", 0), (ids(9, 10), 0)]
    )
    def test_where_the_journal_does_not_reach_back_to_them_they_count_as_stored(
        self, stored: bytes, absent: int
    ) -> None:
        """Those before them are 0 to 5."""
        scene = Scene(*([stored] if stored else []), ALL)
        assert scene.after(SETTLED_NS) == absent
        (warning,) = scene.warnings
        assert warning.startswith("the journal does not reach back to the last 3 entries") == (absent == 0)
        assert scene.books.totals.confirmed == 9

    def test_the_first_entries_of_a_boot_have_none_before_them(self) -> None:
        totals = Totals(source=NOW, ids=2, entries=2, earlier_kills=2)
        scene = Scene(ALL, totals=totals, sources=(BEFORE,) * 2)
        assert scene.after(SETTLED_NS) == 2

    def test_of_what_was_found_in_the_log_the_kernels_count_is_put_right(self) -> None:
        totals = Totals(source=NOW, ids=4, recalled=4, recalled_repeats=7, entries=0)
        scene = Scene(ids(1), ALL, totals=totals, sources=())
        for number, repeats in enumerate((0, 1, 2, 3)):
            scene.sent.keep(number, SentEntry(ids(number), LOG, repeats))
        scene.confirm = scene.begin()
        # 0, 2 and 3 are not there, and neither are the five that the kernel has counted more.
        assert scene.after(SETTLED_NS) == 3 + 5
        assert scene.books.totals == Totals(source=NOW, ids=4, confirmed=4, recalled=1, recalled_repeats=2)

    def test_a_spared_process_whose_entry_is_lost_is_no_kill_to_be_looked_for(self) -> None:
        totals = Totals(source=NOW, ids=2, entries=1, spared=1, earlier_kills=1)
        scene = Scene(ids(0), ALL, totals=totals, sources=(BEFORE,))
        scene.sent.keep(1, SentEntry(ids(1), BEFORE, None))
        scene.confirm = scene.begin()
        assert scene.after(SETTLED_NS) == 0
        assert (scene.books.totals.entries, scene.books.totals.spared, scene.books.totals.unsent) == (1, 0, 0)

    def test_what_was_sent_twice_is_one_entry(self) -> None:
        totals = Totals(source=NOW, ids=4, entries=3, earlier_kills=3)
        scene = Scene(ids(0), ALL, totals=totals, sources=(BEFORE,) * 3)
        scene.sent.keep(3, SentEntry(ids(1), BEFORE))
        scene.confirm = scene.begin()
        assert scene.after(SETTLED_NS) == 2
        assert (scene.books.totals.entries, scene.books.totals.unsent) == (1, 2)

    def test_a_run_that_is_killed_once_they_are_counted_leaves_no_more_to_be_counted(self) -> None:
        scene = Scene(ids(6), ALL)
        commits: list[Totals] = []
        plain = scene.books.commit

        def commit(totals: Totals) -> None:
            commits.append(totals)
            plain(totals)

        scene.books.commit = commit  # type: ignore[method-assign]
        assert scene.after(SETTLED_NS) == 2
        assert [(totals.entries, totals.confirmed) for totals in commits] == [(7, 9)]

    @pytest.mark.parametrize(
        ("messages", "why"),
        [
            ((b"",), "the process ended early"),
            ((ids(6), b""), "the process ended early"),
            ((b"nonsense",), "it sent no valid ids"),
        ],
    )
    def test_a_process_that_tells_no_ids_is_started_again(self, messages: tuple[bytes, ...], why: str) -> None:
        scene = Scene(*messages)
        assert scene.after(SETTLED_NS) == 0
        assert scene.warnings == [f"{FAILED}: {why}, retrying"]
        assert scene.confirm.deadline_ns == SETTLED_NS + 5 * 10**9
        assert scene.books.totals == SENT
        assert not scene.confirm.settled
        scene.start.looker = FakeLooker(ids(7), ALL)
        assert scene.after(5 * 10**9) == 2

    def test_one_that_takes_too_long_is_ended(self) -> None:
        scene = Scene(ids(6))
        assert scene.after(SETTLED_NS) == 0
        assert scene.confirm.deadline_ns == SETTLED_NS + LONG_DEADLINE_NS
        assert scene.after(LONG_DEADLINE_NS) == 0
        assert scene.start.looker.killed
        assert scene.warnings == [f"{FAILED}: no answer within 60 s, retrying"]

    def test_without_room_for_a_process_it_is_tried_some_times_and_then_they_count_as_stored(self) -> None:
        scene = Scene()
        scene.start.refuses = True
        assert scene.after(SETTLED_NS + (5 + 30 + 120) * 10**9 - 1) == 0
        assert not scene.confirm.settled
        assert scene.after(1) == 0
        assert scene.confirm.settled
        assert scene.books.totals == SENT._replace(confirmed=9)
        why = "no process could be started: Cannot allocate memory"
        assert scene.warnings == [*[f"{FAILED}: {why}, retrying"] * 3, f"{FAILED}: {why}, assuming that they are"]

    def test_what_is_in_doubt_at_the_end_is_left_to_the_next_run(self) -> None:
        scene = Scene(ids(6))
        scene.after(SETTLED_NS)
        scene.confirm.end()
        assert scene.start.looker.killed
        assert scene.books.totals == SENT
        assert scene.confirm.unresolved

    def test_it_is_asked_when_nothing_of_the_source_is_to_be_sent_again_any_more(self) -> None:
        scene = Scene(ids(6, 8), ALL, sources=(*(BEFORE,) * 8, NOW))
        scene.confirm.begin(HOLDER, shown=True)
        assert not scene.confirm.known()
        scene.after(LAST_LOOK_NS + STORED_AFTER_NS)
        assert scene.start.shown
        assert scene.known()
        assert scene.has(8) == [8]
        assert scene.start.asked == [3 + MORE]
        scene.start.looker = FakeLooker(ids(6, 8), ALL)
        scene.confirm.done(HOLDER)
        assert scene.after(0) == 1
        assert scene.start.asked == [3 + MORE] * 2
        assert not scene.start.shown
        assert (scene.books.totals.entries, scene.books.totals.confirmed) == (8, 9)
