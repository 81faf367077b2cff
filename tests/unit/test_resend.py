# SPDX-License-Identifier: Apache-2.0
"""What a journald that was started anew has stored is read back: when, and what comes of a failure."""

import pytest

from oomkilld.record.account.resend import DEADLINE_NS, SAID_AFTER_NS, ReadBack
from oomkilld.record.deliver.sink import JournalRefused
from oomkilld.record.lookup.protocol import ALL
from tests.unit.fakes import FakeClock, FakeJournal, FakeLooker, FakeStart
from tests.unit.records import kill_of

MS = 10**6
FAILED = "what journald has stored cannot be read back"


def ids(*pids: int) -> bytes:
    return b"".join(bytes.fromhex(id_of(pid)) for pid in pids)


def id_of(pid: int) -> str:
    return f"{pid:032x}"


class Scene:
    """Five entries were given to a journald that is not there any more."""

    def __init__(self, *messages: bytes, entries: int = 5) -> None:
        self.clock = FakeClock()
        self.journal = FakeJournal([])
        self.start = FakeStart(FakeLooker(*messages))
        self.warnings: list[str] = []
        self.read_back = ReadBack(
            self.start, self.journal, lambda kill: id_of(kill.victim_pid or 0), self.clock, self.warnings.append
        )
        self.read_back.begin(entries, shown=True)

    def known(self) -> bool:
        """As the loop asks: what has come is taken first."""
        self.read_back.check()
        return self.read_back.known()

    def has(self, *pids: int) -> list[int]:
        return [pid for pid in pids if self.read_back.has(kill_of(victim_pid=pid))]


def test_what_is_stored_is_known_when_all_is_told() -> None:
    scene = Scene(ids(1, 2), ids(4), ALL)
    assert not scene.known()
    assert scene.start.asked == [5 + 600]
    assert scene.start.shown
    assert scene.known()
    assert scene.read_back.was_read
    assert scene.has(1, 2, 3, 4, 5) == [1, 2, 4]
    assert scene.has(1) == [1]
    assert scene.start.looker.killed
    assert scene.read_back.deadline_ns is None
    scene.read_back.forget()
    assert scene.has(1) == []
    assert scene.warnings == []


def test_bytes_of_two_ids_are_no_third() -> None:
    assert ids(256, 1).find(ids(65536)) == 1
    scene = Scene(ids(256, 1), ALL)
    scene.known()
    assert scene.known()
    assert scene.has(256, 1, 65536) == [256, 1]
    scene.start.looker = FakeLooker(ids(256, 65536), ALL)
    scene.read_back.begin(5, shown=True)
    scene.known()
    assert scene.known()
    assert scene.has(256, 1, 65536) == [256, 65536]


def test_where_nothing_was_given_nothing_is_asked() -> None:
    scene = Scene(entries=0)
    scene.journal.hangs = True
    assert not scene.known()
    scene.journal.hangs = False
    assert scene.known()
    assert (scene.start.asked, scene.journal.pinged) == ([], 1)


def test_the_new_one_first_reads_what_waited_for_the_one_before() -> None:
    scene = Scene(ids(1), ALL)
    scene.journal.hangs = True
    assert not scene.known()
    # Less and less often.
    for looked_ns in (20 * MS, 60 * MS, 140 * MS):
        assert scene.read_back.deadline_ns == looked_ns
        scene.clock.now_ns = looked_ns
        assert not scene.known()
    assert (scene.start.asked, scene.journal.pinged) == ([], 1)
    scene.journal.hangs = False
    assert not scene.known()
    assert scene.read_back.deadline_ns == 140 * MS + DEADLINE_NS
    assert scene.known()


def test_what_is_sent_later_need_not_be_read() -> None:
    scene = Scene(ids(1), ALL)
    scene.journal.flood()
    assert not scene.known()
    assert scene.start.asked == []
    scene.journal.flood()
    assert not scene.known()
    assert scene.start.asked == [5 + 600]
    assert scene.known()


def test_where_there_is_none_yet_it_is_waited_for() -> None:
    scene = Scene(ids(1), ALL)
    scene.journal.refuses = True
    for _ in range(3):
        scene.clock.now_ns += DEADLINE_NS
        scene.read_back.check()
        with pytest.raises(JournalRefused):
            scene.read_back.known()
        assert scene.read_back.deadline_ns is None
    scene.journal.refuses = False
    scene.known()
    assert scene.known()
    assert scene.has(1) == [1]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((b"",), "the process that does it ended"),
        ((ids(1), b""), "the process that does it ended"),
        ((ids(1), b"xyz"), "what was told is not ids"),
    ],
)
def test_where_it_fails_all_is_sent_again(messages: tuple[bytes, ...], why: str) -> None:
    scene = Scene(*messages)
    assert not scene.known()
    assert scene.known()
    assert not scene.read_back.was_read
    assert scene.has(1, 2) == []
    assert scene.warnings == [f"{FAILED}: {why}, sending all of it again"]
    assert scene.read_back.deadline_ns is None


def test_the_process_is_not_waited_for_for_ever() -> None:
    scene = Scene(ids(1))
    assert not scene.known()
    scene.clock.now_ns = DEADLINE_NS - 1
    assert not scene.known()
    scene.clock.now_ns = DEADLINE_NS
    assert scene.known()
    assert scene.has(1) == []
    assert scene.start.looker.killed
    assert scene.warnings == [f"{FAILED}: it took longer than 5 s, sending all of it again"]


def test_a_journald_that_hangs_is_waited_for_and_that_is_said() -> None:
    scene = Scene(ids(1), ALL)
    scene.journal.hangs = True
    assert not scene.known()
    scene.clock.now_ns = SAID_AFTER_NS - 1
    assert not scene.known()
    for _ in range(3):
        scene.clock.now_ns += 2 * DEADLINE_NS
        with pytest.raises(JournalRefused, match="it has not read what it was sent before"):
            scene.known()
        assert (scene.read_back.deadline_ns or 0) > scene.clock.now_ns, "it would spin"
    scene.journal.hangs = False
    assert not scene.known()
    assert scene.known()
    assert scene.has(1, 2) == [1]
    assert scene.warnings == []


def test_without_room_for_the_process_all_is_sent_again() -> None:
    scene = Scene()
    scene.start.refuses = True
    assert scene.known()
    assert scene.warnings == [
        f"{FAILED}: no process for it can be started: Cannot allocate memory, sending all of it again"
    ]


def test_when_journald_is_started_anew_once_more_it_begins_anew() -> None:
    scene = Scene(ids(1))
    scene.start.looker.dead = False
    scene.known()
    first = scene.start.looker
    scene.start.looker = FakeLooker(ids(2), ALL)
    scene.read_back.begin(7, shown=True)
    assert first.killed
    assert not scene.known()
    assert scene.start.asked == [5 + 600, 7 + 600]
    assert scene.known()
    assert scene.has(1, 2) == [2]
    # One that does not die is not waited for.
    assert not first.put_away
    first.dead = True
    scene.read_back.check()
    assert first.put_away


def test_at_the_end_nothing_is_waited_for() -> None:
    scene = Scene(ids(1))
    scene.known()
    assert not scene.read_back.ended
    scene.read_back.end()
    assert scene.start.looker.killed
    assert scene.read_back.ended
    assert not scene.read_back.known()
    scene.read_back.begin(3, shown=True)
    assert not scene.read_back.known()
    assert (scene.start.asked, scene.journal.pinged) == ([5 + 600], 1)
