# SPDX-License-Identifier: Apache-2.0
"""A source of kills: its records, and its counts of what it saw."""

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.kill import KillRecord, Unkillable


class Item(NamedTuple):
    """A record, as bytes or decoded, and the position after it. None: no record, such as one that the kernel discarded.

    An item without a record may take up no position; a record then appears at the same position later.
    """

    record: bytes | KillRecord | Unkillable | None
    end: int


class Source(Protocol):
    """See ring.Ring and logsource.LogSource. Everything before ``consumer_position`` is freed."""

    @property
    def consumer_position(self) -> int: ...
    def peek(self, position: int) -> Item | None: ...
    def free(self, position: int) -> None: ...


class Seen(NamedTuple):
    """Counts of a source since it was created: kills, repeats among them, and kills for which it had no room.

    A repeat hits a process that the same decision killed before: it gets no record. If the first hit had no room for
    its record, the repeat counts as lost instead.
    """

    kills: int
    repeats: int
    lost: int


class Tally(Protocol):
    """Counts kills as the source sees them; see ring.Counters and logsource.LogSource."""

    not_seen_reason: str  # of kills that the kernel counted, but that neither this source nor the kernel log shows
    seen_until_ns: int | None  # until when (CLOCK_MONOTONIC) ``seen()`` is complete; None: it always is

    def seen(self) -> Seen: ...
