# SPDX-License-Identifier: Apache-2.0
"""What is done with each record on its way from the ring to the journal."""

from oomkilld.record.cause import cause_of
from oomkilld.record.decode import KillRecord, Release
from oomkilld.record.drift import Judge
from oomkilld.record.enrich import Enricher
from oomkilld.record.entry import Origin, kill_entry


class KillHandler:
    """Judges, enriches and renders; ``delivery.Handler``."""

    def __init__(self, judge: Judge, enricher: Enricher, origin: Origin) -> None:
        self._enricher = enricher
        self._origin = origin
        self.untrue = judge.untrue

    def render(self, kill: KillRecord) -> list[bytes]:
        """The entry of a kill, or of a process that was spared."""
        cause = cause_of(kill, self._origin.constraints, self._origin.page_bytes)
        return kill_entry(kill, cause, self._enricher.context(kill, cause), self._origin)

    def sent(self, kill: KillRecord) -> None:
        """Nothing more is to be done."""

    def released(self, release: Release) -> None:
        """Nothing more is to be done."""
