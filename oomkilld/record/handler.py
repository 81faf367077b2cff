# SPDX-License-Identifier: Apache-2.0
"""What is done with each record on its way from the ring to the journal."""

from oomkilld.record.cause import cause_of
from oomkilld.record.decode import KillRecord
from oomkilld.record.drift import Judge
from oomkilld.record.enrich import Enricher
from oomkilld.record.entry import Origin, kill_entry, victim_fields
from oomkilld.record.outcome import Outcome


class KillHandler:
    """Judges, enriches, renders and has the victims watched; ``delivery.Handler``."""

    def __init__(self, judge: Judge, enricher: Enricher, origin: Origin, outcome: Outcome) -> None:
        self._enricher = enricher
        self._origin = origin
        self._outcome = outcome
        self.untrue = judge.untrue
        self.released = outcome.released

    def render(self, kill: KillRecord) -> list[bytes]:
        """The entry of a kill, or of a process that was spared."""
        cause = cause_of(kill, self._origin.constraints, self._origin.page_bytes)
        return kill_entry(kill, cause, self._enricher.context(kill, cause), self._origin)

    def sent(self, kill: KillRecord, fields: list[bytes]) -> None:
        """Its entry was taken by journald."""
        self._outcome.watch(kill, victim_fields(fields))
