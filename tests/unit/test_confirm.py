# SPDX-License-Identifier: Apache-2.0
"""The lookup of the entries sent last: when it runs, what it finds, and what follows a failure."""

import pytest

from oomkilld.record.deliver.confirm import DEADLINE_NS, LONG_DEADLINE_NS, SAID_AFTER_NS, Confirm, Evidence
from oomkilld.record.deliver.sink import STORED_AFTER_NS, JournalRefused, number_of
from oomkilld.record.deliver.tracker import FIRST_LOOK_NS, LAST_LOOK_NS, StoreTracker
from oomkilld.record.lookup.inquiry import MORE
from oomkilld.record.lookup.protocol import ALL
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import KEPT, SentEntry, sent_ids_in_memory
from tests.unit.fakes import FakeClock, FakeJournal, FakeLedger, FakeLooker, FakeStart
from tests.unit.records import kill_of

NOW, BEFORE, LOG = 2, 1, 0  # sources
SETTLED_NS = FIRST_LOOK_NS + STORED_AFTER_NS
READ_BACK_FAILED = "Failed to look up stored entries in the journal"
SENT_AGAIN = "sending again all that the ring holds: some may appear twice, with the same OOM_KILL_ID"
FAILED = "Failed to find out whether the last entries of an earlier run are stored"
# 9 entries were sent, and the last 3 are not known to be stored.
SENT = Totals(source=NOW, ids=9, confirmed=6, entries=9, earlier_kills=9)
HOLDER = object()


def hex_of(number: int) -> str:
    return f"{number:032x}"


def ids(*numbers: int) -> bytes:
    return b"".join(bytes.fromhex(hex_of(number)) for number in numbers)


class Scene:
    """A run begins. ``messages``: from the lookup process; ``sources``: of the entries that were sent, oldest first."""

    def __init__(
        self, *messages: bytes, totals: Totals = SENT, sources: tuple[int, ...] = (BEFORE,) * 9, started: int = 1
    ) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger()
        self.ledger.totals = totals
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
        return Confirm(evidence, self.tracker, self.ledger, self.clock, self.warnings.append)

    def check(self) -> int:
        """Call settle() and check() as the loop does; how many are absent."""
        self.tracker.settle()
        return self.confirm.check()

    def after(self, ns: int) -> int:
        """Let ``ns`` pass; how many are absent."""
        end, absent = self.clock.now_ns + ns, self.check()
        while True:
            dues = [self.tracker.due_ns, self.confirm.due_ns]
            due = min((due for due in dues if due is not None), default=end + 1)
            if due > end:
                break
            self.clock.now_ns = max(due, self.clock.now_ns + 1)
            absent += self.check()
        self.clock.now_ns = max(end, self.clock.now_ns)
        return absent + self.check()

    def known(self) -> bool:
        self.check()
        return self.confirm.advance()

    def has(self, *pids: int) -> list[int]:
        return [pid for pid in pids if self.confirm.has(kill_of(victim_pid=pid))]


class TestEntriesWithARecord:
    """Delivery has the records, and sends nothing until the lookup is over."""

    def scene(self, *messages: bytes, shown: bool = True, unconfirmed: int = 5) -> Scene:
        totals = Totals(source=NOW, ids=5, confirmed=5 - unconfirmed, entries=5)
        scene = Scene(*messages, totals=totals, sources=(NOW,) * 5)
        scene.confirm.begin(HOLDER, shown=shown)
        assert not scene.confirm.advance()
        return scene

    def test_the_stored_entries_are_known_once_all_ids_arrived(self) -> None:
        scene = self.scene(ids(1, 2), ids(4), ALL)
        scene.after(FIRST_LOOK_NS)
        assert scene.start.asked == [5 + MORE]
        assert scene.start.shown
        assert scene.known()
        assert scene.confirm.was_read
        assert scene.has(1, 2, 3, 4, 5) == [1, 2, 4]
        assert scene.start.looker.killed
        assert scene.confirm.due_ns is None
        # Once journald has read the ping, the lookup starts at once: entries it does not find are sent again.
        assert scene.clock.now_ns == FIRST_LOOK_NS
        scene.confirm.done(HOLDER)
        assert scene.has(1) == []
        assert scene.warnings == []

    def test_the_bytes_of_two_neighbouring_ids_do_not_match_a_third(self) -> None:
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

    def test_the_lookup_waits_until_the_new_journald_has_read_the_old_queue(self) -> None:
        scene = self.scene(ids(1), ALL)
        scene.journal.hangs = True
        scene.after(FIRST_LOOK_NS)
        assert not scene.known()
        assert (scene.start.asked, scene.journal.pinged) == ([], 1)
        scene.journal.hangs = False
        scene.after(LAST_LOOK_NS)
        assert scene.known()
        assert scene.has(1, 2) == [1]

    def test_the_lookup_does_not_wait_for_entries_sent_later(self) -> None:
        scene = self.scene(ids(1), ALL)
        scene.journal.hangs = True
        scene.after(FIRST_LOOK_NS)
        scene.journal.hangs = False
        scene.journal.flood()
        scene.after(2 * FIRST_LOOK_NS)
        assert scene.known()
        assert scene.has(1, 2) == [1]

    def test_the_lookup_waits_for_a_journald_that_does_not_run_yet(self) -> None:
        totals = Totals(source=NOW, ids=5, entries=5)
        scene = Scene(ids(1), ALL, totals=totals, sources=(NOW,) * 5)
        scene.journal.refuses = True
        scene.confirm.begin(HOLDER, shown=True)
        for _ in range(3):
            scene.clock.now_ns += DEADLINE_NS
            scene.check()
            with pytest.raises(JournalRefused):
                scene.confirm.advance()
            assert scene.confirm.due_ns is None
        scene.journal.refuses = False
        assert not scene.confirm.advance()
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
    def test_after_a_failed_lookup_all_are_sent_again(self, messages: tuple[bytes, ...], why: str) -> None:
        scene = self.scene(*messages)
        scene.after(FIRST_LOOK_NS)
        assert scene.known()
        assert not scene.confirm.was_read
        assert scene.has(1, 2) == []
        assert scene.warnings == [f"{READ_BACK_FAILED}: {why}, {SENT_AGAIN}"]
        assert scene.confirm.due_ns is None

    def test_a_process_that_does_not_answer_is_killed_after_the_deadline(self) -> None:
        scene = self.scene(ids(1))
        scene.after(FIRST_LOOK_NS)
        scene.clock.now_ns = FIRST_LOOK_NS + DEADLINE_NS - 1
        assert not scene.known()
        scene.clock.now_ns += 1
        assert scene.known()
        assert scene.has(1) == []
        assert scene.start.looker.killed
        assert scene.warnings == [f"{READ_BACK_FAILED}: no answer within 5 s, {SENT_AGAIN}"]

    def test_the_lookup_waits_for_a_journald_that_hangs_and_reports_it(self) -> None:
        scene = self.scene(ids(1), ALL)
        scene.journal.hangs = True
        scene.clock.now_ns = SAID_AFTER_NS - 1
        assert not scene.known()
        for _ in range(3):
            scene.clock.now_ns += 2 * DEADLINE_NS
            with pytest.raises(JournalRefused, match="it has not read earlier entries"):
                scene.known()
            assert (scene.tracker.due_ns or 0) > scene.clock.now_ns, "the loop would spin"
        scene.journal.hangs = False
        scene.after(LAST_LOOK_NS)
        assert scene.known()
        assert scene.has(1, 2) == [1]
        assert scene.warnings == []

    def test_if_no_process_can_be_started_all_are_sent_again(self) -> None:
        scene = self.scene()
        scene.start.refuses = True
        scene.after(FIRST_LOOK_NS)
        assert scene.known()
        why = "no process could be started: Cannot allocate memory"
        assert scene.warnings == [f"{READ_BACK_FAILED}: {why}, {SENT_AGAIN}"]

    def test_after_another_restart_of_journald_the_lookup_starts_over(self) -> None:
        scene = self.scene(ids(1))
        scene.start.looker.dead = False
        scene.after(FIRST_LOOK_NS)
        first = scene.start.looker
        scene.start.looker = FakeLooker(ids(2), ALL)
        scene.ledger.commit(scene.ledger.totals._replace(ids=7))
        scene.confirm.begin(HOLDER, shown=True)
        assert first.killed
        assert not scene.known()
        scene.after(LAST_LOOK_NS)
        assert scene.start.asked == [5 + MORE, 7 + MORE]
        assert scene.known()
        assert scene.has(1, 2) == [2]
        # A killed process that does not die delays nothing.
        assert not first.put_away
        first.dead = True
        scene.check()
        assert first.put_away

    def test_two_deliveries_share_a_lookup_and_both_must_finish(self) -> None:
        scene = self.scene(ids(1, 2), ALL)
        scene.after(FIRST_LOOK_NS)
        other = object()
        scene.start.looker = FakeLooker(ids(1, 2), ALL)
        scene.confirm.begin(other, shown=False)
        assert not scene.known()
        # If one delivery needs ``shown``, the lookup for both uses it.
        scene.after(LAST_LOOK_NS)
        assert scene.start.shown
        assert scene.known()
        scene.confirm.done(HOLDER)
        assert scene.has(1, 2, 3) == [1, 2]
        scene.after(SETTLED_NS)
        assert scene.ledger.totals.confirmed == 0, "the other has not sent its own again yet"
        scene.confirm.done(other)
        scene.tracker.sent(5)
        scene.after(SETTLED_NS)
        assert scene.ledger.totals.confirmed == 5

    def test_at_the_end_no_lookup_starts_and_none_finishes(self) -> None:
        scene = self.scene(ids(1))
        scene.after(FIRST_LOOK_NS)
        assert not scene.confirm.ended
        scene.confirm.end()
        assert scene.start.looker.killed
        assert scene.confirm.ended
        assert not scene.confirm.advance()
        scene.confirm.begin(HOLDER, shown=True)
        assert not scene.confirm.advance()
        assert (scene.start.asked, scene.journal.pinged) == ([5 + MORE], 1)


class TestEntriesWithOnlyAnId:
    """The source of the records is gone."""

    def test_kills_in_the_journal_count_as_recorded_and_the_others_are_searched_for(self) -> None:
        scene = Scene(ids(1, 8), ids(3, 6), ALL)
        assert not scene.confirm.settled
        assert scene.confirm.unresolved
        assert scene.after(SETTLED_NS) == 1
        assert scene.start.asked == [3 + MORE]
        assert not scene.start.shown
        assert scene.start.looker.killed
        assert scene.confirm.settled
        assert not scene.confirm.unresolved
        assert scene.ledger.totals == SENT.without_entries(1, 0)._replace(confirmed=9)
        (lacking,) = scene.warnings
        assert lacking == (
            "the journal lacks 1 entry of an earlier run (of the last 3), "
            "counting the kills as missing unless the kernel log has them"
        )
        assert scene.confirm.due_ns is None

    def test_if_the_journal_has_all_nothing_is_logged(self) -> None:
        scene = Scene(ids(6, 7, 8), ALL)
        assert scene.after(SETTLED_NS) == 0
        assert scene.ledger.totals == SENT._replace(confirmed=9)
        assert scene.warnings == []

    def test_the_lookup_waits_until_journald_had_time_to_store_the_entries_of_earlier_runs(self) -> None:
        scene = Scene(ids(6, 7, 8), ALL)
        scene.journal.hangs = True
        scene.after(100 * STORED_AFTER_NS)
        assert scene.start.asked == []
        scene.journal.hangs = False
        scene.after(LAST_LOOK_NS)
        assert scene.start.asked == []
        assert scene.after(STORED_AFTER_NS) == 0
        assert scene.start.asked == [3 + MORE]

    def test_the_lookup_reaches_behind_the_entries_of_this_run(self) -> None:
        scene = Scene(ids(6, 7, 8), ALL)
        for number in range(9, 59):
            scene.sent.keep(number, SentEntry(ids(number), NOW))
        scene.ledger.commit(scene.ledger.totals._replace(ids=59))
        scene.after(SETTLED_NS)
        assert scene.start.asked == [50 + 3 + MORE]

    def test_if_all_are_confirmed_no_process_starts(self) -> None:
        scene = Scene(totals=SENT._replace(confirmed=9))
        assert not scene.confirm.settled
        assert scene.confirm.due_ns is None
        assert scene.after(SETTLED_NS) == 0
        assert scene.confirm.settled
        assert scene.start.asked == []

    @pytest.mark.parametrize("dies", [False, True])
    def test_after_a_normal_end_the_lookup_runs_only_if_journald_dies(self, dies: bool) -> None:  # a case
        scene = Scene(ids(6, 7), ALL, totals=SENT._replace(sent_to=number_of(("", 1))))
        scene.after(SETTLED_NS - 1)
        assert not scene.confirm.settled
        if dies:
            scene.journal.started = 2
        assert scene.after(1 + SETTLED_NS) == dies
        assert scene.start.asked == [3 + MORE] * dies
        assert scene.confirm.settled
        assert scene.ledger.totals.entries == 9 - dies
        assert scene.ledger.totals.confirmed == 9

    def test_after_a_normal_end_with_another_journald_the_lookup_runs(self) -> None:
        scene = Scene(ids(6, 7), ALL, totals=SENT._replace(sent_to=number_of(("", 1))), started=2)
        assert scene.after(SETTLED_NS) == 1

    def test_where_not_all_ids_are_kept_it_is_found_out_for_the_others(self) -> None:
        totals = SENT._replace(ids=KEPT + 7, confirmed=6, entries=KEPT + 7, earlier_kills=KEPT + 7)
        scene = Scene(b"".join(map(ids, range(6, KEPT + 6))), ALL, totals=totals, sources=(BEFORE,) * (KEPT + 7))
        why = "1 entry of an earlier run is stored: no longer in the file of sent ids"
        assert scene.warnings == [f"Failed to find out whether {why}, ignoring"]
        assert scene.after(SETTLED_NS) == 1

    def test_ids_of_this_run_do_not_overwrite_those_in_question(self) -> None:
        scene = Scene(ids(6, 7), ALL)
        for number in range(9, 9 + KEPT):
            scene.sent.keep(number, SentEntry(ids(number), NOW))
        assert scene.after(SETTLED_NS) == 1

    @pytest.mark.parametrize(
        ("stored", "absent"), [(ids(5), 3), (ids(0), 3), (ids(5, 7), 2), (ids(8), 2), (b"", 0), (ids(9, 10), 0)]
    )
    def test_if_the_journal_does_not_reach_back_that_far_they_count_as_stored(self, stored: bytes, absent: int) -> None:
        """The entries in question are 6 to 8, the older ones 0 to 5."""
        scene = Scene(*([stored] if stored else []), ALL)
        assert scene.after(SETTLED_NS) == absent
        (warning,) = scene.warnings
        assert warning.startswith("the journal does not reach back to the last 3 entries") == (absent == 0)
        assert scene.ledger.totals.confirmed == 9

    def test_the_first_entries_of_a_boot_need_no_older_ones_in_the_journal(self) -> None:
        totals = Totals(source=NOW, ids=2, entries=2, earlier_kills=2)
        scene = Scene(ALL, totals=totals, sources=(BEFORE,) * 2)
        assert scene.after(SETTLED_NS) == 2

    def test_lost_entries_from_the_kernel_log_are_taken_off_the_recalled_ones(self) -> None:
        totals = Totals(source=NOW, ids=4, recalled=4, recalled_repeats=7, entries=0)
        scene = Scene(ids(1), ALL, totals=totals, sources=())
        for number, repeats in enumerate((0, 1, 2, 3)):
            scene.sent.keep(number, SentEntry(ids(number), LOG, repeats))
        scene.confirm = scene.begin()
        # The journal lacks 0, 2 and 3, so their 5 repeats are missing, too.
        assert scene.after(SETTLED_NS) == 3 + 5
        assert scene.ledger.totals == Totals(source=NOW, ids=4, confirmed=4, recalled=1, recalled_repeats=2)

    def test_a_lost_entry_of_a_spared_process_is_not_searched_for(self) -> None:
        totals = Totals(source=NOW, ids=2, entries=1, spared=1, earlier_kills=1)
        scene = Scene(ids(0), ALL, totals=totals, sources=(BEFORE,))
        scene.sent.keep(1, SentEntry(ids(1), BEFORE, None))
        scene.confirm = scene.begin()
        assert scene.after(SETTLED_NS) == 0
        assert (scene.ledger.totals.entries, scene.ledger.totals.spared, scene.ledger.totals.unsent) == (1, 0, 0)

    def test_what_was_sent_twice_is_one_entry(self) -> None:
        totals = Totals(source=NOW, ids=4, entries=3, earlier_kills=3)
        scene = Scene(ids(0), ALL, totals=totals, sources=(BEFORE,) * 3)
        scene.sent.keep(3, SentEntry(ids(1), BEFORE))
        scene.confirm = scene.begin()
        assert scene.after(SETTLED_NS) == 2
        assert (scene.ledger.totals.entries, scene.ledger.totals.unsent) == (1, 2)

    def test_a_run_that_is_killed_once_they_are_counted_leaves_no_more_to_be_counted(self) -> None:
        scene = Scene(ids(6), ALL)
        commits: list[Totals] = []
        plain = scene.ledger.commit

        def commit(totals: Totals) -> None:
            commits.append(totals)
            plain(totals)

        scene.ledger.commit = commit  # type: ignore[method-assign]
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
    def test_a_process_that_sends_no_valid_answer_is_started_again(self, messages: tuple[bytes, ...], why: str) -> None:
        scene = Scene(*messages)
        assert scene.after(SETTLED_NS) == 0
        assert scene.warnings == [f"{FAILED}: {why}, retrying"]
        assert scene.confirm.due_ns == SETTLED_NS + 5 * 10**9
        assert scene.ledger.totals == SENT
        assert not scene.confirm.settled
        scene.start.looker = FakeLooker(ids(7), ALL)
        assert scene.after(5 * 10**9) == 2

    def test_a_process_that_takes_too_long_is_killed(self) -> None:
        scene = Scene(ids(6))
        assert scene.after(SETTLED_NS) == 0
        assert scene.confirm.due_ns == SETTLED_NS + LONG_DEADLINE_NS
        assert scene.after(LONG_DEADLINE_NS) == 0
        assert scene.start.looker.killed
        assert scene.warnings == [f"{FAILED}: no answer within 60 s, retrying"]

    def test_if_no_process_can_be_started_after_some_retries_they_count_as_stored(self) -> None:
        scene = Scene()
        scene.start.refuses = True
        assert scene.after(SETTLED_NS + (5 + 30 + 120) * 10**9 - 1) == 0
        assert not scene.confirm.settled
        assert scene.after(1) == 0
        assert scene.confirm.settled
        assert scene.ledger.totals == SENT._replace(confirmed=9)
        why = "no process could be started: Cannot allocate memory"
        assert scene.warnings == [
            *[f"{FAILED}: {why}, retrying"] * 3,
            f"{FAILED}: {why}, assuming that they are",
        ]

    def test_an_unfinished_lookup_is_left_to_the_next_run(self) -> None:
        scene = Scene(ids(6))
        scene.after(SETTLED_NS)
        scene.confirm.end()
        assert scene.start.looker.killed
        assert scene.ledger.totals == SENT
        assert scene.confirm.unresolved

    def test_the_lookup_waits_until_delivery_has_sent_its_own_entries_again(self) -> None:
        scene = Scene(ids(6, 8), ALL, sources=(*(BEFORE,) * 8, NOW))
        scene.confirm.begin(HOLDER, shown=True)
        assert not scene.confirm.advance()
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
        assert (scene.ledger.totals.entries, scene.ledger.totals.confirmed) == (8, 9)
