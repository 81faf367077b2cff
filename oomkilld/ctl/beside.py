# SPDX-License-Identifier: Apache-2.0
"""Entries that belong to a kill: its victim's end, and the other victims of its decision.

They are found by the journal's index, and count only if they are of the same machine and boot as the kill.
"""

import re
from collections.abc import Callable, Iterator

from oomkilld.ctl.entries import Reading
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.match import Query, Term
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.source import Source

_ID = re.compile(r"[0-9a-f]{32}")
ORIGIN = ("_MACHINE_ID", "_BOOT_ID")


class Beside:
    """``complain``: takes what is wrong with an entry."""

    def __init__(self, source: Source, complain: Callable[[str], None]) -> None:
        self._source = source
        self._complain = complain
        # Of each machine one: to open all files again for each question would take longer than to answer it.
        self._readers: dict[str | None, Reader | None] = {}

    def outcome(self, kill: Entry) -> Iterator[Entry]:
        """What became of the victim: the `stuck` entry and the `gone` entry, if there are such."""
        return self._ours(kill, "OOM_KILL_ID", ("stuck", "gone"))

    def history(self, kill: Entry) -> Iterator[Entry]:
        """What the flight recorder says about its decision."""
        return self._ours(kill, "OOM_DECISION_ID", ("history",))

    def decision(self, kill: Entry) -> Iterator[Entry]:
        """The other processes that were killed, or spared, by the same decision."""
        kill_id = kill.fields.get("OOM_KILL_ID")
        for entry in self._ours(kill, "OOM_DECISION_ID", ("kill", "spared")):
            if entry.fields.get("OOM_KILL_ID") != kill_id:
                yield entry

    def reader(self, kill: Entry) -> Reader | None:
        """A reader of the files in which the kill is, that finds every entry; None: they cannot be read any more."""
        host = kill.received_from
        if host not in self._readers:
            part = next((part for part in self._source.parts() if part.host == host), None)
            self._readers[host] = None if part is None else self._source.open(part)
        reader = self._readers[host]
        if reader is not None:
            reader.forget()
        return reader

    def _ours(self, kill: Entry, field: str, events: tuple[str, ...]) -> Iterator[Entry]:
        value, reader = id_of(kill, field), self.reader(kill)
        if value is None or reader is None:
            return
        same = [(name, found) for name in ORIGIN if (found := id_of(kill, name)) is not None]
        conditions = tuple(((Term(name, wanted),),) for name, wanted in ((field, value), *same))
        reading = Reading(self._source, Query(frozenset(events), conditions, None, None, ()), self._complain)
        reading.restricted(reader).to_begin()
        while reading.moves(reader.next):
            entry = reading.entry(reader, kill.received_from)
            if entry is not None and reading.wanted(entry):
                yield entry


def id_of(entry: Entry, name: str) -> str | None:
    """The value of a field that holds an id; None: it holds none."""
    value = entry.text(name)
    return value if value is not None and _ID.fullmatch(value) else None
