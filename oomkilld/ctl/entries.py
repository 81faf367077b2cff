# SPDX-License-Identifier: Apache-2.0
"""Reads the entries that the service sent, each once.

Anyone can send our fields, so only the fields that journald itself adds show which entries are ours.
"""

from collections.abc import Callable, Iterator

from oomkilld.ctl.entry import Entry, Seen
from oomkilld.ctl.match import Query
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.source import Part, Source
from oomkilld.host.ours import sent_by_the_service

# Entries arrive after their kill; before it only if the wall clock was set back between the two.
_MARGIN_USEC = 3600 * 1_000_000


class Reading:
    """The entries that ``query`` selects. ``complain``: takes what is wrong with one; ``broken``: counts these."""

    def __init__(self, source: Source, query: Query, complain: Callable[[str], None], boot: str | None = None) -> None:
        self._complain = complain
        self._query = query
        self._boot = boot
        self._source = source
        # By event and machine: nobody hides another machine's kill by sending its id.
        self._seen: dict[tuple[str, str | None], Seen] = {}
        self.broken = 0

    def forward(self) -> Iterator[Entry]:
        """In the order in which they were received."""
        return self._merged([self._forward(part.host, reader) for part, reader in self.readers()], 1)

    def backward(self) -> Iterator[Entry]:
        """The last one received first."""
        return self._merged([self._backward(part.host, reader) for part, reader in self.readers()], -1)

    def wanted(self, entry: Entry | None) -> bool:
        """Whether it is one of ours, whole, new, and selected; entries about missed kills need not fit the victim."""
        if entry is None or not self._is_ours(entry):
            return False
        query, event = self._query, entry.event
        if not event or (query.events is not None and event not in query.events):
            return False
        if (query.hosts and entry.host not in query.hosts) or not query.is_in_time(entry.usec):
            return False
        if event != "missed" and not query.holds(entry.text):
            return False
        if missing := entry.lacks():
            self._cannot_use(f"an entry from {_when(entry)} lacks {' and '.join(missing)}, ignoring")
            return False
        kill_id = entry.fields.get("OOM_KILL_ID")
        return kill_id is None or self._seen.setdefault((event, entry.received_from), Seen()).add(kill_id)

    def entry(self, reader: Reader, host: str | None) -> Entry | None:
        """The entry at the reader's position; None: it cannot be read."""
        try:
            return Entry(reader.fields(), reader.received_usec(), host)
        except OSError as error:
            self._cannot_use(f"Failed to read an entry: {error.strerror}, ignoring")
            return None

    def span_usec(self) -> tuple[int, int]:
        """When the first and the last entry were received that may be wanted."""
        times = []
        for _part, reader in self.readers():
            for seek, move in ((reader.to_begin, reader.next), (reader.to_end, reader.previous)):
                seek()
                if self.moves(move):
                    times.append(reader.received_usec())
        return (min(times), max(times)) if times else (0, 0)

    def readers(self) -> list[tuple[Part, Reader]]:
        """A reader of each machine's files."""
        return [(part, self._restricted(reader)) for part, reader in self._source.opened()]

    def reader(self, part: Part) -> Reader | None:
        """A reader of these files; None: see Source.open()."""
        reader = self._source.open(part)
        return None if reader is None else self._restricted(reader)

    def _restricted(self, reader: Reader) -> Reader:
        for alternatives in self._query.found_by_index(self._boot):
            reader.require(*alternatives)
        return reader

    def _forward(self, host: str | None, reader: Reader) -> Iterator[Entry]:
        since = self._query.since_usec
        if since is None:
            reader.to_begin()
        else:
            reader.to_time(max(0, since - _MARGIN_USEC))
        while self.moves(reader.next):
            if (entry := self.entry(reader, host)) and self.wanted(entry):
                yield entry

    def _backward(self, host: str | None, reader: Reader) -> Iterator[Entry]:
        since = self._query.since_usec
        reader.to_end()
        while self.moves(reader.previous):
            entry = self.entry(reader, host)
            if entry and since is not None and entry.received_usec < since - _MARGIN_USEC:
                return
            if entry and self.wanted(entry):
                yield entry

    def moves(self, move: Callable[[], bool]) -> bool:
        """Whether the reader has moved to an entry. What follows damage cannot be found."""
        try:
            return move()
        except OSError as error:
            self._cannot_use(f"Failed to read on in the journal: {error.strerror}, ignoring the rest")
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


def _when(entry: Entry) -> str:
    from oomkilld.ctl.times import Clock

    return Clock(utc=False).long(entry.received_usec)
