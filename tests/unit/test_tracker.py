# SPDX-License-Identifier: Apache-2.0
"""When what was sent is read, and stored, and when it may be lost."""

from oomkilld.record.deliver.sink import STORED_AFTER_NS
from oomkilld.record.deliver.tracker import FIRST_LOOK_NS, LAST_LOOK_NS, StoreTracker
from tests.unit.fakes import FakeClock, FakeJournal

MS = 10**6


class Scene:
    """A tracker, and the journald that it tracks."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.journal = FakeJournal([])
        self.tracker = StoreTracker(self.journal, self.clock)

    def send(self, ids: int = 0) -> int:
        self.journal.given += 1
        return self.tracker.sent(ids)

    def after(self, ns: int) -> None:
        """What the loop does: settle as soon as that is due, until the time is over."""
        end = self.clock.now_ns + ns
        while (due := self.tracker.next_settle_ns) is not None and due <= end:
            assert due > self.clock.now_ns or due == end, "it would spin"
            self.clock.now_ns = max(self.clock.now_ns, due)
            self.tracker.settle()
        self.clock.now_ns = end


def test_what_was_sent_is_read_and_some_time_later_it_is_stored() -> None:
    scene = Scene()
    assert scene.tracker.next_settle_ns is None
    assert (scene.send(1), scene.send(2)) == (1, 2)
    scene.tracker.settle()
    assert scene.tracker.read == 0
    scene.after(FIRST_LOOK_NS)
    assert (scene.tracker.read, scene.tracker.stored, scene.tracker.stored_ids) == (2, 0, 0)
    scene.after(STORED_AFTER_NS - 1)
    assert scene.tracker.stored == 0
    scene.after(1)
    assert (scene.tracker.stored, scene.tracker.stored_ids) == (2, 2)
    assert scene.tracker.next_settle_ns is None
    assert scene.tracker.waits_for is None


def test_a_journald_that_hangs_is_looked_at_less_and_less_often() -> None:
    scene = Scene()
    scene.journal.hangs = True
    scene.send()
    waits = []
    for _ in range(10):
        assert scene.tracker.next_settle_ns is not None
        waits.append((scene.tracker.next_settle_ns - scene.clock.now_ns) // MS)
        scene.clock.now_ns = scene.tracker.next_settle_ns
        scene.tracker.settle()
    assert waits == [20, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000]
    # After what is sent meanwhile it is looked soon again.
    scene.send()
    assert scene.tracker.next_settle_ns == scene.clock.now_ns + FIRST_LOOK_NS
    scene.after(FIRST_LOOK_NS)
    assert scene.tracker.next_settle_ns == scene.clock.now_ns + 2 * FIRST_LOOK_NS
    scene.journal.hangs = False
    scene.after(2 * FIRST_LOOK_NS)
    assert scene.tracker.read == 1
    scene.after(FIRST_LOOK_NS)
    assert scene.tracker.read == 2


def test_what_is_sent_after_the_mark_is_not_taken_for_read_with_it() -> None:
    scene = Scene()
    scene.send(1)
    scene.journal.flood()
    scene.after(FIRST_LOOK_NS)  # marked
    scene.send(2)
    scene.journal.not_read_from = 3
    scene.after(2 * FIRST_LOOK_NS)
    assert scene.tracker.read == 1
    scene.after(STORED_AFTER_NS)
    assert (scene.tracker.stored, scene.tracker.stored_ids) == (1, 1)
    scene.journal.not_read_from = 99
    scene.after(LAST_LOOK_NS + STORED_AFTER_NS)
    assert (scene.tracker.stored, scene.tracker.stored_ids) == (2, 2)


def test_of_many_that_are_sent_in_a_row_few_points_are_kept() -> None:
    scene = Scene()
    for number in range(1, 1001):
        scene.send(number)
        scene.after(FIRST_LOOK_NS // 10)
        assert len(scene.tracker._points) <= STORED_AFTER_NS // FIRST_LOOK_NS + 3
    assert scene.tracker.same(999, 1000)
    assert not scene.tracker.same(1, 1000)
    assert not scene.tracker.same(1000, 0)
    assert not scene.tracker.same(0, 1000)
    assert scene.tracker.same(0, 0)


def test_when_journald_is_another_one_what_is_not_stored_may_be_lost_and_is_waited_for_no_more() -> None:
    scene = Scene()
    scene.send(1)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    scene.journal.started = 2
    scene.tracker.look_for_loss()
    assert scene.tracker.losses == 0, "all was stored"
    scene.send(2)
    assert scene.tracker.waits_for == ("", 2)
    scene.journal.started = 3
    scene.after(FIRST_LOOK_NS)
    assert scene.tracker.losses == 1
    assert scene.tracker.waits_for is None
    assert (scene.tracker.read, scene.tracker.stored_ids) == (1, 1)
    assert scene.tracker.next_settle_ns is None
    # Whoever sees it first, all are to see it soon.
    scene.send(2)
    scene.journal.started = 4
    scene.tracker.look_for_loss()
    assert scene.tracker.next_settle_ns == 0
    scene.tracker.settle()
    assert (scene.tracker.next_settle_ns, scene.tracker.losses) == (None, 2)
    # What is sent to the new one is read and stored as ever.
    assert scene.send(3) == 4
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert (scene.tracker.stored, scene.tracker.stored_ids, scene.tracker.losses) == (4, 3, 2)


def test_it_is_noticed_too_where_something_is_sent_to_the_new_one_first() -> None:
    scene = Scene()
    scene.send(1)
    scene.journal.started = 2
    scene.send(2)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert (scene.tracker.losses, scene.tracker.stored) == (1, 0)


def test_where_nothing_of_this_run_was_sent_yet_there_is_no_mark_and_it_waits() -> None:
    scene = Scene()
    scene.journal.mark = lambda: None  # type: ignore[method-assign]
    scene.send()
    scene.after(10 * STORED_AFTER_NS)
    assert scene.tracker.read == 0
