# SPDX-License-Identifier: Apache-2.0
"""The search of the kernel log for missing kills: the order of its steps, and what follows a failure."""

import marshal
import os
import time
from collections.abc import Sequence

import pytest

from oomkilld.record.account.foundkills import FoundKills
from oomkilld.record.account.recall import DEADLINE_NS, Means, Progress, Recall, Recalled
from oomkilld.record.deliver.checkpoint import Kept
from oomkilld.record.deliver.delivery import Delivery, Target
from oomkilld.record.deliver.sink import STORED_AFTER_NS
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.lookup import inquiry
from oomkilld.record.lookup.inquiry import Process
from oomkilld.record.lookup.protocol import ALIVE, END, KILL, LOG_IS_READ, Asked
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import SentEntry, sent_ids_in_memory
from tests.unit.fakes import FakeClock, FakeConfirm, FakeJournal, FakeLedger, FakeLooker, FakePipeline
from tests.unit.records import id_of, kill_of

LATER = 10**18
# Everything is sent and stored, until long after.
STORED = Progress(drained_ns=LATER, position=100, stored=100, entries=7, repeats=2)
FAILED = "Failed to search the kernel log for missed kills"


def entry_of(pid: int, repeats: int = 0) -> SentEntry:
    return SentEntry(bytes.fromhex(id_of(kill_of(victim_pid=pid))), 0, repeats)


def kill(pid: int, repeats: int = 0) -> bytes:
    return marshal.dumps((KILL, tuple(kill_of(victim_pid=pid)), repeats))


def end(without_entry: int, known: int = 7, repeats: int = 2, *, whole: bool = False) -> bytes:
    return marshal.dumps((END, ("CONSTRAINT_NONE",), without_entry, known, repeats, int(whole)))


class Scene:
    """A recall, and the process that searches. ``messages``: from that process."""

    def __init__(self, *messages: bytes) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger()
        self.looker = FakeLooker(*messages)
        self.pipeline = FakePipeline()
        self.asked: list[int] = []
        self.since_ns: int | None = None
        self.refuses_process = False
        self.constraints: Sequence[str] = ()
        self.warnings: list[str] = []
        self.events: list[str] = []
        self.journal = FakeJournal(self.events)
        self.confirm = FakeConfirm()
        self.tracker = StoreTracker(self.journal, self.clock)
        self.sent_ids = sent_ids_in_memory()
        self.recall = Recall(Means(self.start, self.found, self.deliver), self.ledger, self.clock, self.warnings.append)

    def start(self, kills: int, since_ns: int) -> FakeLooker:
        self.asked.append(kills)
        self.since_ns = since_ns
        if self.refuses_process:
            raise OSError(12, "Cannot allocate memory")
        return self.looker

    def found(self) -> FoundKills:
        return FoundKills(Kept(self.ledger, self.sent_ids), id_of)

    def kept_ids(self) -> list[SentEntry]:
        return list(self.sent_ids.between(0, self.ledger.totals.ids))

    def deliver(self, found: FoundKills, constraints: Sequence[str]) -> Delivery:
        self.constraints = constraints
        target = Target(self.journal, self.tracker, self.confirm)
        return Delivery(found, target, self.pipeline, self.warnings.append)

    def finish(self) -> Recalled | None:
        """Check as the loop does, until the search is over or nothing is due any more."""
        recalled = self.check()
        while recalled is None:
            dues = [due for due in (self.recall.due_ns, self.tracker.due_ns) if due is not None]
            if not dues:
                break
            self.clock.now_ns = max(min(dues), self.clock.now_ns + 1)
            recalled = self.check()
        return recalled

    def check(self) -> Recalled | None:
        self.tracker.settle()
        return self.recall.check(STORED)

    def counts(self) -> tuple[int, int]:
        return self.ledger.totals.recalled, self.ledger.totals.recalled_repeats


def test_kills_found_get_entries_and_the_search_is_over_once_these_are_stored() -> None:
    scene = Scene(LOG_IS_READ, kill(1), kill(2, repeats=1), end(2))
    assert scene.recall.check(STORED) is None
    assert scene.recall.due_ns is None
    scene.recall.begin(5)
    assert scene.asked == [5]
    assert scene.recall.check(STORED) is None
    assert scene.events == ["sent 1", "sent 2"]
    assert scene.looker.killed
    # The ledger counts them at once. If this run is killed, the next one looks them up by their ids.
    assert scene.counts() == (2, 1)
    assert scene.kept_ids() == [entry_of(1), entry_of(2, repeats=1)]
    assert scene.recall.busy
    assert scene.finish() == Recalled(more=False)
    assert scene.clock.now_ns >= STORED_AFTER_NS
    assert not scene.recall.busy
    assert scene.constraints == ("CONSTRAINT_NONE",)
    assert scene.counts() == (2, 1)


def test_a_second_search_continues_after_the_first() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(2))
    scene.recall.begin(2)
    assert scene.finish() == Recalled(more=True)
    scene.looker = FakeLooker(LOG_IS_READ, kill(2), end(1))
    scene.recall.begin(1)
    assert scene.finish() == Recalled(more=False)
    assert scene.events == ["sent 1", "sent 2"]
    assert scene.counts() == (2, 0)


def test_the_journal_is_read_only_after_all_kills_seen_before_the_log_was_read_are_stored() -> None:
    scene = Scene(LOG_IS_READ)
    scene.clock.now_ns = 1000
    scene.recall.begin(1)
    # Draining before the log was read is not enough: the log may have the line of a later kill.
    scene.recall.check(STORED._replace(drained_ns=999))
    scene.recall.check(STORED._replace(drained_ns=None))
    assert not scene.looker.gone_on
    assert scene.recall.due_ns == 1000 + 20 * 10**6
    # At growing intervals: journald may accept nothing for hours.
    times = []
    for _ in range(10):
        assert scene.recall.due_ns is not None
        scene.clock.now_ns = scene.recall.due_ns
        scene.recall.check(STORED._replace(drained_ns=None))
        times.append((scene.recall.due_ns - scene.clock.now_ns) // 10**6)
    assert times == [40, 80, 160, 320, 640, 1280, 2000, 2000, 2000, 2000]
    scene.recall.check(STORED._replace(drained_ns=1000, position=200, stored=150))
    assert not scene.looker.gone_on
    # A slow journald is no failure.
    scene.clock.now_ns += 2 * DEADLINE_NS
    scene.recall.check(STORED._replace(position=300, stored=199))
    assert not scene.looker.gone_on
    assert scene.recall.due_ns == scene.clock.now_ns + 2 * 10**9
    # It is not enough that the entries of this run are stored.
    scene.recall.check(STORED._replace(position=300, stored=None))
    assert not scene.looker.gone_on
    scene.recall.check(STORED._replace(drained_ns=1000, position=400, stored=200))
    assert scene.looker.gone_on
    assert scene.warnings == []


def test_it_waits_for_the_entries_of_earlier_runs_even_if_this_run_saw_no_kill() -> None:
    scene = Scene(LOG_IS_READ)
    scene.recall.begin(1)
    nothing = STORED._replace(position=0, stored=None)
    scene.recall.check(nothing)
    assert not scene.looker.gone_on
    assert scene.recall.due_ns == 20 * 10**6
    scene.recall.check(nothing._replace(stored=0))
    assert scene.looker.gone_on


def test_draining_before_the_log_was_read_is_not_enough() -> None:
    scene = Scene()
    scene.recall.begin(1)
    scene.recall.check(STORED)
    assert not scene.looker.gone_on
    scene.clock.now_ns = 50
    scene.looker.messages.append(LOG_IS_READ)
    scene.recall.check(STORED._replace(drained_ns=49))
    assert not scene.looker.gone_on


def test_no_further_search_is_worthwhile_if_none_of_the_kills_arrived() -> None:
    scene = Scene(LOG_IS_READ, end(7))
    scene.recall.begin(1)
    # The process sent none of its 7 kills.
    assert scene.finish() == Recalled(more=False)


def test_impossible_kills_do_not_cause_search_after_search() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(9))
    scene.pipeline.reasons[kill_of(victim_pid=1)] = "no"
    scene.recall.begin(9)
    assert scene.finish() == Recalled(more=False)
    assert scene.counts() == (0, 0)


def test_whole_means_a_whole_log_and_an_entry_for_each_kill_in_it() -> None:
    for told, refused, whole in (
        ([end(0, whole=True)], False, True),
        ([kill(1), end(1, whole=True)], False, True),
        ([kill(1), end(1, whole=False)], False, False),
        ([kill(1), end(1, whole=True)], True, False),
        ([end(1, whole=True)], False, False),
    ):
        scene = Scene(LOG_IS_READ, *told)
        if refused:
            scene.pipeline.reasons[kill_of(victim_pid=1)] = "no"
        scene.recall.begin(3, 77)
        assert scene.finish() == Recalled(more=False, whole=whole)
        assert scene.since_ns == 77
    # The result of an earlier search does not count after a failure.
    scene = Scene(LOG_IS_READ, end(0, whole=True))
    scene.recall.begin(1)
    scene.finish()
    scene.refuses_process = True
    scene.recall.begin(1)
    assert scene.finish() == Recalled(more=False, whole=False)


def test_while_entries_are_sent_the_ledger_notes_that_it_may_not_know_one() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(1))
    scene.ledger.commit(Totals(compared=1))
    scene.recall.begin(1)
    scene.recall.check(STORED)
    assert scene.events == ["sent 1"]
    assert scene.ledger.totals.compared == 0
    scene.finish()
    assert scene.ledger.totals.compared == 1


def test_entries_that_a_new_ledger_does_not_know_are_not_missing() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(1, known=10, repeats=3))
    scene.recall.begin(5)
    assert scene.finish() == Recalled(more=False)
    assert scene.counts() == (1 + 3, 1)
    # Only the first time: later, an unknown entry may just not be counted yet.
    scene.looker = FakeLooker(LOG_IS_READ, end(0, known=20, repeats=9))
    scene.recall.begin(5)
    scene.finish()
    assert scene.counts() == (1 + 3, 1)


@pytest.mark.parametrize(
    ("known", "repeats", "counts"), [(5, 9, (0, 0)), (7 + 9, 2 + 9, (5, 0)), (7 + 4, 2 + 9, (4, 1))]
)
def test_unknown_entries_count_only_up_to_the_missing_kills(known: int, repeats: int, counts: tuple[int, int]) -> None:
    scene = Scene(LOG_IS_READ, end(0, known, repeats))
    scene.recall.begin(5)
    scene.finish()
    assert scene.counts() == counts


def test_refused_entries_are_retried() -> None:
    scene = Scene(LOG_IS_READ, kill(1), end(1))
    scene.journal.refuses = True
    scene.recall.begin(1)
    assert scene.recall.check(STORED) is None
    assert scene.recall.due_ns == 250 * 10**6
    assert scene.recall.check(STORED) is None
    assert scene.counts() == (0, 0)
    scene.journal.refuses = False
    assert scene.finish() == Recalled(more=False)


@pytest.mark.parametrize("stored", [True, False])
def test_after_a_restart_of_journald_entries_not_stored_are_sent_again(stored: bool) -> None:  # a case
    scene = Scene(LOG_IS_READ, kill(1, repeats=1), end(1))
    scene.recall.begin(2)
    scene.check()
    scene.journal.started = 2
    scene.journal.refuses = True
    scene.clock.now_ns = STORED_AFTER_NS
    scene.check()
    # If the run ended now, the next one would look the entry up.
    assert scene.counts() == (1, 1)
    assert scene.kept_ids() == [entry_of(1, repeats=1)]
    scene.journal.refuses = False
    scene.confirm.waits = True
    for _ in range(3):
        assert scene.recall.check(STORED) is None
        assert (scene.recall.due_ns or 0) > scene.clock.now_ns, "the loop would spin"
        scene.clock.now_ns = scene.recall.due_ns or 0
    assert scene.events == ["sent 1"]
    scene.confirm.waits = False
    scene.confirm.pids = (1,) if stored else ()
    assert scene.finish() == Recalled(more=False)
    assert scene.events == ["sent 1"] * (1 if stored else 2)
    assert scene.kept_ids() == [entry_of(1, repeats=1)] * (1 if stored else 2)
    assert scene.counts() == (1, 1)


@pytest.mark.parametrize("messages", [(b"",), (LOG_IS_READ, b""), (LOG_IS_READ, kill(1), b"")])
def test_a_process_that_ends_early_is_started_again(messages: tuple[bytes, ...]) -> None:
    scene = Scene(*messages)
    scene.recall.begin(3)
    assert scene.recall.check(STORED) is None
    assert scene.looker.killed
    assert scene.warnings == [f"{FAILED}: the process ended early, retrying"]
    assert scene.recall.due_ns == 5 * 10**9
    scene.looker = FakeLooker(LOG_IS_READ, kill(1), end(1))
    assert scene.finish() == Recalled(more=False)
    assert scene.events == ["sent 1"]
    assert scene.asked == [3, 3]


@pytest.mark.parametrize(
    "told", [b"nonsense", marshal.dumps((KILL, (1, 2), 0)), marshal.dumps((END, ())), marshal.dumps(7)]
)
def test_messages_of_another_version_do_not_end_the_service(told: bytes) -> None:
    scene = Scene(LOG_IS_READ, kill(1), told)
    scene.recall.begin(3)
    assert scene.recall.check(STORED) is None
    assert scene.looker.killed
    (warning,) = scene.warnings
    assert warning.startswith(f"{FAILED}: it sent an unknown message (")
    assert scene.ledger.totals == Totals()
    assert scene.recall.due_ns == 5 * 10**9


def test_a_process_that_reports_to_be_alive_may_take_any_time() -> None:
    scene = Scene()
    scene.recall.begin(3)
    for message in (ALIVE, ALIVE, LOG_IS_READ, ALIVE, ALIVE):
        scene.clock.now_ns += DEADLINE_NS - 1
        scene.looker.messages.append(message)
        scene.recall.check(STORED)
    scene.clock.now_ns += DEADLINE_NS - 1
    scene.looker.messages += [kill(1), end(1)]
    assert scene.finish() == Recalled(more=False)
    assert scene.events == ["sent 1"]
    assert scene.warnings == []


@pytest.mark.parametrize("messages", [(), (LOG_IS_READ, kill(1))])
def test_a_silent_process_is_killed(messages: tuple[bytes, ...]) -> None:
    scene = Scene(*messages)
    scene.recall.begin(3)
    assert scene.recall.check(STORED) is None
    assert scene.recall.due_ns == DEADLINE_NS
    scene.clock.now_ns = DEADLINE_NS
    scene.recall.check(STORED)
    assert scene.looker.killed
    assert scene.warnings == [f"{FAILED}: no answer within 60 s, retrying"]


def test_a_killed_process_that_does_not_die_delays_nothing() -> None:
    scene = Scene(b"")
    looker = scene.looker
    looker.dead = False
    scene.recall.begin(3)
    scene.recall.check(STORED)
    scene.looker = FakeLooker(LOG_IS_READ, end(0))
    assert scene.finish() == Recalled(more=False)
    assert not looker.put_away
    looker.dead = True
    scene.recall.check(STORED)
    assert looker.put_away


def test_if_no_process_can_be_started_the_search_fails_after_some_retries() -> None:
    scene = Scene()
    scene.refuses_process = True
    scene.recall.begin(3)
    assert scene.recall.check(STORED) is None
    assert scene.finish() == Recalled(more=False)
    assert scene.clock.now_ns == (5 + 30 + 120) * 10**9
    reason = "no process could be started: Cannot allocate memory"
    assert scene.warnings == [*[f"{FAILED}: {reason}, retrying"] * 3, f"{FAILED}: {reason}, ignoring"]
    # The next gap gets new attempts.
    scene.refuses_process = False
    scene.looker.messages += [LOG_IS_READ, kill(1), end(1)]
    scene.recall.begin(1)
    assert scene.finish() == Recalled(more=False)
    assert scene.events == ["sent 1"]


def test_at_the_end_sent_entries_count_and_the_process_is_killed() -> None:
    scene = Scene(LOG_IS_READ, kill(1, repeats=2), end(1))
    scene.recall.begin(3)
    scene.recall.check(STORED)
    scene.recall.end()
    assert scene.counts() == (1, 2)
    scene = Scene(LOG_IS_READ)
    scene.recall.begin(3)
    scene.recall.check(STORED)
    scene.recall.end()
    assert scene.looker.killed
    assert scene.ledger.totals == Totals()


def test_a_real_process_answers_and_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "import socket; s = socket.socket(fileno=3); asked = s.recv(999); s.send(asked + s.recv(1)); s.recv(1)"
    monkeypatch.setattr(inquiry, "_BOOTSTRAP", answer)
    asked = Asked(5, 512, b"boot", 4096)
    process = Process("unrecorded", asked)
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
    process.kill()
    while not process.reaped():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
