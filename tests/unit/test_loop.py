# SPDX-License-Identifier: Apache-2.0
"""The loop: what it does first, last, and while journald refuses entries."""

import marshal
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from oomkilld.ctl.coverage.service import Status, status_of
from oomkilld.host.clock import KernelClock
from oomkilld.host.procfs import ProcReader
from oomkilld.record.account.audit import Audit
from oomkilld.record.account.foundkills import FoundKills
from oomkilld.record.account.missed import MissedNotice
from oomkilld.record.account.recall import Means, Recall
from oomkilld.record.capture.source import Seen
from oomkilld.record.cmdline import reader as cmdlinereader
from oomkilld.record.cmdline.helper import Helper
from oomkilld.record.cmdline.reader import VictimReader
from oomkilld.record.deliver.checkpoint import Kept, KeptSource
from oomkilld.record.deliver.confirm import Confirm, Evidence
from oomkilld.record.deliver.delivery import Delivery, Target
from oomkilld.record.deliver.sink import ANOTHER, JournalBusy, JournalRefused, number_of
from oomkilld.record.deliver.storage import Files, Storage
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.kill import Gone, Stuck, Unkillable
from oomkilld.record.levelnotice import LevelChange
from oomkilld.record.log import INFO, Log
from oomkilld.record.lookup.protocol import ALL, END, KILL, LOG_IS_READ
from oomkilld.record.loop import Loop
from oomkilld.record.outcome import Outcome
from oomkilld.record.parts import InForce, Parts
from oomkilld.record.processes import KernelProcesses
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import SentEntry, sent_ids_in_memory
from oomkilld.record.stepdown import LevelJudge
from oomkilld.record.unkillable import MAX_WAITING, Unkillables
from oomkilld.service.notify import Notifier
from tests.support import pace
from tests.support.stalls import Stalls
from tests.unit.fakes import FakeJournal, FakeLedger, FakeLooker, FakePipeline, FakeProcesses, FakeRing, FakeTally
from tests.unit.records import ORIGIN, id_of, kill_of, raw_record, raw_release

# Seconds in which the loop does its first work, even on a machine that stalls now and then.
LONG_ENOUGH = min(3.0, 0.3 * pace.patience())
# Most seconds to end in. The layer host asserts the promised second; here, other tests use the processors, too.
END_WITHIN = pace.patience()


class SlowJournal(FakeJournal):
    """Takes some milliseconds for each entry."""

    seconds = 0.005

    def send(self, fields: Sequence[bytes]) -> None:
        time.sleep(self.seconds)
        super().send(fields)


class FloodedJournal(FakeJournal):
    """Its queue is full, but a send that waits finds room: one send in each turn may wait."""

    def __init__(self, events: list[str]) -> None:
        super().__init__(events)
        self.may_wait = False

    def begin_turn(self) -> None:
        super().begin_turn()
        self.may_wait = True

    def send(self, fields: Sequence[bytes]) -> None:
        if not self.may_wait:
            raise JournalBusy("its queue is full")
        self.may_wait = False
        super().send(fields)


class HangingJournal(FakeJournal):
    """Its queue stays full, even for the one send in each turn that may wait."""

    def begin_turn(self) -> None:
        super().begin_turn()
        self.refuses = False

    def send(self, _fields: Sequence[bytes]) -> None:
        self.ping()

    def ping(self) -> None:
        if self.refuses:
            raise JournalBusy("its queue is full")
        self.refuses = True
        raise JournalRefused("its queue is full")


class FewWords(Unkillables):
    """Sends short entries."""

    def __init__(self, journal: FakeJournal) -> None:
        super().__init__(None, ORIGIN, journal)  # type: ignore[arg-type]
        self._journal = journal

    def tell(self, unkillable: Unkillable) -> None:
        self._journal.send([b"unkillable, %d times" % unkillable.times])


class FakeRecorder:
    """Wants a turn of the loop every 10 ms, and ends the loop in the 20th; ``signs``: how often one woke it."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.turns: list[bool] = []
        self.due_ns: int | None = None
        self.signs = 0
        self.ended = False

    def fileno(self) -> int:
        return self.fd

    def stirred(self) -> None:
        os.eventfd_read(self.fd)
        self.signs += 1

    def check(self, *, may_send: bool) -> None:
        assert not self.ended
        self.turns.append(may_send)
        self.due_ns = time.monotonic_ns() + 10**7
        if len(self.turns) == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    def end(self) -> None:
        os.close(self.fd)
        self.ended = True


class EndingJournal(FakeJournal):
    """Ends the loop when it receives a ``missed`` entry."""

    def send(self, fields: Sequence[bytes]) -> None:
        super().send(fields)
        if b"missed" in fields[0]:
            os.kill(os.getpid(), signal.SIGTERM)


def _terminate(handler_before: object) -> None:
    """Send SIGTERM once the loop has replaced ``handler_before``."""
    while signal.getsignal(signal.SIGTERM) is handler_before:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


class Scene:
    """A loop, a manager that listens, and a ring with ``kills`` kills. ``processes`` None: those of this machine.

    ``doubtful``: number of entries of an earlier run that are not known to be stored.
    """

    def __init__(
        self,
        directory: Path,
        journal: FakeJournal,
        kills: int,
        processes: KernelProcesses | None,
        watchdog: float | None,
        helper: Helper | None,
        doubtful: int = 0,
        instead: str = "",
        recorder: "FakeRecorder | None" = None,
    ) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.manager.bind(str(directory / "notify"))
        self.notifier = Notifier(str(directory / "notify"))
        self._heard: list[str] = []
        self.journal = journal
        self.remembered: list[str] = []
        self.tally = FakeTally()
        self.in_the_log: list[int] = []
        self.ledger = FakeLedger(baseline=0)
        self.kernel_count = doubtful
        self.ledger.totals = Totals(source=2, ids=doubtful, entries=doubtful, earlier_kills=doubtful)
        self.ring = FakeRing([], *[raw_record()] * kills)
        self.ring_fd, self.ring_write_fd = os.pipe()
        clock = KernelClock()

        def missed(count: int, _total: int, reason: str) -> list[bytes]:
            return [b"%d missed, %s" % (count, reason.encode())]

        log = Log(INFO, journal)

        def tell(found: Stuck | Gone) -> None:
            journal.send([type(found).__name__.encode(), b"%d" % found.victim.pid])

        outcome = Outcome(tell, processes or KernelProcesses(ProcReader(), 0), clock, log.warning, every_exit=False)
        self.unkillables = FewWords(journal)
        self.pipeline = FakePipeline(log.warning, outcome)
        self.stored = [ALL]
        sent_ids = sent_ids_in_memory()
        for number in range(doubtful):
            sent_ids.keep(number, SentEntry(number.to_bytes(16, "big"), source=1))
        self.kept = Kept(self.ledger, sent_ids)
        tracker = StoreTracker(journal, clock)
        evidence = Evidence(sent_ids, self.read_stored, id_of)
        confirm = Confirm(evidence, tracker, self.ledger, clock, log.warning)
        self.target = Target(journal, tracker, confirm)
        source = KeptSource(self.ring, self.kept, id_of, outlives=False)
        delivery = Delivery(source, self.target, self.pipeline, log.warning)
        reader = VictimReader(lambda: helper, lambda ns: ns, clock, log.warning) if helper else None
        if reader:
            self.pipeline.ready = reader.ready  # type: ignore[method-assign]
        parts = Parts(
            journal,
            tracker,
            delivery,
            outcome,
            self.unkillables,
            Audit(self.ledger, self.tally, lambda: self.kernel_count, clock, log.warning),
            Recall(Means(self.look_for, self.found, self.deliver_found), self.ledger, clock, log.warning),
            confirm,
            MissedNotice(journal, tracker, self.ledger, missed),
            LevelChange(journal, [b"level"], lambda: self.remembered.append("level")),
            LevelJudge(clock, "tracepoint"),
            (reader,) if reader else (),
            reader,
            recorder,  # type: ignore[arg-type]
            Storage(journal, Files(str(directory)), (), log.warning),
            self.notifier,
            log,
            clock,
        )
        self.log = log
        self.clock = clock
        self.loop = Loop(parts, self.ring_fd, InForce("fentry", instead), watchdog)

    def look_for(self, kills: int, _since_ns: int) -> FakeLooker:
        """A search that finds the first ``kills`` of ``in_the_log``."""
        found = [(KILL, tuple(kill_of(victim_pid=pid)), 0) for pid in self.in_the_log[:kills]]
        return FakeLooker(LOG_IS_READ, *map(marshal.dumps, [*found, (END, (), len(found), 0, 0, 0)]))

    def found(self) -> FoundKills:
        return FoundKills(self.kept, id_of)

    def deliver_found(self, found: FoundKills, _constraints: Sequence[str]) -> Delivery:
        return Delivery(found, self.target, FakePipeline(), self.log.warning)

    def read_stored(self, _entries: int, _shown: bool = False) -> FakeLooker:
        looker = FakeLooker(*self.stored)
        looker.go_on()  # the real process does not wait for GO_ON
        return looker

    def run(self, seconds: float) -> float:
        """Run for ``seconds``, then send SIGTERM. Returns how long the end took, without this machine's stalls."""
        timer = threading.Timer(seconds, _terminate, (signal.getsignal(signal.SIGTERM),))
        timer.start()
        started = time.monotonic()
        with self._listening(), Stalls() as stalls:
            self.loop.run()
            ended = time.monotonic()
        timer.cancel()
        return ended - started - seconds - stalls.seconds

    def run_until_told(self, start: str, seconds: float) -> str | None:
        """Run until the manager has a message that begins with ``start``, then send SIGTERM.

        Returns the message; None: none arrived within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        heard: list[str] = []

        def listen() -> None:
            while not heard and time.monotonic() < deadline:
                heard.extend(message for message in self._queued() if message.startswith(start))
                time.sleep(0.02)
            _terminate(before)

        before = signal.getsignal(signal.SIGTERM)
        listener = threading.Thread(target=listen)
        listener.start()
        self.loop.run()
        listener.join()
        return heard[0] if heard else None

    def told(self) -> list[str]:
        return self._heard + self._queued()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Read messages as a manager does: an unread queue is full after ten (net.unix.max_dgram_qlen)."""
        ended = threading.Event()

        def listen() -> None:
            while not ended.wait(0.02):
                self._heard += self._queued()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            ended.set()
            listener.join()

    def _queued(self) -> list[str]:
        messages = []
        try:
            while True:
                messages.append(self.manager.recv(1000).decode())
        except BlockingIOError:
            return messages


@pytest.fixture
def signals() -> Iterator[None]:
    """Restore the signal handlers, which the loop replaces."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@contextmanager
def scene(
    directory: Path,
    journal: FakeJournal,
    kills: int,
    processes: KernelProcesses | None = None,
    watchdog: float | None = None,
    helper: Helper | None = None,
    doubtful: int = 0,
    instead: str = "",
    recorder: "FakeRecorder | None" = None,
) -> Iterator[Scene]:
    made = Scene(directory, journal, kills, processes, watchdog, helper, doubtful, instead, recorder)
    try:
        yield made
    finally:
        made.loop.close()
        made.manager.close()
        made.notifier.close()
        os.close(made.ring_fd)
        os.close(made.ring_write_fd)


@pytest.mark.usefixtures("signals")
def test_kills_that_wait_at_the_start_are_sent_and_readiness_is_reported(tmp_path: Path) -> None:
    events: list[str] = []
    with scene(tmp_path, FakeJournal(events), kills=3) as made:
        made.tally.counts = Seen(kills=6, repeats=1, lost=2)
        made.kernel_count = 6
        assert made.run(LONG_ENOUGH) < END_WITHIN
        told = made.told()
    assert events == ["sent 4242", "sent 4242", "sent 4242", "level", "2 missed, ring-full"]
    assert made.remembered == ["level"]
    assert told[0] == "WATCHDOG=1\nSTATUS="
    assert told[1] == "READY=1\nSTATUS=Level fentry: 3 kills recorded, 1 repeat, 0 missing"
    assert told[-2:] == ["STOPPING=1", "STATUS=Level fentry: 3 kills recorded, 1 repeat, 2 missing"]


@pytest.mark.usefixtures("signals")
def test_kills_are_sent_before_unkillable_decisions(tmp_path: Path) -> None:
    events: list[str] = []
    with scene(tmp_path, FakeJournal(events), kills=2) as made:
        for times in range(1, MAX_WAITING + 3):
            made.unkillables.add(Unkillable(kill_of(), times))
        made.run(LONG_ENOUGH)
    last = [f"unkillable, {times} times" for times in range(3, MAX_WAITING + 3)]
    assert [event for event in events if event != "level"] == ["sent 4242", "sent 4242", *last]
    # They do not use up the one wait per turn either: the back-off makes attempts rare while journald hangs.
    journal = HangingJournal([])
    (tmp_path / "hanging").mkdir()
    with scene(tmp_path / "hanging", journal, kills=2) as made:
        made.unkillables.add(Unkillable(kill_of()))
        made.run(LONG_ENOUGH)
    print(f"{journal.turns} turns in {LONG_ENOUGH} s")
    assert journal.turns < 60


@pytest.mark.usefixtures("signals")
def test_the_flight_recorder_gets_its_turns_and_its_signs(tmp_path: Path) -> None:
    recorder = FakeRecorder()
    os.eventfd_write(recorder.fd, 1)
    with scene(tmp_path, FakeJournal([]), kills=1, recorder=recorder) as made:
        made.loop.run()
    assert (recorder.signs, recorder.ended, recorder.turns) == (1, True, [True] * 20)


@pytest.mark.usefixtures("signals")
def test_while_journald_refuses_kills_the_flight_recorder_sends_nothing(tmp_path: Path) -> None:
    journal, recorder = FakeJournal([]), FakeRecorder()
    journal.refuses = True
    with scene(tmp_path, journal, kills=1, recorder=recorder) as made:
        made.loop.run()
    assert recorder.turns == [False] * 20


@pytest.mark.usefixtures("signals")
def test_the_status_uses_the_singular_for_one_kill(tmp_path: Path) -> None:
    with scene(tmp_path, FakeJournal([]), kills=1) as made:
        made.tally.counts = Seen(kills=2, repeats=1, lost=0)
        made.kernel_count = 2
        made.run(LONG_ENOUGH)
        (*_before, status) = made.told()
    assert status == "STATUS=Level fentry: 1 kill recorded, 1 repeat, 0 missing"
    assert status_of(status.removeprefix("STATUS=")) == Status("fentry", 1, 1, 0, 0, ())


@pytest.mark.usefixtures("signals")
def test_the_status_names_the_settings_in_force_if_the_files_are_invalid(tmp_path: Path) -> None:
    with scene(tmp_path, FakeJournal([]), kills=0, instead="the defaults") as made:
        made.run(LONG_ENOUGH)
        (*_before, status) = made.told()
    assert status.endswith("0 missing; the configuration is invalid: recording with the defaults")
    read = status_of(status.removeprefix("STATUS="))
    assert read is not None
    assert read.troubles == ("the configuration is invalid: recording with the defaults",)


@pytest.mark.usefixtures("signals")
def test_sigterm_ends_it_within_a_second_and_unsent_kills_are_reported(tmp_path: Path) -> None:
    events: list[str] = []
    with scene(tmp_path, SlowJournal(events), kills=1000) as made:
        took = made.run(LONG_ENOUGH)
        told = made.told()
    sent = events.count("sent 4242")
    assert took < END_WITHIN
    assert 0 < sent < 1000
    assert events[-1] == f"{1000 - sent} missed, stopped"
    assert told[-1].endswith(f"{1000 - sent} lost at the end")


@pytest.mark.usefixtures("signals")
def test_missing_kills_that_the_journal_refuses_at_the_end_are_reported_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    journal = FakeJournal([])
    journal.refuses = True
    with scene(tmp_path, journal, kills=5) as made:
        assert made.run(LONG_ENOUGH) < END_WITHIN
        told = made.told()
    assert "the next start in this boot reports those left (5 kills have no entry since boot)" in capfd.readouterr().err
    assert "waiting for journald: its queue is full" in told[1]


def count_waits(made: Scene) -> list[float]:
    """The times at which the loop began to wait; filled while it runs."""
    waited: list[float] = []
    plain_wait = made.loop._wait

    def counting_wait() -> None:
        waited.append(time.monotonic())
        plain_wait()

    made.loop._wait = counting_wait  # type: ignore[method-assign]
    return waited


@pytest.mark.usefixtures("signals")
def test_it_does_not_spin_while_journald_refuses_entries(tmp_path: Path) -> None:
    journal = FakeJournal([])
    journal.refuses = True
    tried = 0
    plain_send = journal.send

    def counting_send(fields: Sequence[bytes]) -> None:
        nonlocal tried
        tried += 1
        plain_send(fields)

    journal.send = counting_send  # type: ignore[method-assign]
    with scene(tmp_path, journal, kills=1) as made:
        os.write(made.ring_write_fd, b"x")
        waited = count_waits(made)
        made.run(1.0)
    assert 2 <= tried <= 40
    assert len(waited) <= 60


@pytest.mark.usefixtures("signals")
def test_while_others_flood_journald_each_turn_sends_an_entry(tmp_path: Path) -> None:
    events: list[str] = []

    class EndingJournal(FloodedJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if events.count("sent 4242") == 50:
                os.kill(os.getpid(), signal.SIGTERM)

    with scene(tmp_path, EndingJournal(events), kills=50) as made:
        plain_end, before_the_end = made.loop._drain_to_the_end, [0]

        def end() -> None:
            before_the_end[0] = events.count("sent 4242")
            plain_end()

        made.loop._drain_to_the_end = end  # type: ignore[method-assign]
        made.run(5)
    assert before_the_end == [50]
    assert not any("journald took no entries" in event for event in events)


@pytest.mark.usefixtures("signals")
def test_while_others_flood_journald_the_last_kills_are_sent_at_the_end(tmp_path: Path) -> None:
    events: list[str] = []
    with scene(tmp_path, FloodedJournal(events), kills=0) as made:
        plain_end = made.loop._drain_to_the_end

        def end() -> None:
            made.ring.records += [raw_record()] * 20
            plain_end()

        made.loop._drain_to_the_end = end  # type: ignore[method-assign]
        assert made.run(LONG_ENOUGH) < END_WITHIN
    assert events.count("sent 4242") == 20


@pytest.mark.usefixtures("signals")
def test_an_end_during_a_lookup_sends_nothing_again_and_keeps_the_counts(tmp_path: Path) -> None:
    events: list[str] = []

    class RestartedJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0] == b"level":
                self.started = 2

    with scene(tmp_path, RestartedJournal(events), kills=3) as made:
        made.stored = []  # the lookup process never answers
        plain_end = made.loop._drain_to_the_end

        def end() -> None:
            assert made.loop._parts.delivery.waiting
            made.ring.records.append(raw_record(victim_pid=4))
            plain_end()

        made.loop._drain_to_the_end = end  # type: ignore[method-assign]
        assert made.run(2 * LONG_ENOUGH) < END_WITHIN
        told = [int(count) for message in made.told() for count in re.findall(r"(\d+) kills recorded", message)]
    assert events == ["sent 4242", "sent 4242", "sent 4242", "level", "sent 4"]
    assert made.ledger.totals.sent_to == number_of(ANOTHER)
    assert told == sorted(told)
    assert told[-1] == 4


@pytest.mark.usefixtures("signals")
def test_readiness_is_repeated_until_the_manager_takes_it(tmp_path: Path) -> None:
    with scene(tmp_path, FakeJournal([]), kills=0) as made:
        while made.notifier.send("X=1"):
            pass
        told = made.run_until_told("READY=1\n", 20.0)
    assert told is not None
    assert told.startswith("READY=1\nSTATUS=Level fentry: 0 kills")


@pytest.mark.usefixtures("signals")
def test_a_message_that_a_busy_manager_refused_is_sent_again_long_before_the_next_tick(tmp_path: Path) -> None:
    """Others may flood the manager's socket, too."""
    heard: list[str] = []
    with scene(tmp_path, FakeJournal([]), kills=0, watchdog=30.0) as made:
        while made.notifier.send("X=1"):
            pass

        def listen() -> None:
            time.sleep(0.5)  # the manager is busy
            deadline = time.monotonic() + 4
            while not any("WATCHDOG=1" in message for message in heard) and time.monotonic() < deadline:
                heard.extend(made.told())
                time.sleep(0.02)
            _terminate(before)

        before = signal.getsignal(signal.SIGTERM)
        listener = threading.Thread(target=listen)
        listener.start()
        made.loop.run()
        listener.join()
    assert any("WATCHDOG=1" in message for message in heard)


@pytest.mark.usefixtures("signals")
def test_without_a_manager_it_sleeps(tmp_path: Path) -> None:
    with scene(tmp_path, FakeJournal([]), kills=0) as made:
        made.loop._parts = made.loop._parts._replace(notifier=Notifier(None))
        waited = count_waits(made)
        made.run(2.5)
    assert len(waited) <= 4


@pytest.mark.usefixtures("signals")
def test_too_many_impossible_records_end_it_after_the_rest_is_sent(tmp_path: Path) -> None:
    journal = FakeJournal([])
    with scene(tmp_path, journal, 2) as it:
        it.ring.records[:0] = [b"not one"] * 3
        it.run(seconds=5)
        assert journal.events.count("sent 4242") == 2
        assert "3 missed, record-rejected" in journal.events


@pytest.mark.usefixtures("signals")
def test_it_wakes_when_a_victim_is_due_and_when_it_leaves(tmp_path: Path) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    started_ns = ProcReader().process_stat(victim.pid).start_ticks * 10**9 // os.sysconf("SC_CLK_TCK")
    events: list[str] = []

    class EndingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0] == b"Stuck":
                victim.kill()
            if fields[0] == b"Gone":
                os.kill(os.getpid(), signal.SIGTERM)

    with scene(tmp_path, EndingJournal(events), kills=0) as made:
        killed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 9_700_000_000
        made.ring.records.append(
            raw_record(victim_pid=victim.pid, victim_start_boottime_ns=started_ns, kill_boottime_ns=killed_ns)
        )
        left = -made.run(20)
    victim.wait()
    assert events == [f"sent {victim.pid}", "level", f"Stuck {victim.pid}", f"Gone {victim.pid}"]
    assert left > 10, "only the end woke it"


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("watchdog", [0.3, None], ids=["at a tick", "at the end"])
def test_the_number_of_unwatched_victims_is_logged(tmp_path: Path, watchdog: float | None) -> None:
    processes = FakeProcesses()
    processes.obstacle = "too dark"
    events: list[str] = []

    class EndingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if b"too dark" in fields[0]:
                os.kill(os.getpid(), signal.SIGTERM)

    seconds = 5 if watchdog else 0.5
    with scene(tmp_path, EndingJournal(events), 1, processes, watchdog) as made:
        left = -made.run(seconds)
    said = "MESSAGE=Failed to watch 1 victim to the end: too dark, ignoring PRIORITY=4 SYSLOG_IDENTIFIER=oomkilld"
    assert events.count(said) == 1
    assert (left > 2) == (watchdog is not None)


@pytest.mark.usefixtures("signals")
def test_a_release_that_woke_nobody_is_read_before_its_victim_is_looked_at(tmp_path: Path) -> None:
    processes = FakeProcesses()
    killed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 8_500_000_000
    events: list[str] = []

    class ReleasingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0] == b"level":  # the ring has been drained once
                made.ring.records.append(raw_release(boottime_ns=killed_ns + 1))

    with scene(tmp_path, ReleasingJournal(events), 0, processes) as made:
        made.ring.records.append(raw_record(kill_boottime_ns=killed_ns))
        made.run(2.0)
    assert events == ["sent 4242", "level"]
    assert processes.looked_at == []


@pytest.mark.usefixtures("signals")
def test_a_release_of_a_stuck_victim_is_read_at_a_tick(tmp_path: Path) -> None:
    processes = FakeProcesses()
    processes.there = {(4242, 3_000_000_000)}
    killed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 11_000_000_000
    events: list[str] = []

    class ReleasingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0] == b"Stuck":
                made.ring.records.append(raw_release(boottime_ns=killed_ns + 1))
            if fields[0] == b"Gone":
                os.kill(os.getpid(), signal.SIGTERM)

    with scene(tmp_path, ReleasingJournal(events), 0, processes, watchdog=0.9) as made:
        made.ring.records.append(raw_record(kill_boottime_ns=killed_ns))
        left = -made.run(5)
    processes.close()
    assert events == ["sent 4242", "Stuck 4242", "level", "Gone 4242"]
    assert left > 2


@pytest.mark.usefixtures("signals")
def test_missing_kills_are_reported_as_soon_as_the_comparison_is_due(tmp_path: Path) -> None:
    events: list[str] = []

    class EndingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0].startswith(b"3 missed"):
                os.kill(os.getpid(), signal.SIGTERM)

    with scene(tmp_path, EndingJournal(events), kills=0) as made:
        made.kernel_count = 3
        left = -made.run(20)
        assert events == ["level", "3 missed, not-seen"]
        assert left > 10, "only the end said it"


def process_tree(root: Path) -> Path:
    """A /proc with the victim of raw_record(). Returns its command line, which is a pipe."""
    process = root / "proc/4242"
    process.mkdir(parents=True)
    numbers = " ".join(["0"] * 18)
    (process / "stat").write_text(f"4242 (a) S {numbers} 3000000000 0\n")
    os.mkfifo(process / "cmdline")
    return process / "cmdline"


@pytest.mark.usefixtures("signals")
def test_a_kill_is_sent_as_soon_as_its_command_line_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The deadline is far away, so only the answer can wake the loop.
    monkeypatch.setattr(cmdlinereader, "DEADLINE_NS", 60 * 10**9)
    pipe = process_tree(tmp_path)
    events: list[str] = []

    class EndingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0].startswith(b"sent"):
                os.kill(os.getpid(), signal.SIGTERM)

    def write() -> None:
        events.append("written")
        pipe.write_bytes(b"a\0")

    helper = Helper(ProcReader(str(tmp_path / "proc")))
    with scene(tmp_path, EndingJournal(events), 1, helper=helper) as made:
        threading.Timer(0.03, write).start()
        left = -made.run(20)
    assert sorted(events) == ["level", "sent 4242", "written"]
    assert events.index("written") < events.index("sent 4242")
    assert left > 10


@pytest.mark.usefixtures("signals")
def test_a_command_line_that_never_arrives_delays_kills_only_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every command line is requested, however long its kill has waited.
    monkeypatch.setattr(cmdlinereader, "ASKED_WITHIN_NS", 1 << 63)
    process_tree(tmp_path)
    events: list[str] = []
    times: list[float] = []

    class EndingJournal(FakeJournal):
        def send(self, fields: Sequence[bytes]) -> None:
            super().send(fields)
            if fields[0].startswith(b"sent"):
                times.append(time.time())
            if len(times) == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    helpers = [Helper(ProcReader(str(tmp_path / "proc"))) for _ in range(4)]
    with scene(tmp_path, EndingJournal(events), 0, helper=helpers[0]) as made:
        reader = made.loop._parts.command_lines
        assert isinstance(reader, VictimReader)
        left = helpers[1:]
        reader._start = lambda: left.pop(0)
        made.ring.records = [raw_record(victim_tid=tid) for tid in range(1, 5)]
        with Stalls() as stalls:
            ended_early = -made.run(30)
        told = made.told()
    assert ended_early > 10
    assert left == [], "not each of them hung"
    # The first three each wait for their own helper, the fourth for none.
    spans = list(pairwise(times))
    assert all(later - earlier >= 0.1 for earlier, later in spans[:-1])
    earlier, later = spans[-1]
    assert later - earlier - stalls.within(earlier, later) < 0.1
    assert sum("did not answer within 100 ms, ignoring them for an hour" in event for event in events) == 1
    held_up = "command lines of victims are not read: victims of 1 owner blocked the helper process"
    assert f"; {held_up}" in told[-1]


@pytest.mark.usefixtures("signals")
def test_unseen_kills_are_searched_for_in_the_log_and_only_the_rest_is_missing(tmp_path: Path) -> None:
    events: list[str] = []
    with scene(tmp_path, EndingJournal(events), 1, watchdog=0.9) as made:
        made.tally.counts = Seen(1, 0, 0)
        made.kernel_count = 1
        made.in_the_log = [7, 8]
        # Counted after the start, and compared at the next tick, which the short watchdog makes soon.
        timer = threading.Timer(0.1, lambda: setattr(made, "kernel_count", 4))
        timer.start()
        made.run(30)
        told = [message for message in made.told() if "STATUS" in message]
    assert events[:2] == ["sent 4242", "level"]
    assert events[2:] == ["sent 7", "sent 8", "1 missed, not-seen"]
    assert made.ledger.totals.recalled == 2
    assert any("searching the kernel log for 3 kills" in message for message in told)
    assert "3 kills recorded, 0 repeats, 1 missing" in told[-1]


@pytest.mark.usefixtures("signals")
def test_kills_whose_entries_journald_lost_are_searched_for_in_the_log(tmp_path: Path) -> None:
    events: list[str] = []
    with scene(tmp_path, EndingJournal(events), 0, doubtful=3) as made:
        made.stored = [(1).to_bytes(16, "big"), ALL]
        made.in_the_log = [2]
        took = made.run(30)
    assert took < -1, "nothing was said"
    level, lost, *rest = events
    assert level == "level"
    assert "the journal lacks 2 entries of an earlier run (of the last 3)" in lost
    assert rest == ["sent 2", "1 missed, stopped"]
    assert (made.ledger.totals.recalled, made.ledger.totals.entries) == (1, 1)
