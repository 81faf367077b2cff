# SPDX-License-Identifier: Apache-2.0
"""Random lives of the service and of journald: every kill gets an entry, and the ledger counts each once.

Delivery, tracker, confirm, totals and sent ids are the real ones; ring, journald, pipeline and clock are fakes.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest

from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.checkpoint import Kept, KeptSource, go_on_with
from oomkilld.record.deliver.confirm import Confirm, Evidence
from oomkilld.record.deliver.delivery import Delivery, Target
from oomkilld.record.deliver.sink import Incarnation, JournalRefused
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.inquiry import Process
from oomkilld.record.lookup.protocol import ALL
from oomkilld.record.state.ledger import Totals
from oomkilld.record.state.sentids import sent_ids_in_memory
from tests.support import pace
from tests.unit.fakes import FakeClock, FakeJournal, FakeLedger, FakePipeline
from tests.unit.records import raw_record

LIVES = 60
MS = 10**6


class Killed(Exception):
    """The service is killed at this point."""


class Crash:
    """Kills the service at the ``left``-th call of moment() from now; None: at none."""

    def __init__(self) -> None:
        self.left: int | None = None

    def moment(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                raise Killed


class CrashingLedger(FakeLedger):
    """A ledger that outlives the service, which may be killed before and after each commit."""

    def __init__(self, crash: Crash) -> None:
        super().__init__()
        self.totals = Totals(source=1)
        self._crash = crash

    def commit(self, totals: Totals) -> None:
        self._crash.moment()
        assert min(totals) >= 0
        self.totals = totals
        self._crash.moment()


class Journald:
    """Reads its queue now and then, entry by entry, and stores each before it reads the next."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.queue: list[tuple[int, int]] = []  # kill (0: a ping) and run that sent it
        self._reading: list[tuple[int, bool]] = []
        self.stored: list[tuple[int, bool]] = []  # kill, and whether journald found its sender's unit
        self.started = 1
        self.hangs = False
        self.room = dice.choice([3, 10, 100])
        self.running = 0  # number of the present run; 0: the service does not run
        self._known: set[int] = set()

    def read(self) -> None:
        if self.hangs:
            return
        for _ in range(self._dice.choice([0, 1, 5, 50])):
            self.stored += self._reading
            self._reading = []
            if not self.queue:
                break
            kill, run = self.queue.pop(0)
            # It finds the unit of a sender that has ended only if it read something from it before.
            self._known |= {run} & {self.running}
            if kill:
                self._reading = [(kill, run in self._known)]

    def hang_or_go_on(self) -> None:
        """Start or stop hanging, but not between reading and storing: the service relies on an upper limit there."""
        self.stored += self._reading
        self._reading = []
        self.hangs = not self.hangs

    def die(self) -> None:
        self._reading = []
        self.started += 1
        self.hangs = False
        if self._dice.random() < 0.3:
            self.queue = []  # its socket was replaced, and the queue with it


class Sink(FakeJournal):
    """journald as seen by one run of the service."""

    def __init__(self, journald: Journald, run: int, crash: Crash) -> None:
        self._journald = journald
        self._run = run
        self._crash = crash
        self._given = 0
        self._greeted = False

    def send(self, fields: Sequence[bytes]) -> None:
        self._crash.moment()
        self._queue(int(fields[0].split()[1]))
        self._crash.moment()

    def ping(self) -> None:
        self._queue(0)

    def incarnation(self) -> Incarnation:
        return "", self._journald.started

    def mark(self) -> int | None:
        """See journal.Journal: None until something of this run is queued, behind everything of earlier runs."""
        if not self._greeted:
            with suppress(JournalRefused):
                self.ping()
                self._greeted = True
        return self._given if self._greeted else None

    def has_read(self, mark: int) -> bool:
        return sum(run == self._run for _kill, run in self._journald.queue) <= self._given - mark

    def _queue(self, kill: int) -> None:
        if len(self._journald.queue) >= self._journald.room:
            raise JournalRefused("its queue is full")
        self._journald.queue.append((kill, self._run))
        self._given += 1


class Lookup(Process):
    """The process that sends the newest ids in the journal; see lookup/stored.py."""

    def __init__(self, journald: Journald, clock: FakeClock, due_ns: int, entries: int, *, shown: bool) -> None:
        self._journald = journald
        self._clock = clock
        self._due_ns = due_ns
        self._entries, self._shown = entries, shown
        self._messages: Iterator[bytes] | None = None
        self._fd = os.eventfd(0)

    def fileno(self) -> int:
        return self._fd

    def receive(self) -> bytes:
        if self._clock.now_ns < self._due_ns:
            raise BlockingIOError
        if self._messages is None:
            found = [kill for kill, known in self._journald.stored if known or not self._shown]
            ids = [kill.to_bytes(16, "big") for kill in found[-self._entries :]]
            self._messages = iter([*ids, ALL])
        return next(self._messages)

    def go_on(self) -> None:
        pass

    def kill(self) -> None:
        os.close(self._fd)

    def reaped(self) -> bool:
        return True


class Life:
    """One drawn life. ``kills``: number of kills so far; ``records``: those of the present source."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = FakeClock()
        self.crash = Crash()
        self.ledger = CrashingLedger(self.crash)
        self.sent_ids = sent_ids_in_memory()
        self.journald = Journald(self.dice)
        self.outlives = self.dice.random() < 0.5
        self.records: list[bytes] = []
        self.consumer_position = 0
        self.kills = self.earlier_kills = self.runs = self.crashes = 0
        self.flood: set[int] = set()
        self.said: list[str] = []
        self.start()

    def peek(self, position: int) -> Item | None:
        index = position // 10
        return Item(self.records[index], position + 10) if index < len(self.records) else None

    def free(self, position: int) -> None:
        self.crash.moment()
        self.consumer_position = position

    def start(self) -> None:
        self.runs += 1
        self.journald.running = self.runs
        sink = Sink(self.journald, self.runs, self.crash)
        sink.mark()
        self.tracker = StoreTracker(sink, self.clock)
        evidence = Evidence(self.sent_ids, self.look_up, self.id_of)
        self.confirm = Confirm(evidence, self.tracker, self.ledger, self.clock, self.said.append)
        pipeline = FakePipeline()
        pipeline.flood = self.flood
        source = KeptSource(self, Kept(self.ledger, self.sent_ids), self.id_of, outlives=self.outlives)
        self.delivery = Delivery(source, Target(sink, self.tracker, self.confirm), pipeline, self.said.append)

    def look_up(self, entries: int, shown: bool) -> Lookup:
        due_ns = self.clock.now_ns + self.dice.randrange(400) * MS
        return Lookup(self.journald, self.clock, due_ns, entries, shown=shown)

    @staticmethod
    def id_of(kill: KillRecord) -> str:
        return f"{kill.victim_pid:032x}"

    def turn(self) -> None:
        """One turn of the loop."""
        self.tracker.settle()
        self.delivery.free_stored()
        self.confirm.check()
        with suppress(JournalRefused):
            self.delivery.drain(self.dice.choice([1, 3, 64]))

    def after(self, ms: int) -> None:
        for _ in range(max(1, ms // 20)):
            self.clock.now_ns += min(20, ms) * MS
            self.journald.read()

    def kill_some(self) -> None:
        for _ in range(self.dice.choice([1, 1, 3, 15])):
            self.kills += 1
            self.records.append(raw_record(victim_pid=self.kills))
            if self.dice.random() < 0.6:
                self.flood.add(self.kills)

    def go_on(self, *, another: bool) -> None:
        """With another source, or the same."""
        self.ledger.totals = self.ledger.totals._replace(kills=self.kills - self.earlier_kills)
        go_on_with(Kept(self.ledger, self.sent_ids), self.ledger.totals.source + another)
        if another:
            self.records, self.consumer_position, self.earlier_kills = [], 0, self.kills

    def restart(self) -> None:
        self.confirm.end()
        with suppress(JournalRefused):
            while self.delivery.drain(8):
                pass
        self.delivery.leave()
        self.between_runs(0.2)
        self.start()

    def be_killed(self) -> None:
        self.crashes += 1
        self.between_runs(0.1)
        self.start()

    def between_runs(self, upgraded: float) -> None:
        self.journald.running, self.crash.left = 0, None
        self.after(self.dice.choice([0, 50, 3000]))
        if self.dice.random() < 0.3:
            self.journald.die()
        another = not self.outlives or self.dice.random() < upgraded
        self.go_on(another=another)

    def step(self) -> None:
        what = self.dice.random()
        if what < 0.35:
            self.kill_some()
        elif what < 0.75:
            self.turn()
            self.after(self.dice.choice([1, 20, 100, 700, 3000]))
        elif what < 0.80:
            self.journald.hang_or_go_on()
        elif what < 0.86:
            self.journald.die()
        elif what < 0.92:
            self.crash.left = self.dice.randrange(1, 40)
            self.turn()
        elif what < 0.96:
            self.restart()
        else:
            self.journald.room = self.dice.choice([1, 3, 10, 100])

    def rest(self) -> None:
        """Let everything finish: no crash, and journald takes all."""
        self.crash.left = None
        self.journald.hangs, self.journald.room = False, 100
        for _ in range(400):
            self.turn()
            self.after(50)


@pytest.mark.parametrize("seed", range(max(10, int(LIVES / pace.patience()))))
def test_in_each_life_every_kill_has_an_entry_and_is_counted_once(seed: int) -> None:
    life = Life(seed)
    for _ in range(life.dice.randrange(20, 120)):
        try:
            life.step()
        except Killed:
            life.be_killed()
    life.rest()
    totals, told = life.ledger.totals, Counter(kill for kill, _known in life.journald.stored)
    print(f"{life.kills} kills, {life.runs} runs, {life.crashes} crashes, journald {life.journald.started} times")
    # Every kill of the present source has an entry. Kills of earlier sources without one count as unsent or stopped.
    assert set(range(life.earlier_kills + 1, life.kills + 1)) <= told.keys() <= set(range(1, life.kills + 1))
    assert totals.entries + totals.unsent + totals.stopped == life.kills
    assert life.consumer_position == 10 * len(life.records)
    assert totals.confirmed == totals.ids
    if any("does not reach back" in line for line in life.said):
        return
    # No entry is counted that is not there, and none is there that is not counted.
    assert totals.entries == len(told)
    # Told twice is the one that was sent right before a crash, and what journald knew no unit of.
    shown = Counter(kill for kill, known in life.journald.stored if known)
    assert sum(times - 1 for times in shown.values()) <= life.crashes
    if not life.crashes:
        assert max(told.values(), default=1) == 1
