# SPDX-License-Identifier: Apache-2.0
"""What a source of kills counts as it sees them."""

from oomkilld.lighttyping import NamedTuple, Protocol


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
