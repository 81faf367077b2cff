# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the ring, the journal, the clock and the processes in unit tests."""

import os
from collections.abc import Callable, Sequence

from oomkilld.host.clock import KernelClock
from oomkilld.host.procfs import ThreadStatus
from oomkilld.record.capture.source import Item, Seen
from oomkilld.record.deliver.confirm import Confirm
from oomkilld.record.deliver.delivery import Delivered
from oomkilld.record.deliver.sink import Incarnation, JournalRefused
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.kill import KillRecord, Release, Unkillable, Victim
from oomkilld.record.lookup.inquiry import Process
from oomkilld.record.lookup.protocol import ALIVE
from oomkilld.record.outcome import Outcome
from oomkilld.record.pipeline import Beside, Pipeline
from oomkilld.record.processes import CannotLook, Found, KernelProcesses
from oomkilld.record.state.ledger import Ledger, Totals
from tests.unit.records import ORIGIN


class FakeRing:
    """Records of 10 positions each; logs each position that it frees."""

    def __init__(self, events: list[str], *records: bytes | Unkillable | None) -> None:
        self.records = list(records)
        self.consumer_position = 0
        self.events = events

    def peek(self, position: int) -> Item | None:
        index = position // 10
        return Item(self.records[index], position + 10) if index < len(self.records) else None

    def free(self, position: int) -> None:
        self.events.append(f"free {position}")
        self.consumer_position = position


class FakeLedger(Ledger):
    """Keeps the totals that were committed; logs the position when it changes."""

    def __init__(self, events: list[str] | None = None, baseline: int | None = None) -> None:
        self.baseline = baseline
        self.totals = Totals()
        self._events = [] if events is None else events

    def commit(self, totals: Totals) -> None:
        if totals.position != self.totals.position:
            self._events.append(f"committed {totals.position}")
        self.totals = totals


class FakeTally:
    """The counts of a source, set by the test."""

    not_seen_reason = "not-seen"

    def __init__(self) -> None:
        self.counts = Seen(0, 0, 0)
        self.seen_until_ns: int | None = None

    def seen(self) -> Seen:
        return self.counts


class FakeJournal:
    """Takes entries until ``refuses`` is set."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.refuses = False
        self.hangs = False
        self.started = 1
        self.pinged = 0
        self.turns = 0
        self.given = 0
        self.not_read_from = float("inf")  # marks

    def begin_turn(self) -> None:
        self.turns += 1

    def wait_until_read(self) -> None:
        pass

    def send(self, fields: Sequence[bytes]) -> None:
        if self.refuses:
            raise JournalRefused("its queue is full")
        self.given += 1
        self.events.append(b" ".join(fields).decode())

    def ping(self) -> None:
        if self.refuses:
            raise JournalRefused("its queue is full")
        self.pinged += 1
        self.given += 1

    def incarnation(self) -> Incarnation:
        return ("", self.started)

    def flood(self) -> None:
        """Others send more, and so does this service; the last of it stays unread."""
        self.given += 1
        self.not_read_from = self.given

    @property
    def entries(self) -> int:
        return self.given - self.pinged

    def mark(self) -> int | None:
        return self.given

    def has_read(self, mark: int) -> bool:
        return not self.hangs and mark < self.not_read_from


class FakeConfirm(Confirm):
    """Knows what is stored at once, unless it is told to wait; ``begun``: how often."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.waits = False
        self.was_read = True
        self.ended = self.shown = False
        self.begun = 0
        self.holders: list[object] = []
        self.has_more = False

    @property
    def unresolved(self) -> bool:
        return self.has_more

    def begin(self, holder: object, *, shown: bool) -> None:
        self.begun += 1
        self.shown = shown
        self.holders.append(holder)

    def advance(self) -> bool:
        return not self.waits

    def has(self, kill: KillRecord) -> bool:
        return bool(self.holders) and kill.victim_pid in self.pids

    def sent_ahead(self, holder: object, *, some: bool) -> None:
        pass

    def done(self, holder: object) -> None:
        self.holders = [each for each in self.holders if each is not holder]


class FakeLooker(Process):
    """Sends ``messages``: the first one that is not ALIVE at once, the others after go_on(); b"" is its end."""

    def __init__(self, *messages: bytes) -> None:
        self.messages = list(messages)
        self._told = False
        self.gone_on = False
        self.killed = self.put_away = False
        self.dead = True
        self._fd = os.eventfd(0)

    def fileno(self) -> int:
        return self._fd

    def receive(self) -> bytes:
        if not self.messages or (self._told and not self.gone_on and self.messages[0]):
            raise BlockingIOError
        self._told |= self.messages[0] != ALIVE
        return self.messages.pop(0)

    def go_on(self) -> None:
        self.gone_on = True

    def kill(self) -> None:
        self.killed = True
        os.close(self._fd)

    def reaped(self) -> bool:
        assert self.killed
        assert not self.put_away
        self.put_away = self.dead
        return self.dead


class FakeStart:
    """Starts ``looker`` and lets it go on; with ``refuses``, there is no memory for it."""

    def __init__(self, looker: FakeLooker) -> None:
        self.looker = looker
        self.asked: list[int] = []
        self.shown = self.refuses = False

    def __call__(self, entries: int, shown: bool = False) -> FakeLooker:
        self.asked.append(entries)
        self.shown = shown
        if self.refuses:
            raise OSError(12, "Cannot allocate memory")
        self.looker.go_on()
        return self.looker


class FakeCompleter:
    """Has nothing to add."""

    def ready(self, _kill: KillRecord) -> bool:
        return True

    def completed(self, kill: KillRecord) -> KillRecord:
        return kill


class FakePipeline(Pipeline):
    """Between fakes: shows what is done; ``reasons``: why a kill cannot be true."""

    def __init__(self, warn: Callable[[str], None] = lambda _text: None, outcome: Outcome | None = None) -> None:
        self.reasons: dict[KillRecord, str] = {}
        self.told: list[KillRecord | Release | Unkillable] = []
        self.refuses_releases = False
        self.waiting: set[int] = set()
        self.more: list[bool] = []  # of each question whether it is ready
        self.flood: set[int] = set()
        beside = Beside(outcome or self, self, warn)  # type: ignore[arg-type]
        self.unknown: set[int] = set()  # for the time being
        completer = FakeCompleter()
        super().__init__(self, completer, self, ORIGIN, beside)  # type: ignore[arg-type]
        completer.at_once = lambda kill: None if kill.victim_pid in self.unknown else kill  # type: ignore[attr-defined]

    def why_impossible(self, kill: KillRecord) -> str | None:
        return self.reasons.get(kill)

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        self.more.append(more)
        return kill.victim_pid not in self.waiting

    def reduced(self, kill: KillRecord, _cause: Cause) -> bool:
        return kill.victim_pid in self.flood

    def _entry(self, kill: KillRecord) -> list[bytes]:
        return [b"sent %d" % (kill.victim_pid or 0)]

    def watch(self, kill: KillRecord, _fields: bytes) -> None:
        self.told.append(kill)

    def released(self, release: Release) -> None:
        if self.refuses_releases:
            raise JournalRefused("its queue is full")
        self.told.append(release)

    def tell(self, unkillable: Unkillable) -> None:
        self.told.append(unkillable)


class FakeDelivery:
    """Takes the entry of any record; ``entries``: fields of each."""

    def __init__(self) -> None:
        self.entries: list[Sequence[bytes]] = []

    def has(self, _kill: KillRecord) -> bool:
        return False

    def send(self, _kill: KillRecord, fields: Sequence[bytes]) -> bool:
        self.entries.append(fields)
        return True

    def of(self, pipeline: Pipeline, record: bytes | KillRecord | Unkillable) -> Delivered | None:
        """What becomes of that record."""
        return pipeline.take(record, self, more=False)  # type: ignore[arg-type]


class FakeClock(KernelClock):
    """Stands still until a test moves it, or advances ``step_ns`` per reading; ``asleep_ns``: time spent suspended."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.asleep_ns = 0
        self.step_ns = 0

    def monotonic_ns(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns

    def boottime_ns(self) -> int:
        return self.now_ns + self.asleep_ns

    realtime_ns = boottime_ns


class FakeProcesses(KernelProcesses):
    """Processes in ``there`` live until leave(); then their fake pidfds become readable."""

    def __init__(self) -> None:
        self.there: set[tuple[int, int | None]] = set()
        self.looked_at: list[int] = []
        self.threads: dict[int, ThreadStatus] = {}
        self.obstacle = ""
        self.state: str | None = "D"
        self._ends: list[tuple[tuple[int, int | None], int]] = []

    def find(self, victim: Victim) -> Found | None:
        self.looked_at.append(victim.pid)
        if self.obstacle:
            raise CannotLook(self.obstacle)
        if victim.process not in self.there:
            return None
        pidfd = os.eventfd(0)
        self._ends.append((victim.process, os.dup(pidfd)))
        return Found(pidfd, self.state)

    def of_thread(self, tid: int, before_boottime_ns: int) -> ThreadStatus | None:
        found = self.threads.get(tid)
        return found if found and found.start_ticks < before_boottime_ns else None

    def leave(self, pid: int, start_boottime_ns: int) -> None:
        self.there.remove((pid, start_boottime_ns))
        for process, end in self._ends:
            if process == (pid, start_boottime_ns):
                os.eventfd_write(end, 1)

    def close(self) -> None:
        for _process, end in self._ends:
            os.close(end)
