# SPDX-License-Identifier: Apache-2.0
"""What is done with each record on its way from the ring to the journal."""

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.capture.plausible import Judge
from oomkilld.record.complete import Completer
from oomkilld.record.enrich.cause import cause_of
from oomkilld.record.enrich.enrich import Enricher
from oomkilld.record.entry.killentry import kill_entry, victim_fields
from oomkilld.record.entry.origin import Origin
from oomkilld.record.kill import KillRecord
from oomkilld.record.outcome import Outcome
from oomkilld.record.unkillable import Unkillables


class Beside(NamedTuple):
    """What tells more than kills."""

    outcome: Outcome
    unkillables: Unkillables


class KillHandler:
    """Judges, completes, enriches, renders and has the victims watched; ``delivery.Handler``."""

    def __init__(self, judge: Judge, completer: Completer, enricher: Enricher, origin: Origin, beside: Beside) -> None:
        self._completer = completer
        self._enricher = enricher
        self._origin = origin
        self._outcome = beside.outcome
        self.untrue = judge.untrue
        self.released = beside.outcome.released
        self.unkillable = beside.unkillables.tell

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether all is there that the entry waits for, all of it at once."""
        return all([self._completer.ready(kill), self._enricher.ready(kill, more=more)])

    def render(self, kill: KillRecord) -> list[bytes]:
        """The entry of a kill, or of a process that was spared."""
        kill = self._completer.completed(kill)
        cause = cause_of(kill, self._origin.constraints, self._origin.page_bytes)
        return kill_entry(kill, cause, self._enricher.context(kill, cause), self._origin)

    def sent(self, kill: KillRecord, fields: list[bytes]) -> None:
        """Its entry was taken by journald."""
        self._outcome.watch(kill, victim_fields(fields))
