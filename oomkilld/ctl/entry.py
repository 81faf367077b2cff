# SPDX-License-Identifier: Apache-2.0
"""One entry of the journal, and which ones occurred before."""

import re
from collections.abc import Mapping

from oomkilld.lighttyping import Any
from oomkilld.text import harmless

_MANDATORY: Mapping[str, tuple[str, ...]] = {
    "kill": ("OOM_KILL_ID", "OOM_TIMESTAMP"),
    "spared": ("OOM_KILL_ID", "OOM_TIMESTAMP"),
    "unkillable": ("OOM_TIMESTAMP",),
    "stuck": ("OOM_KILL_ID",),
    "gone": ("OOM_KILL_ID",),
    "missed": ("OOM_MISSED",),
    "history": ("OOM_TIMESTAMP",),
}
_ID = re.compile(rb"[0-9a-f]{32}")
_NUMBER = re.compile(rb"-?[0-9]{1,20}")
_NUMBERS = 1 << 64
# How the names of those end that may be negative.
_SIGNED = ("_TIMESTAMP", "_ORDER", "_OOM_SCORE_ADJ")

# Which machine an entry is of: as the receiver named it, and as its own journald did.
Origin = tuple[str | None, str | None]


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
        """None: absent, or no whole number of 64 bits, as the kernel's are; few of them may be negative."""
        raw = self.fields.get(name)
        if not isinstance(raw, bytes) or not _NUMBER.fullmatch(raw):
            return None
        number = int(raw)
        least = -_NUMBERS if name.endswith(_SIGNED) else 0
        return number if least <= number < _NUMBERS else None

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

    @property
    def origin(self) -> Origin:
        """The machine, to tell apart what is of several."""
        return self.received_from, self.text("_MACHINE_ID")

    def lacks(self) -> list[str]:
        """Mandatory fields that are missing or unreadable; an id must be readable wherever there is one."""
        names = _MANDATORY.get(self.event, ())
        if "OOM_KILL_ID" in self.fields and "OOM_KILL_ID" not in names:
            names = (*names, "OOM_KILL_ID")
        return [name for name in names if not self._has(name)]

    def _has(self, name: str) -> bool:
        if name == "OOM_KILL_ID":
            raw = self.fields.get(name)
            return isinstance(raw, bytes) and _ID.fullmatch(raw) is not None
        number = self.number(name)
        return number is not None and (number > 0 or name != "OOM_MISSED")


_BUCKETS = 1 << 12


class Seen:
    """Ids that occurred. In 10 bytes each: a journal may have 100,000 kills, and a set would take 10 MB for them.

    The ids are hashes, so 68 of their 128 bits do: two of 100,000 agree once in 10^10 journals.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, bytes] = {}

    def add(self, kill_id: bytes) -> bool:
        """Whether it is new; ``kill_id``: hexadecimal."""
        # By Python's hash, which nobody can foresee: a sender that chose its ids would make one bucket long.
        number, part = hash(kill_id) % _BUCKETS, bytes.fromhex(kill_id[4:18].decode())
        bucket = self._buckets.get(number, b"")
        at = bucket.find(part)
        while at > 0 and at % len(part):  # across two of them
            at = bucket.find(part, at + 1)
        if at < 0:
            self._buckets[number] = bucket + part
        return at < 0
