# SPDX-License-Identifier: Apache-2.0
"""Kills found in the kernel log, as a source for delivery."""

from collections.abc import Callable

from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.checkpoint import Counts, Kept, Sent
from oomkilld.record.deliver.sink import Incarnation
from oomkilld.record.kill import KillRecord
from oomkilld.record.state.sentids import SentEntry


class FoundKills:
    """See checkpoint.DeliverySource. A position is an index into ``kills``: pairs of kill and number of its repeats.

    The ledger counts each entry right after it is sent. Its id is saved before, so that the next run can look up
    whether the entry is stored: see confirm.py.
    """

    in_order = True

    def __init__(self, kept: Kept, kill_id: Callable[[KillRecord], str]) -> None:
        self._kept = kept
        self._ledger = kept.ledger
        self._kill_id = kill_id
        self.kills: list[tuple[KillRecord, int]] = []
        self.consumer_position = self._position = 0
        self.counts = Counts()

    @property
    def id_count(self) -> int:
        return self._ledger.totals.ids

    def peek(self, position: int) -> Item | None:
        return Item(self.kills[position][0], position + 1) if position < len(self.kills) else None

    def sent_before(self) -> Sent | None:
        """Always None: each search makes a new source."""
        return None

    def note_id(self, kill: KillRecord, end: int) -> None:
        self._kept.keep(SentEntry(bytes.fromhex(self._kill_id(kill)), 0, self.kills[end - 1][1]))

    def note_sent(self, position: int, more: Counts, _ahead: int, *, entry: bool) -> None:
        """Add ``more`` and the repeats of the kills up to ``position`` to the ledger. Kills sent again count once."""
        totals = self._ledger.totals
        repeats = sum(of_kill for _kill, of_kill in self.kills[self._position : position])
        self._position, self.counts = max(position, self._position), self.counts.plus(more)
        self._ledger.commit(
            totals._replace(
                ids=totals.ids + entry,
                sent_to=0,
                recalled=totals.recalled + more.entries,
                recalled_repeats=totals.recalled_repeats + repeats,
            )
        )

    def free(self, position: int) -> None:
        self.consumer_position = position

    def leave(self, _left: int, _incarnation: Incarnation | None) -> int:
        """They are in the log."""
        return 0
