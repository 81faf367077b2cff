# SPDX-License-Identifier: Apache-2.0
"""Reads the entries that the service sent, each once.

Anyone can send our fields, so only the fields that journald itself adds show which entries are ours.
"""

from collections.abc import Callable, Iterator, Mapping

from oomkilld.ctl.match import SENT_BY_ROOT, Query
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.say import warn
from oomkilld.ctl.source import Part, Source
from oomkilld.host.ours import sent_by_the_service
from oomkilld.lighttyping import Any
from oomkilld.text import harmless

# Entries arrive after their kill; before it only if the wall clock was set back between the two.
_MARGIN_USEC = 3600 * 1_000_000
_MANDATORY: Mapping[str, tuple[str, ...]] = {
    "kill": ("OOM_KILL_ID", "OOM_TIMESTAMP"),
    "spared": ("OOM_KILL_ID", "OOM_TIMESTAMP"),
    "unkillable": ("OOM_TIMESTAMP",),
    "stuck": ("OOM_KILL_ID",),
    "gone": ("OOM_KILL_ID",),
    "missed": ("OOM_MISSED",),
}
_HEX_DIGITS = 32
_SENT = [(name, value.encode()) for name, value in SENT_BY_ROOT]


class Entry:
    """``event``: OOM_EVENT, empty if absent. ``fields``: see Reader. ``received_from``: see source.Part."""

    __slots__ = ("event", "fields", "received_from", "received_usec")

    def __init__(self, fields: Mapping[str, Any], received_usec: int, received_from: str | None) -> None:
        self.fields = fields
        self.event = self.text("OOM_EVENT") or ""
        self.received_usec = received_usec
        self.received_from = received_from

    def text(self, name: str) -> str | None:
        """Safe for a terminal. None: absent."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        # Of a field that is there twice, the first value counts.
        return harmless((raw if isinstance(raw, bytes) else raw[0]).decode(errors="surrogateescape"))

    def number(self, name: str) -> int | None:
        """None: absent, or no whole number."""
        try:
            return int(self.fields[name])
        except (KeyError, ValueError, TypeError):
            return None

    @property
    def usec(self) -> int:
        """When it happened: the time of the kill, else when journald received the entry."""
        at = self.number("OOM_TIMESTAMP")
        return self.received_usec if at is None else at

    @property
    def host(self) -> str | None:
        """The machine: as the receiver named it, otherwise as its own journald did."""
        return self.received_from or self.text("_HOSTNAME")

    @property
    def shown_host(self) -> str | None:
        """Also what the sender claims to be, where the receiver named it differently."""
        claim = self.text("_HOSTNAME")
        if self.received_from is None or claim in (None, self.received_from):
            return self.host
        return f"{self.received_from} (says {claim})"

    def lacks(self) -> list[str]:
        """Mandatory fields that are missing or unreadable."""
        names = _MANDATORY.get(self.event, ())
        return [
            name for name in names if not (self._is_id() if name == "OOM_KILL_ID" else self.number(name) is not None)
        ]

    def _is_id(self) -> bool:
        try:
            return len(bytes.fromhex(self.fields["OOM_KILL_ID"].decode())) * 2 == _HEX_DIGITS
        except (KeyError, ValueError, AttributeError):
            return False


class Seen:
    """Ids that occurred. In 10 bytes each: a journal may have 100,000 kills, and a set would take 10 MB for them.

    The ids are hashes, so 68 of their 128 bits do: two of 100,000 agree once in 10^10 journals.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, bytes] = {}

    def add(self, kill_id: bytes) -> bool:
        """Whether it is new; ``kill_id``: hexadecimal."""
        number, part = int(kill_id[:3], 16), bytes.fromhex(kill_id[4:18].decode())
        bucket = self._buckets.get(number, b"")
        at = bucket.find(part)
        while at > 0 and at % len(part):  # across two of them
            at = bucket.find(part, at + 1)
        if at < 0:
            self._buckets[number] = bucket + part
        return at < 0


class Reading:
    """The entries that ``query`` selects. ``broken``: how many could not be used, and were warned about."""

    def __init__(self, source: Source, query: Query, boot: str | None = None) -> None:
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
            self.broken += 1
            warn(f"an entry from {_when(entry)} lacks {' and '.join(missing)}, ignoring")
            return False
        kill_id = entry.fields.get("OOM_KILL_ID")
        return kill_id is None or self._seen.setdefault((event, entry.received_from), Seen()).add(kill_id)

    def entry(self, reader: Reader, host: str | None) -> Entry | None:
        """The entry at the reader's position; None: it cannot be read."""
        try:
            return Entry(reader.fields(), reader.received_usec(), host)
        except OSError as error:
            self.broken += 1
            warn(f"Failed to read an entry: {error.strerror}, ignoring")
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
            self.broken += 1
            warn(f"Failed to read on in the journal: {error.strerror}, ignoring the rest")
            return False

    def _merged(self, parts: list[Iterator[Entry]], direction: int) -> Iterator[Entry]:
        if len(parts) == 1:
            return parts[0]
        from heapq import merge

        return merge(*parts, key=lambda entry: direction * entry.received_usec)

    def _is_ours(self, entry: Entry) -> bool:
        if any(entry.fields.get(name) != value for name, value in _SENT):
            return False
        return sent_by_the_service(entry.text("_SYSTEMD_UNIT"), entry.text("_SYSTEMD_CGROUP"))


def _when(entry: Entry) -> str:
    from oomkilld.ctl.times import Clock

    return Clock(utc=False).long(entry.received_usec)
