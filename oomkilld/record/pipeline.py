# SPDX-License-Identifier: Apache-2.0
"""Takes one record from the source to the journal: decode, check, complete, enrich, send, watch the victim."""

from collections.abc import Callable

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.capture.decode import BadRecord, decode, is_kill
from oomkilld.record.capture.impossible import Judge
from oomkilld.record.complete import Completer
from oomkilld.record.deliver.checkpoint import Counts
from oomkilld.record.deliver.delivery import Delivered, Delivery
from oomkilld.record.enrich.cause import Cause, cause_of
from oomkilld.record.enrich.enrich import Enricher
from oomkilld.record.entry.killentry import kill_entry, victim_fields
from oomkilld.record.entry.origin import Origin
from oomkilld.record.kill import KillRecord, Release, Unkillable
from oomkilld.record.outcome import Outcome
from oomkilld.record.unkillable import Unkillables


class Beside(NamedTuple):
    """What handles everything that is not a kill's entry. ``warn`` logs refused records."""

    outcome: Outcome
    unkillables: Unkillables
    warn: Callable[[str], None]


class Pipeline:
    """See delivery.Records."""

    def __init__(self, judge: Judge, completer: Completer, enricher: Enricher, origin: Origin, beside: Beside) -> None:
        self._judge = judge
        self._completer = completer
        self._enricher = enricher
        self._origin = origin
        self._outcome, self._unkillables, self._warn = beside

    def take(self, record: bytes | KillRecord | Unkillable, delivery: Delivery, *, more: bool) -> Delivered | None:
        """Process a record and send its entry. None: it still waits for data from elsewhere.

        ``more``: other records wait behind it. Raises JournalRefused: take it again later. Releases and decisions
        without a victim add nothing to the counts.
        """
        try:
            decoded = decode(record)
        except BadRecord as error:
            return self._refuse(str(error), kill=is_kill(record))
        if isinstance(decoded, KillRecord):
            return self._take_kill(decoded, delivery, more=more)
        if isinstance(decoded, Release):
            self._outcome.released(decoded)
        else:
            self._unkillables.tell(decoded)
        return Delivered(Counts())

    def of_flood(self, record: bytes | KillRecord | Unkillable) -> bool | None:
        """Whether this kill is one of a flood; None: that is not known yet, and soon will be.

        An impossible record is none that is to be sent first.
        """
        try:
            kill = decode(record)
        except BadRecord:
            return True
        if not isinstance(kill, KillRecord) or self._judge.why_impossible(kill):
            return True
        known = self._completer.at_once(kill)
        return None if known is None else self._enricher.reduced(known, self._cause_of(known))

    def _take_kill(self, kill: KillRecord, delivery: Delivery, *, more: bool) -> Delivered | None:
        if reason := self._judge.why_impossible(kill):
            return self._refuse(reason, kill=not kill.spared)
        counts = Counts(spared=1) if kill.spared else Counts(entries=1)
        if delivery.has(kill):
            return Delivered(counts)
        # A list, not ``and``: ask both, so that both wait at the same time.
        if not all([self._completer.ready(kill), self._enricher.ready(kill, more=more)]):
            return None
        completed = self._completer.completed(kill)
        fields = self._entry(completed)
        is_first = delivery.send(kill, fields)
        if is_first:
            self._outcome.watch(completed, victim_fields(fields))
        return Delivered(counts, was_sent=True)

    def _entry(self, kill: KillRecord) -> list[bytes]:
        cause = self._cause_of(kill)
        return kill_entry(kill, cause, self._enricher.context(kill, cause), self._origin)

    def _cause_of(self, kill: KillRecord) -> Cause:
        return cause_of(kill, self._origin.constraints, self._origin.page_bytes)

    def _refuse(self, reason: str, *, kill: bool) -> Delivered:
        self._warn(f"the kernel handed over an impossible record: {reason}, ignoring")
        return Delivered(Counts(rejected=kill, refused=1))
