# SPDX-License-Identifier: Apache-2.0
"""Victims that were still there long after their kill, and of which no entry says that they have left since."""

from oomkilld.ctl.beside import Beside
from oomkilld.ctl.entries import Reading
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.match import Query
from oomkilld.ctl.source import Source


class Stuck:
    """Those of the kills that ``query`` may select."""

    def __init__(self, source: Source, query: Query, boot: str | None) -> None:
        # By their `stuck` entries: these are few, and come long after the line of their kill has been printed.
        stuck = Query(frozenset(("stuck",)), (), query.since_usec, query.until_usec, query.hosts)
        # What is wrong with the journal, the reading of the kills says.
        beside = Beside(source, _nobody)
        self._kills = {
            _kill(entry)
            for entry in Reading(source, stuck, _nobody, boot).forward()
            if not any(each.event == "gone" for each in beside.outcome(entry))
        }

    def holds(self, kill: Entry) -> bool:
        """Whether its victim is one of them."""
        return kill.event == "kill" and _kill(kill) in self._kills


def _kill(entry: Entry) -> tuple[str | None, str | None, str | None]:
    return entry.received_from, entry.text("_MACHINE_ID"), entry.text("OOM_KILL_ID")


def _nobody(_complaint: str) -> None:
    """Nobody is told."""
