# SPDX-License-Identifier: Apache-2.0
"""While journald accepts few entries, kills of other owners go before those of a flood, and each counts once."""

import pytest

from oomkilld.record.capture.decode import decode
from oomkilld.record.deliver import ahead
from oomkilld.record.deliver.checkpoint import Counts, Kept, go_on_with
from oomkilld.record.deliver.sink import ANOTHER, STORED_AFTER_NS, JournalRefused, number_of
from oomkilld.record.deliver.tracker import FIRST_LOOK_NS
from oomkilld.record.kill import KillRecord
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import SentEntry, sent_ids_in_memory
from tests.unit.fakes import FakeLedger
from tests.unit.records import raw_release
from tests.unit.test_delivery import Scene, records

FLOOD = range(1, 90)


class SlowScene(Scene):
    """Kills of the flood ``FLOOD``, and others; journald accepts one entry per take_one()."""

    def __init__(self, *raw: bytes | None) -> None:
        super().__init__(*raw, totals=Totals(source=7))
        self.pipeline.flood = set(FLOOD)
        self.outlives = True
        self.delivery = self.start()

    def take_one(self) -> None:
        """A turn of the loop while others flood the queue: journald accepts one entry and refuses the next."""
        plain, left = self.journal.send, [1]

        def send(fields: list[bytes]) -> None:
            self.journal.refuses = not left
            left[:] = []
            plain(fields)

        self.journal.send = send  # type: ignore[method-assign, assignment]
        with pytest.raises(JournalRefused):
            self.delivery.drain(64)
        self.journal.send = plain  # type: ignore[method-assign]
        self.journal.refuses = False


def looked_at(scene: SlowScene) -> list[int]:
    """The kills that are examined from now on."""
    looked: list[int] = []
    plain = scene.pipeline.of_flood

    def of_flood(record: bytes) -> bool | None:
        kill = decode(record)
        assert isinstance(kill, KillRecord)
        looked.append(kill.victim_pid or 0)
        return plain(record)

    scene.pipeline.of_flood = of_flood  # type: ignore[method-assign, assignment]
    return looked


def test_kills_are_sent_in_order_while_journald_accepts_all() -> None:
    scene = SlowScene(*records(1, 2, 91, 3))
    scene.delivery.drain(64)
    assert scene.sent() == ["sent 1", "sent 2", "sent 91", "sent 3"]


def test_while_it_accepts_few_kills_of_others_go_first_and_each_is_sent_and_counted_once() -> None:
    scene = SlowScene(*records(1, 2, 91), None, raw_release(), b"not one", *records(3, 92, 4))
    for _ in range(3):
        scene.take_one()
    assert scene.sent() == ["sent 1", "sent 91", "sent 92"]
    assert [entry.end for entry in scene.kept_ids()[:3]] == [10, 30, 80]
    # Counted they are when their turn comes.
    assert scene.delivery.counts == Counts(entries=1)
    # Their records are freed only with those before them.
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.ring.consumer_position == 10
    scene.delivery.drain(64)
    assert scene.sent()[3:] == ["sent 2", "sent 3", "sent 4"]
    assert scene.delivery.counts == Counts(entries=6, rejected=1, refused=1)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.ring.consumer_position == 90
    assert (scene.ledger.totals.entries, scene.ledger.totals.ids) == (6, 6)


def test_a_kill_of_another_owner_at_the_head_is_sent_in_turn() -> None:
    scene = SlowScene(*records(1, 90, 91, 2, 92))
    for _ in range(4):
        scene.take_one()
    assert scene.sent() == ["sent 1", "sent 90", "sent 91", "sent 92"]
    assert not scene.delivery._ahead.sent.keys() - {40}, "only one of these was behind a flood's"


def test_a_kill_that_is_not_ready_delays_no_other_and_is_sent_in_turn() -> None:
    scene = SlowScene(*records(1, 2, 91, 92))
    scene.take_one()
    scene.pipeline.waiting = {91}
    scene.take_one()
    assert scene.sent() == ["sent 1", "sent 92"]
    scene.pipeline.waiting = set()
    scene.delivery.drain(64)
    assert scene.sent() == ["sent 1", "sent 92", "sent 2", "sent 91"]


def test_the_number_of_kills_sent_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST", 2)
    scene = SlowScene(*records(1, 2, 91, 92, 93, 94))
    for _ in range(4):
        scene.take_one()
    assert scene.sent() == ["sent 1", "sent 91", "sent 92", "sent 2"]


def test_the_number_of_records_examined_in_one_turn_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LOOKS", 3)
    scene = SlowScene(*records(1, *range(2, 8), 91, 92))
    looked = looked_at(scene)
    for _ in range(4):
        del looked[:]
        scene.take_one()
        # Three records further on, and the one at the head for each attempt.
        assert len(looked) <= 3 + 2
    assert scene.sent() == ["sent 1", "sent 2", "sent 91", "sent 92"]


def test_it_looks_no_further_than_to_the_next_that_is_sent_ahead() -> None:
    """journald takes one entry per turn then, and looking takes time."""
    scene = SlowScene(*records(1, 2, 91, 92, 93, 94))
    looked = looked_at(scene)
    scene.take_one()
    for ahead_of_flood in (91, 92, 93):
        scene.take_one()
        assert max(looked) <= ahead_of_flood + 1, "the next one is looked for when this one is sent"
    assert scene.sent() == ["sent 1", "sent 91", "sent 92", "sent 93"]


def test_one_of_which_it_is_not_known_yet_is_looked_at_again() -> None:
    """At level tracepoint its line in the kernel log, which names its owner, may come some milliseconds later."""
    scene = SlowScene(*records(1, 2, 91, 92))
    scene.pipeline.unknown = {91}
    scene.take_one()
    scene.take_one()
    assert scene.sent() == ["sent 1", "sent 2"]
    scene = SlowScene(*records(1, 2, 3, 91))
    scene.pipeline.unknown = {91}
    scene.take_one()
    scene.take_one()
    scene.pipeline.unknown = set()
    scene.take_one()
    assert scene.sent() == ["sent 1", "sent 2", "sent 91"]


@pytest.mark.parametrize("stored", [(1, 91), (1,), (91,), ()])
def test_after_a_crash_the_next_run_counts_no_kill_that_was_sent_ahead_twice(stored: tuple[int, ...]) -> None:
    scene = SlowScene(*records(1, 2, 91, 3, 92))
    scene.take_one()
    scene.take_one()
    assert scene.sent() == ["sent 1", "sent 91"]
    scene.confirm.pids = stored
    scene.delivery = scene.start()
    assert scene.confirm.shown
    scene.delivery.drain(64)
    again = [f"sent {pid}" for pid in (1, 2, 91, 3, 92) if pid not in stored]
    assert scene.sent()[2:] == again
    assert scene.delivery.counts == Counts(entries=5)
    assert scene.ledger.totals.entries == 5


@pytest.mark.parametrize("stored", [(1, 91), (91,), ()])
def test_after_a_restart_of_journald_they_are_sent_again_unless_stored(stored: tuple[int, ...]) -> None:
    scene = SlowScene(*records(1, 2, 91, 3))
    scene.take_one()
    scene.take_one()
    scene.journal.started = 2
    scene.confirm.pids = stored
    assert scene.after(FIRST_LOOK_NS)
    scene.delivery.drain(64)
    assert scene.sent()[2:] == [f"sent {pid}" for pid in (1, 2, 91, 3) if pid not in stored]
    assert scene.delivery.counts == Counts(entries=4)
    # Each victim is watched once, from its first entry on.
    assert [told.victim_pid for told in scene.pipeline.told if isinstance(told, KillRecord)] == [1, 91, 2, 3]
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert scene.ring.consumer_position == 40


def test_at_a_normal_end_they_count_as_sent_and_the_next_run_looks_them_up() -> None:
    scene = SlowScene(*records(1, 2, 91, 3))
    scene.take_one()
    scene.take_one()
    assert scene.delivery.leave() == (2, 0)
    assert scene.ledger.totals.entries == 1
    assert scene.ledger.totals.sent_to == number_of(ANOTHER)
    scene.confirm.pids = (1, 91)
    scene.delivery = scene.start()
    assert not scene.confirm.shown
    scene.delivery.drain(64)
    assert scene.sent() == ["sent 1", "sent 91", "sent 2", "sent 3"]
    assert scene.delivery.counts == Counts(entries=4)


def test_of_a_source_that_ends_they_are_counted_by_the_next_run() -> None:
    scene = SlowScene(*records(1, 2, 91, 3))
    scene.outlives = False
    scene.delivery = scene.start()
    scene.take_one()
    scene.take_one()
    assert scene.delivery.leave() == (2, 2)
    scene.ledger.totals = scene.ledger.totals._replace(kills=4)
    go_on_with(Kept(scene.ledger, scene.sent_ids), 9)
    totals = scene.ledger.totals
    assert (totals.source, totals.entries, totals.stopped, totals.unsent) == (9, 2, 2, 0)
    # Whether it is stored is found out by its id.
    assert (totals.confirmed, totals.ids) == (0, 2)


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("source", [7, 0])
def test_one_that_was_about_to_be_sent_counts_from_the_next_start_on_if_the_run_was_killed(
    killed: bool,  # a case
    source: int,
) -> None:
    ledger, sent_ids = FakeLedger(), sent_ids_in_memory()
    for number in range(3):
        sent_ids.keep(number, SentEntry(bytes([number] * 16), source, 2, end=10 * number + 10))
    counts = {"entries": 2, "kills": 3} if source else {"recalled": 2, "recalled_repeats": 4}
    ledger.totals = Totals(source=7, sent_position=20, ids=2, sent_to=0 if killed else 99, **counts)
    kept = Kept(ledger, sent_ids)
    go_on_with(kept, 7)
    totals = ledger.totals
    assert totals.ids == 2 + killed
    # The record is in the source still, where it is come by and counted.
    assert (totals.entries, totals.unsent) == ((2, 0) if source else (0, 0))
    assert (totals.recalled, totals.recalled_repeats) == ((0, 0) if source else (2 + killed, 4 + 2 * killed))
    go_on_with(kept, 8)
    totals = ledger.totals
    assert (totals.entries, totals.unsent) == ((2 + killed, not killed) if source else (0, 0))
    assert (totals.recalled, totals.recalled_repeats) == ((0, 0) if source else (2 + killed, 4 + 2 * killed))
