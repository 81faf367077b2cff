# SPDX-License-Identifier: Apache-2.0
"""Reads the entries that the service sent, each once.

Anyone can send our fields, so only the fields that journald itself adds show which entries are ours.
"""

import time
from collections.abc import Callable, Iterator

from oomkilld.ctl.entry import Entry, Origin, Seen
from oomkilld.ctl.failures import reason
from oomkilld.ctl.match import Query
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.source import Part, Source
from oomkilld.host.ours import sent_by_the_service

# Entries arrive after their kill; before it only if the wall clock was set back between the two.
_MARGIN_USEC = 3600 * 1_000_000
# A clock may be far back for a while, as at a boot without a network: so many entries in a row are no such while.
_OLD = 1000
_NEVER = 1 << 64


class Reading:
    """The entries that ``query`` selects. ``complain``: takes what is wrong with one; ``broken``: counts these."""

    def __init__(self, source: Source, query: Query, complain: Callable[[str], None], boot: str | None = None) -> None:
        self._complain = complain
        self._query = query
        self._boot = boot
        self._source = source
        # By event and machine: nobody hides another machine's kill by sending its id.
        self._seen: dict[tuple[str, Origin], Seen] = {}
        self._reports: set[int] = set()
        self.broken = 0

    def forward(self) -> Iterator[Entry]:
        """In the order in which they were received."""
        return self._merged([self._forward(part, reader) for part, reader in self.readers()], 1)

    def backward(self) -> Iterator[Entry]:
        """The last one received first."""
        return self._merged([self._backward(part, reader) for part, reader in self.readers()], -1)

    def wanted(self, entry: Entry | None) -> bool:
        """Whether it is one of ours, whole, new, and selected; entries about missed kills need not fit the victim."""
        if entry is None or not self._is_ours(entry):
            return False
        query, event = self._query, entry.event
        if not event or (query.events is not None and event not in query.events):
            return False
        is_of_other = query.hosts and not query.is_of_host(entry.host, entry.shown_host)
        if is_of_other or not query.is_in_time(entry.usec):
            return False
        if event != "missed" and not query.holds(entry.text):
            return False
        if missing := entry.lacks():
            self._cannot_use(f"an entry from {_shown(entry.received_usec)} lacks {' and '.join(missing)}, ignoring")
            return False
        return self._is_new(entry)

    def _is_new(self, entry: Entry) -> bool:
        kill_id = entry.fields.get("OOM_KILL_ID")
        if kill_id is not None:
            return self._seen.setdefault((entry.event, entry.origin), Seen()).add(kill_id)
        # A report that the service sends again has the same text, which ends with the total. Others differ by time.
        which = entry.number("OOM_MISSED") if entry.event == "missed" else entry.usec
        report = hash((entry.event, entry.origin, entry.text("_BOOT_ID"), entry.text("MESSAGE"), which))
        is_new = report not in self._reports
        self._reports.add(report)
        return is_new

    def entry(self, reader: Reader, host: str | None) -> Entry | None:
        """The entry at the reader's position; None: it cannot be read."""
        try:
            return Entry(reader.fields(), reader.received_usec(), host)
        except OSError as error:
            self._cannot_use(f"Failed to read an entry: {reason(error)}, ignoring")
            return None

    def span_usec(self) -> tuple[int, int]:
        """When the first and the last entry were received that may be wanted."""
        times = [self._end_usec(part, which) for part in self._source.parts() for which in ("first", "last")]
        known = [usec for usec in times if usec != _NEVER]
        return (min(known), max(known)) if known else (0, 0)

    def readers(self) -> list[tuple[Part, Reader]]:
        """A reader of each machine's files."""
        return [(part, self.restricted(reader)) for part, reader in self._source.opened()]

    def reader(self, part: Part) -> Reader | None:
        """A reader of these files; None: see Source.open()."""
        reader = self._source.open(part)
        return None if reader is None else self.restricted(reader)

    def restricted(self, reader: Reader) -> Reader:
        """The same reader, which from now on finds only what the index can tell to be wanted."""
        for alternatives in self._query.found_by_index(self._boot):
            reader.require(*alternatives)
        return reader

    def _forward(self, part: Part, reader: Reader) -> Iterator[Entry]:
        begun_usec = time.time_ns() // 1000
        since = self._query.since_usec
        reached_usec = 0 if since is None else max(0, since - _MARGIN_USEC)
        reader.to_time(reached_usec)
        while self.moves(reader.next):
            reached_usec = reader.received_usec()
            if (entry := self.entry(reader, part.host)) and self.wanted(entry):
                yield entry
        # What was received meanwhile is no sign of damage.
        if reached_usec < self._end_usec(part, "last") < begun_usec:
            self._cannot_use(f"the journal is damaged after {_shown(reached_usec)}, ignoring what follows")

    def _backward(self, part: Part, reader: Reader) -> Iterator[Entry]:
        since = self._query.since_usec
        reached_usec = time.time_ns() // 1000
        old = 0
        reader.to_end()
        while self.moves(reader.previous):
            reached_usec = reader.received_usec()
            if since is not None and reached_usec < since - _MARGIN_USEC:
                old += 1
                if old == _OLD:
                    return
                continue
            old = 0
            entry = self.entry(reader, part.host)
            if entry and self.wanted(entry):
                yield entry
        if self._end_usec(part, "first") < reached_usec:
            self._cannot_use(f"the journal is damaged before {_shown(reached_usec)}, ignoring what precedes")

    def _end_usec(self, part: Part, which: str) -> int:
        """When the first or the last entry was received, for a reader of its own.

        sd_journal drops a file where it meets damage, and goes on as if the file ended there.
        """
        reader = self.reader(part)
        if reader is None:
            return _NEVER
        seek, move = (reader.to_begin, reader.next) if which == "first" else (reader.to_end, reader.previous)
        seek()
        return reader.received_usec() if self.moves(move) else _NEVER

    def moves(self, move: Callable[[], bool]) -> bool:
        """Whether the reader has moved to an entry. What follows damage cannot be found."""
        try:
            return move()
        except OSError as error:
            self._cannot_use(f"Failed to read on in the journal: {reason(error)}, ignoring the rest")
            return False

    def _cannot_use(self, why: str) -> None:
        self.broken += 1
        self._complain(why)

    def _merged(self, parts: list[Iterator[Entry]], direction: int) -> Iterator[Entry]:
        if len(parts) == 1:
            return parts[0]
        from heapq import merge

        return merge(*parts, key=lambda entry: direction * entry.received_usec)

    def _is_ours(self, entry: Entry) -> bool:
        return sent_by_the_service(entry.text("_SYSTEMD_UNIT"), entry.text("_SYSTEMD_CGROUP"))


def _shown(usec: int) -> str:
    from oomkilld.ctl.times import Clock

    return Clock(utc=False).long(usec)
