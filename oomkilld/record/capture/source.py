# SPDX-License-Identifier: Apache-2.0
"""What a source of kills is: its records, and what it counts as it sees them."""

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.kill import KillRecord, Unkillable


class Item(NamedTuple):
    """A record, as bytes or decoded; None for what is none, as the kernel discarded it; the position after it.

    What is none may take no place, then others come there.
    """

    record: bytes | KillRecord | Unkillable | None
    end: int


class Source(Protocol):
    """See ring.Ring and logsource.LogSource."""

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""

    def peek(self, position: int) -> Item | None:
        """The record at ``position``, if there is one."""

    def free(self, position: int) -> None:
        """Free all records before ``position``."""


class Seen(NamedTuple):
    """What a source counted since it was made: kills, those of them that are repeats, those it had no room for.

    A repeat is of a process that the same decision had killed before: no record of its own. Where there was no room
    for the record of that, it is one of those instead.
    """

    kills: int
    repeats: int
    lost: int


class Tally(Protocol):
    """What counts kills as they are seen; see ring.Counters and logsource.LogSource."""

    def seen(self) -> Seen:
        """So far."""

    @property
    def not_seen_reason(self) -> str:
        """Why a kill that the kernel counts may not be seen while this is there, and not be found in its log either."""

    @property
    def seen_until_ns(self) -> int | None:
        """Up to when (monotonic) everything told is in ``seen()``; None: it always is."""
