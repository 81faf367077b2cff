# SPDX-License-Identifier: Apache-2.0
"""Finds out which of the entries sent last are stored, after a run was killed or journald restarted.

A separate process reads the newest ids from the journal (lookup/stored.py), once journald has read everything sent
before. There are two cases:

- The source still has the record. Delivery sends nothing until the ids are known, and then sends the records that are
  not stored. If the process fails or takes longer than DEADLINE_NS, delivery sends all of them again.
- The source is gone, or the entry came from a line of the kernel log: only its id is left, in the file of sent ids.
  This module waits until the entry would be stored. If the journal lacks it, audit.py searches the kernel log for the
  kill. If the process fails at every retry, the entries are assumed to be stored.
"""

from collections.abc import Callable, Sequence

from oomkilld.host.childprocess import Child
from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import JournalRefused, number_of
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.inquiry import AGAIN_NS, MORE, CannotTell, Process, StoredIds
from oomkilld.record.state.ledger import Ledger
from oomkilld.record.state.sentids import KEPT, Kinds, SentEntry, SentIds, each_once
from oomkilld.text import counted

DEADLINE_NS = 5 * 10**9
# Where no delivery waits for the answer.
LONG_DEADLINE_NS = 60 * 10**9
# After this, advance() reports that journald does not read.
SAID_AFTER_NS = 10**9
# If the journal has any of this many earlier entries, it reaches back far enough. One alone might be lost, too.
_OLDER = 16
_FAILED = "Failed to find out whether the last entries of an earlier run are stored"


class Evidence(NamedTuple):
    """``start``, with a number of entries: starts the process that sends the ids of that many newest entries.

    Its second argument: count only entries that ``journalctl -u`` shows. It raises OSError.
    """

    sent: SentIds
    start: Callable[[int, bool], Process]
    kill_id: Callable[[KillRecord], str]


class Confirm:
    """Looks up entries sent before. ``fileno()`` becomes readable when ``check()`` is needed before ``due_ns``."""

    def __init__(
        self,
        evidence: Evidence,
        tracker: StoreTracker,
        ledger: Ledger,
        clock: KernelClock,
        warn: Callable[[str], None],
    ) -> None:
        self._evidence = evidence
        self._tracker = tracker
        self._ledger = ledger
        self._clock = clock
        self._warn = warn
        self._child: Child[Process] = Child()
        self._ids = StoredIds()
        self._holders: set[object] = set()  # who has records that were sent before
        self._ahead: set[object] = set()  # who has sent what is not counted yet
        self._pending = self._pinged = False
        self._pinged_at = 0  # the tracker's number, behind all that they have sent
        self._said_ns = self._give_up_ns = self._again_ns = 0
        self._failures = 0
        self._absent = 0
        self.shown = self.was_read = self.ended = False
        totals = ledger.totals
        # Read them now: this run's ids will overwrite them.
        sent = list(evidence.sent.between(totals.confirmed, totals.ids))
        self._end = totals.ids
        self._left = each_once(entry for entry in sent if entry.source != totals.source)
        self._older = list(evidence.sent.between(max(0, totals.confirmed - _OLDER), totals.confirmed))
        self._in_doubt = totals.sent_to != number_of(tracker.incarnation())
        self._losses = tracker.losses
        tracker.look_for_loss()
        self._first = tracker.sent(totals.ids)  # journald has read what earlier runs have sent when it has read this
        unknown = totals.ids - totals.confirmed - KEPT
        if unknown > 0 and not totals.sent_position:
            are = counted(unknown, "entry of an earlier run is", "entries of an earlier run are")
            warn(f"Failed to find out whether {are} stored: no longer in the file of sent ids, ignoring")

    @property
    def settled(self) -> bool:
        """Whether everything that earlier runs sent is either stored or known to be lost."""
        return not self._left and self._tracker.stored >= self._first and self._losses == self._tracker.losses

    @property
    def unresolved(self) -> bool:
        """Whether it is not known of some whether they are stored, and the next run has to find out."""
        return bool(self._left or self._holders) or self._tracker.lost_ids > self._ledger.totals.confirmed

    def fileno(self) -> int:
        return self._child.fileno()

    @property
    def due_ns(self) -> int | None:
        """When to call check() at the latest (monotonic); None: no deadline, wait for the tracker and ``fileno()``."""
        if self._child.now is not None:
            return self._give_up_ns
        return self._again_ns if self._may_look else None

    @property
    def _may_look(self) -> bool:
        return bool(self._left) and not self._holders and self._tracker.stored >= self._first

    def begin(self, holder: object, *, shown: bool) -> None:
        """Look up the records of ``holder`` that were sent before, by an earlier run or to an earlier journald.

        ``shown``: only entries that ``journalctl -u`` shows count as stored.
        """
        self._child.drop()
        self.shown = shown or (self.shown and bool(self._holders))
        self._holders.add(holder)
        self._ids, self.was_read = StoredIds(), False
        self._pending, self._pinged = True, False

    def advance(self) -> bool:
        """Send the ping that the lookup waits for. Returns whether the lookup is over and ``has()`` may be called.

        Once journald has read the ping, it also knows this run's unit, even if the run ends before its entries are
        read. Raises JournalRefused: journald refuses the ping, or has not read it for SAID_AFTER_NS.
        """
        if self._pending and not self._pinged and not self.ended:
            self._pinged_at = self._tracker.ping(self._ledger.totals.ids)
            self._pinged = True
            self._said_ns = self._clock.monotonic_ns() + SAID_AFTER_NS
        hangs = self._pending and self._tracker.read < self._pinged_at and not self.ended
        if hangs and self._clock.monotonic_ns() >= self._said_ns:
            raise JournalRefused("it has not read earlier entries")
        return not self._pending

    def has(self, kill: KillRecord) -> bool:
        return bytes.fromhex(self._evidence.kill_id(kill)) in self._ids

    def done(self, holder: object) -> None:
        """``holder`` has handled all its records that were sent before."""
        self._holders.discard(holder)
        if not self._holders:
            self._ids = StoredIds()

    def sent_ahead(self, holder: object, *, some: bool) -> None:
        """Whether ``holder`` has sent what is not counted yet: while it has, their ids are to be kept."""
        if some:
            self._ahead.add(holder)
        else:
            self._ahead.discard(holder)

    def check(self) -> int:
        """Advance the lookup. Returns how many kills were newly found to have no entry and no record to send again."""
        self._child.reap()
        if self._losses != self._tracker.losses:
            self._losses = self._tracker.losses
            if self._tracker.stored < self._first:
                self._tracker.look_for_loss()
                self._first, self._in_doubt = self._tracker.sent(self._ledger.totals.ids), True
        if self._child.now is not None:
            self._listen(self._child.now)
        elif self._pending:
            if self._pinged and self._tracker.read >= self._pinged_at:
                # Also if all ids are confirmed: what is stored may not be freed yet.
                self._ask(DEADLINE_NS, shown=self.shown)
        elif self._may_look and self._clock.monotonic_ns() >= self._again_ns:
            self._look_for_left()
        totals = self._ledger.totals
        is_open = self._pending or self._holders or self._left or self._ahead
        if not is_open and self._tracker.stored_ids > totals.confirmed:
            self._ledger.commit(totals._replace(confirmed=self._tracker.stored_ids))
        absent, self._absent = self._absent, 0
        return absent

    def end(self) -> None:
        """Stop: the next run looks up what is still unknown."""
        self._child.end()
        self.ended = True

    def _look_for_left(self) -> None:
        if self._in_doubt:
            self._ids = StoredIds()
            self._ask(LONG_DEADLINE_NS, shown=False)
        else:
            self._resolve_left([])

    def _ask(self, deadline_ns: int, *, shown: bool) -> None:
        totals = self._ledger.totals
        self._give_up_ns = self._clock.monotonic_ns() + deadline_ns
        try:
            self._child.become(self._evidence.start(totals.ids - totals.confirmed + MORE, shown))
        except OSError as error:
            self._fail(f"no process could be started: {error.strerror}")

    def _listen(self, child: Process) -> None:
        try:
            self._ids.take(child)
        except BlockingIOError:
            if self._clock.monotonic_ns() >= self._give_up_ns:
                self._fail(f"no answer within {(DEADLINE_NS if self._pending else LONG_DEADLINE_NS) // 10**9} s")
            return
        except CannotTell as error:
            self._fail(str(error))
            return
        self._child.drop()
        if self._pending:
            self._pending, self.was_read = False, True
        else:
            self._resolve_left(self._absent_of_left())

    def _fail(self, why: str) -> None:
        self._child.drop()
        self._ids = StoredIds()
        if self._pending:
            self._pending = False
            self._warn(
                f"Failed to look up stored entries in the journal: {why}, sending again all that the ring holds: "
                "some may appear twice, with the same OOM_KILL_ID"
            )
        elif self._failures < len(AGAIN_NS):
            self._warn(f"{_FAILED}: {why}, retrying")
            self._again_ns = self._clock.monotonic_ns() + AGAIN_NS[self._failures]
            self._failures += 1
        else:
            self._warn(f"{_FAILED}: {why}, assuming that they are")
            self._resolve_left([])

    def _absent_of_left(self) -> list[SentEntry]:
        """Of a journal that has none of them, nor of those before them, all that is so old may have been removed."""
        stored = self._ids.all()
        absent = [entry for entry in self._left if entry.kill_id not in stored]
        if len(absent) == len(self._left) and self._older and not any(old.kill_id in stored for old in self._older):
            last = counted(len(absent), "entry", "entries")
            self._warn(f"the journal does not reach back to the last {last} of an earlier run, assuming it had them")
            return []
        return absent

    def _resolve_left(self, absent: Sequence[SentEntry]) -> None:
        left, self._left = self._left, []
        if not self._holders:
            self._ids = StoredIds()
        if absent:
            lacking = counted(len(absent), "entry", "entries")
            self._warn(
                f"the journal lacks {lacking} of an earlier run (of the last {len(left)}), "
                "counting the kills as missing unless the kernel log has them"
            )
        lost = Kinds.of(absent)
        totals = self._ledger.totals.without_entries(lost.kills, lost.spared)
        # All at once: a run that is killed right then must not leave it to the next.
        self._ledger.commit(
            totals._replace(
                confirmed=max(totals.confirmed, self._end),
                recalled=max(0, totals.recalled - lost.logged),
                recalled_repeats=max(0, totals.recalled_repeats - lost.repeats),
            )
        )
        self._absent += lost.kills + lost.logged + lost.repeats
