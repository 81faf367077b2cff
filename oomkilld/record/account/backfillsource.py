# SPDX-License-Identifier: Apache-2.0
"""Kills found in the kernel's log, on their way to the journal."""

from collections.abc import Callable

from oomkilld.record.capture.source import Item
from oomkilld.record.deliver.checkpoint import Counts, Sent
from oomkilld.record.deliver.sink import Incarnation
from oomkilld.record.kill import KillRecord
from oomkilld.record.state.ledger import Books


class FoundKills:
    """Kills found in the log, as a source for delivery; a position counts them. See checkpoint.KeptSource.

    ``books`` know of each entry right after it is sent, and ``keep`` its id, by its number among all that were found:
    the next run looks in the journal first for those that are not known to be stored.
    """

    def __init__(self, books: Books, keep: Callable[[int, KillRecord], None]) -> None:
        self._books = books
        self._keep = keep
        self._before = books.totals
        self._sent = Sent(0, Counts())
        self.kills: list[tuple[KillRecord, int]] = []
        self.consumer_position = 0
        self.freed = Counts()

    def peek(self, position: int) -> Item | None:
        """The kill at that place."""
        return Item(self.kills[position][0], position + 1) if position < len(self.kills) else None

    def sent_before(self) -> Sent | None:
        """None was."""
        return None

    def sending(self, number: int, kill: KillRecord) -> None:
        """It is known again by its id."""
        self._keep(self._before.recalled + number, kill)

    def sent(self, sent: Sent) -> None:
        """So many have an entry; when journald was started anew, those that are sent again have had one before."""
        sent = self._sent = max(sent, self._sent)
        before, repeats = self._before, self._repeats(sent.position)
        stored, stored_repeats = self.freed.entries, self._repeats(self.consumer_position)
        self._books.commit(
            self._books.totals._replace(
                recalled=before.recalled + sent.counts.entries,
                recalled_repeats=before.recalled_repeats + repeats,
                recalling=sent.counts.entries - stored,
                recalling_repeats=repeats - stored_repeats,
            )
        )

    def free(self, position: int, freed: Counts) -> None:
        """So many have one that is stored."""
        totals = self._books.totals
        self._books.commit(
            totals._replace(
                recalling=totals.recalling - (freed.entries - self.freed.entries),
                recalling_repeats=totals.recalling_repeats
                - (self._repeats(position) - self._repeats(self.consumer_position)),
            )
        )
        self.consumer_position, self.freed = position, freed

    def leave(self, _left: int, _incarnation: Incarnation | None) -> int:
        """They are in the log."""
        return 0

    def add_known(self, kills: int, repeats: int) -> None:
        """So many more have an entry that is stored, of runs before; no other is in doubt."""
        self._books.commit(
            self._books.totals._replace(
                recalled=self._before.recalled + kills,
                recalled_repeats=self._before.recalled_repeats + repeats,
                recalled_in_doubt=0,
                recalled_repeats_in_doubt=0,
            )
        )
        self._before = self._books.totals

    def _repeats(self, position: int) -> int:
        return sum(repeats for _kill, repeats in self.kills[:position])
