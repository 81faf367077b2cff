# SPDX-License-Identifier: Apache-2.0
"""What was sent last before the source had gone: whether it is stored, and what comes of a failure."""

import pytest

from oomkilld.record.account.inquiry import MORE
from oomkilld.record.account.unconfirmed import DEADLINE_NS, Doubt, EarlierRuns, Evidence
from oomkilld.record.deliver.sink import STORED_AFTER_NS
from oomkilld.record.lookup.protocol import ALL
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import KEPT, sent_ids_in_memory
from tests.unit.fakes import FakeBooks, FakeClock, FakeJournal, FakeLooker, FakeStart

FAILED = "whether the last entries of an earlier run are stored cannot be found out"
# Of 9 that were sent it is not known of the last 3.
SENT = Totals(entries=9, sent_entries=9, doubtful_from=6, doubtful_to=9, earlier_kills=9)


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def ids(*numbers: int) -> bytes:
    return b"".join(map(id_of, numbers))


class Scene:
    """A run that begins with another source, and the process that it is told by."""

    def __init__(self, *messages: bytes, totals: Totals = SENT, kept: int = 9) -> None:
        self.clock = FakeClock()
        self.books = FakeBooks()
        self.books.totals = totals
        self.journal = FakeJournal([])
        self.sent = sent_ids_in_memory()
        for number in range(kept):
            self.sent.keep(number, id_of(number))
        self.start = FakeStart(FakeLooker(*messages))
        self.warnings: list[str] = []
        earlier_runs = EarlierRuns(self.journal, self.clock)
        self.doubt = Doubt(Evidence(self.sent, self.start), earlier_runs, self.books, self.clock, self.warnings.append)

    def finish(self) -> int:
        """Check as the loop does, until it is at rest; how many are absent."""
        absent = self.doubt.check()
        while (due := self.doubt.deadline_ns) is not None:
            self.clock.now_ns = max(due, self.clock.now_ns + 1)
            absent += self.doubt.check()
        return absent


def test_what_the_journal_has_is_recorded_and_what_it_has_not_is_to_be_looked_for() -> None:
    scene = Scene(ids(1, 8), ids(3, 6), ALL)
    assert not scene.doubt.settled
    assert scene.finish() == 1
    assert scene.start.asked == [3 + MORE]
    assert scene.start.looker.killed
    assert scene.doubt.settled
    assert scene.books.totals == SENT.without_doubt(1)
    assert scene.warnings == ["1 entry of an earlier run is not in the journal, of the last 3"]
    assert scene.doubt.deadline_ns is None


def test_when_all_are_there_nothing_is_said() -> None:
    scene = Scene(ids(6, 7, 8), ALL)
    assert scene.finish() == 0
    assert scene.books.totals == SENT.without_doubt(0)
    assert scene.warnings == []


def test_it_is_asked_only_when_journald_has_had_time_to_store_what_earlier_runs_have_sent() -> None:
    scene = Scene(ids(6, 7, 8), ALL)
    scene.journal.hangs = True
    waits = []
    for _ in range(10):
        assert scene.doubt.check() == 0
        assert scene.doubt.deadline_ns is not None
        waits.append((scene.doubt.deadline_ns - scene.clock.now_ns) // 10**6)
        scene.clock.now_ns = scene.doubt.deadline_ns
    assert waits == [20, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000]
    scene.journal.hangs = False
    scene.doubt.check()
    assert scene.doubt.deadline_ns == scene.clock.now_ns + STORED_AFTER_NS
    assert scene.start.asked == []
    assert scene.finish() == 0
    assert scene.start.asked == [3 + MORE]


def test_entries_of_this_run_stand_before_them_in_the_journal() -> None:
    scene = Scene(ids(6, 7, 8), ALL, totals=SENT._replace(sent_entries=9 + 50, sent_spared=4))
    scene.finish()
    assert scene.start.asked == [50 + 3 + 4 + MORE]


def test_without_doubt_nothing_is_done() -> None:
    scene = Scene(totals=SENT._replace(doubtful_from=9))
    assert scene.doubt.deadline_ns is None
    assert scene.finish() == 0
    assert not scene.doubt.settled
    scene.clock.now_ns = STORED_AFTER_NS
    assert scene.doubt.settled
    assert scene.start.asked == []


def test_of_a_version_that_kept_no_ids_they_count_as_stored() -> None:
    scene = Scene(kept=6)
    assert scene.books.totals == SENT.without_doubt(0)
    assert scene.warnings == ["whether 3 entries of an earlier run are stored cannot be found out, ignoring"]
    assert scene.finish() == 0
    assert scene.start.asked == []


def test_where_not_all_ids_are_kept_it_is_found_out_for_the_others() -> None:
    scene = Scene(ids(6), ALL, kept=8)
    assert scene.warnings == ["whether 1 entry of an earlier run is stored cannot be found out, ignoring"]
    assert scene.finish() == 1


def test_what_this_run_sends_meanwhile_takes_no_id_away() -> None:
    scene = Scene(ids(6, 7), ALL)
    for number in range(9, 9 + KEPT):
        scene.sent.keep(number, id_of(number))
    assert scene.finish() == 1


@pytest.mark.parametrize(
    ("stored", "absent"), [(ids(5), 3), (ids(0), 3), (ids(5, 7), 2), (ids(8), 2), (b"", 0), (ids(9, 10), 0)]
)
def test_where_the_journal_does_not_reach_back_to_them_they_count_as_stored(stored: bytes, absent: int) -> None:
    """Those before them are 0 to 5."""
    scene = Scene(*([stored] if stored else []), ALL)
    assert scene.finish() == absent
    (warning,) = scene.warnings
    assert warning.startswith("the journal has nothing as old as the last 3 entries") == (absent == 0)


def test_the_first_entries_of_a_boot_have_none_before_them() -> None:
    scene = Scene(ALL, totals=Totals(entries=2, sent_entries=2, doubtful_to=2, earlier_kills=2))
    assert scene.finish() == 2


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((b"",), "the process that does it ended"),
        ((ids(6), b""), "the process that does it ended"),
        ((b"nonsense",), "what was told is not ids"),
    ],
)
def test_a_process_that_tells_no_ids_is_started_again(messages: tuple[bytes, ...], why: str) -> None:
    scene = Scene(*messages)
    scene.doubt.check()
    scene.clock.now_ns = STORED_AFTER_NS
    assert scene.doubt.check() == 0
    assert scene.warnings == [f"{FAILED}: {why}, trying again"]
    assert scene.doubt.deadline_ns == STORED_AFTER_NS + 5 * 10**9
    assert scene.books.totals == SENT
    scene.start.looker = FakeLooker(ids(7), ALL)
    assert scene.finish() == 2


def test_one_that_takes_too_long_is_ended() -> None:
    scene = Scene(ids(6))
    scene.doubt.check()
    scene.clock.now_ns = STORED_AFTER_NS
    assert scene.doubt.check() == 0
    assert scene.doubt.deadline_ns == STORED_AFTER_NS + DEADLINE_NS
    scene.clock.now_ns = STORED_AFTER_NS + DEADLINE_NS
    assert scene.doubt.check() == 0
    assert scene.start.looker.killed
    assert scene.warnings == [f"{FAILED}: it took longer than 60 s, trying again"]


def test_without_room_for_a_process_it_is_tried_some_times_and_then_they_count_as_stored() -> None:
    scene = Scene()
    scene.start.refuses = True
    assert scene.finish() == 0
    assert scene.clock.now_ns == STORED_AFTER_NS + (5 + 30 + 120) * 10**9
    assert scene.books.totals == SENT.without_doubt(0)
    why = "no process for it can be started: Cannot allocate memory"
    assert scene.warnings == [*[f"{FAILED}: {why}, trying again"] * 3, f"{FAILED}: {why}, taking them for stored"]


def test_what_is_in_doubt_at_the_end_is_left_to_the_next_run() -> None:
    scene = Scene(ids(6))
    scene.doubt.check()
    scene.clock.now_ns = STORED_AFTER_NS
    scene.doubt.check()
    scene.doubt.end()
    assert scene.start.looker.killed
    assert scene.books.totals == SENT
