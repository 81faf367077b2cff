# SPDX-License-Identifier: Apache-2.0
"""When entries count as read, as stored, and as possibly lost."""

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
        """Let ``ns`` pass as the loop does: settle whenever due."""
        end = self.clock.now_ns + ns
        while (due := self.tracker.due_ns) is not None and due <= end:
            assert due > self.clock.now_ns or due == end, "the loop would spin"
            self.clock.now_ns = max(self.clock.now_ns, due)
            self.tracker.settle()
        self.clock.now_ns = end


def test_an_entry_is_read_and_some_time_later_stored() -> None:
    scene = Scene()
    assert scene.tracker.due_ns is None
    assert (scene.send(1), scene.send(2)) == (1, 2)
    scene.tracker.settle()
    assert scene.tracker.read == 0
    scene.after(FIRST_LOOK_NS)
    assert (scene.tracker.read, scene.tracker.stored, scene.tracker.stored_ids) == (2, 0, 0)
    scene.after(STORED_AFTER_NS - 1)
    assert scene.tracker.stored == 0
    scene.after(1)
    assert (scene.tracker.stored, scene.tracker.stored_ids) == (2, 2)
    assert scene.tracker.due_ns is None
    assert scene.tracker.waits_for is None


def test_checks_of_a_journald_that_hangs_become_rare() -> None:
    scene = Scene()
    scene.journal.hangs = True
    scene.send()
    waits = []
    for _ in range(10):
        assert scene.tracker.due_ns is not None
        waits.append((scene.tracker.due_ns - scene.clock.now_ns) // MS)
        scene.clock.now_ns = scene.tracker.due_ns
        scene.tracker.settle()
    assert waits == [20, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000]
    # A new entry makes the next check soon.
    scene.send()
    assert scene.tracker.due_ns == scene.clock.now_ns + FIRST_LOOK_NS
    scene.after(FIRST_LOOK_NS)
    assert scene.tracker.due_ns == scene.clock.now_ns + 2 * FIRST_LOOK_NS
    scene.journal.hangs = False
    scene.after(2 * FIRST_LOOK_NS)
    assert scene.tracker.read == 1
    scene.after(FIRST_LOOK_NS)
    assert scene.tracker.read == 2


def test_an_entry_sent_after_the_mark_does_not_count_as_read_with_it() -> None:
    scene = Scene()
    scene.send(1)
    scene.journal.flood()
    scene.after(FIRST_LOOK_NS)  # sets the mark
    scene.send(2)
    scene.journal.not_read_from = 3
    scene.after(2 * FIRST_LOOK_NS)
    assert scene.tracker.read == 1
    scene.after(STORED_AFTER_NS)
    assert (scene.tracker.stored, scene.tracker.stored_ids) == (1, 1)
    scene.journal.not_read_from = 99
    scene.after(LAST_LOOK_NS + STORED_AFTER_NS)
    assert (scene.tracker.stored, scene.tracker.stored_ids) == (2, 2)


def test_many_entries_in_a_row_take_few_points() -> None:
    scene = Scene()
    for number in range(1, 1001):
        scene.send(number)
        scene.after(FIRST_LOOK_NS // 10)
        assert len(scene.tracker._points) <= STORED_AFTER_NS // FIRST_LOOK_NS + 3
    assert scene.tracker.stored_together(999, 1000)
    assert not scene.tracker.stored_together(1, 1000)
    assert not scene.tracker.stored_together(1000, 0)
    assert not scene.tracker.stored_together(0, 1000)
    assert scene.tracker.stored_together(0, 0)


def test_after_a_restart_of_journald_entries_not_stored_may_be_lost_and_nothing_waits_for_them() -> None:
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
    assert scene.tracker.due_ns is None
    # Whoever notices the restart first, the loop wakes at once so that all others notice it.
    scene.send(2)
    scene.journal.started = 4
    scene.tracker.look_for_loss()
    assert scene.tracker.due_ns == 0
    scene.tracker.settle()
    assert (scene.tracker.due_ns, scene.tracker.losses) == (None, 2)
    # Entries sent to the new journald are read and stored as usual.
    assert scene.send(3) == 4
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert (scene.tracker.stored, scene.tracker.stored_ids, scene.tracker.losses) == (4, 3, 2)


def test_a_restart_is_noticed_too_if_an_entry_is_sent_to_the_new_journald_first() -> None:
    scene = Scene()
    scene.send(1)
    scene.journal.started = 2
    scene.send(2)
    scene.after(FIRST_LOOK_NS + STORED_AFTER_NS)
    assert (scene.tracker.losses, scene.tracker.stored) == (1, 0)


def test_without_a_mark_nothing_counts_as_read() -> None:
    scene = Scene()
    scene.journal.mark = lambda: None  # type: ignore[method-assign]
    scene.send()
    scene.after(10 * STORED_AFTER_NS)
    assert scene.tracker.read == 0
