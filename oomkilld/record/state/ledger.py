# SPDX-License-Identifier: Apache-2.0
"""What was counted since the first start in this boot, kept where it outlives the service: /run/oomkilld/ledger.

A page of memory, shared with whoever starts next. The totals stand in it twice, and one number says which copy is in
force: so they change all at once, also when the service is killed right then.
"""

import mmap
import sys
from array import array

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.state.statefile import open_kept
from oomkilld.service.notefile import Directory

_NAME = "ledger"
_MAGIC = int.from_bytes(b"oomkledg", sys.byteorder)
# Slots of 8 bytes: what the file is, the boot, the kernel's count when it was begun and 1 more (0: it tells none), the
# copy in force; then the copies.
_HEAD, _COPY = 5, 100
# Nothing here can be more: with such numbers the books are begun anew.
_MOST = 1 << 62
_IN_FORCE = 4


class Totals(NamedTuple):
    """Numbers of kills, but for ``source``, positions, ids and ``spared``.

    Of records that were sent: ``entries``, ``spared``, ``rejected`` and ``refused``, see Counts. Of the source, which
    counts what it sees: ``kills``, ``repeats`` and ``lost`` are of the present one as last read, ``earlier_…`` of all
    before it, less ``unsent``.
    """

    source: int = 0  # when it was made, ns since the boot
    position: int = 0  # everything in the source before it is freed
    sent_position: int = 0  # everything in the source before it is sent
    ahead_position: int = 0  # and behind that, before this one, some kills are, see ahead.py
    sent_to: int = 0  # see checkpoint.Sent
    ids: int = 0  # how many entries have their ids in the file of sent ids, see sentids.py
    confirmed: int = 0  # of these the first that is not known to be stored
    entries: int = 0
    spared: int = 0
    rejected: int = 0
    refused: int = 0
    kills: int = 0
    repeats: int = 0
    lost: int = 0
    earlier_kills: int = 0
    earlier_repeats: int = 0
    earlier_lost: int = 0
    recalled: int = 0  # counted by the kernel, not seen, and found in its log: entries
    recalled_repeats: int = 0  # likewise, and no entry of their own
    compared: int = 0  # 0: the journal may have entries that are not counted here
    unsent: int = 0  # seen, not sent or not stored before their source had gone, and looked for: in no other number
    stopped: int = 0  # ``unsent``, and not found in the kernel's log either
    not_running: int = 0  # counted by the kernel while no source was there
    not_running_first: int = 0  # of ``not_running``, those before the first start in this boot
    not_seen: int = 0  # counted by the kernel while a source was there
    unconfirmed: int = 0  # of ``not_seen``, those that a whole log has no line of
    ring_full: int = 0  # lost, and not found in the kernel's log either
    lost_looked_for: int = 0  # lost, found or not
    surplus: int = 0  # seen, and not counted by the kernel
    before_first: int = 0  # counted by the kernel before the first start in this boot; 0 once they were looked for
    said_ring_full: int = 0  # of the missing, how many were reported in entries, by reason
    said_rejected: int = 0
    said_stopped: int = 0
    said_not_running: int = 0
    said_not_running_first: int = 0
    said_not_seen: int = 0
    said_unconfirmed: int = 0

    def with_source(self, made_ns: int) -> "Totals":
        """Those to go on with: of another source nothing is left but what it had counted."""
        if self.source == made_ns:
            return self
        repeats, lost = self.earlier_repeats + self.repeats, self.earlier_lost + self.lost
        done = self.entries + self.rejected + repeats + lost
        # What was sent was seen, also where the run was killed before it could write that down.
        kills = max(self.earlier_kills + self.kills, done + self.stopped)
        # What waited in it is gone with it, and is looked for.
        unsent = kills - done - self.stopped
        return self._replace(
            source=made_ns,
            position=0,
            sent_position=0,
            ahead_position=0,
            kills=0,
            repeats=0,
            lost=0,
            earlier_kills=kills - unsent,
            earlier_repeats=repeats,
            earlier_lost=lost,
            unsent=self.unsent + unsent,
        )

    def without_entries(self, kills: int, spared: int) -> "Totals":
        """So many entries of sources that have gone are not stored: the kills are looked for.

        No number becomes negative by that: with one the service would not start any more.
        """
        kills = min(kills, self.entries, self.earlier_kills)
        return self._replace(
            entries=self.entries - kills,
            spared=max(0, self.spared - spared),
            earlier_kills=self.earlier_kills - kills,
            unsent=self.unsent + kills,
        )

    def with_unsent_stopped(self, kills: int) -> "Totals":
        """So many of ``unsent`` were found nowhere, or cannot be looked for."""
        kills = min(kills, self.unsent)
        return self._replace(
            earlier_kills=self.earlier_kills + kills, stopped=self.stopped + kills, unsent=self.unsent - kills
        )


class Books(Protocol):
    """See BookFile."""

    @property
    def baseline(self) -> int | None:
        """The kernel's own count of kills when the books were begun; None: it tells none."""

    @property
    def totals(self) -> Totals:
        """As they were committed last."""

    def commit(self, totals: Totals) -> None:
        """All of them at once."""


class BookFile:
    """``page``: the file's memory. ``boot_id``: 16 bytes. ``count``: the kernel's, if the books are begun here.

    ``before``: how many of what it counts were before the first start in this boot, likewise.
    """

    def __init__(self, page: mmap.mmap, boot_id: bytes, count: int | None, before: int = 0) -> None:
        self._slots = memoryview(page).cast("Q")
        boot = list(memoryview(boot_id).cast("Q"))
        if list(self._slots[:3]) != [_MAGIC, *boot] or max(self._slots[3], *self._in_force()) > _MOST:
            self._slots[:] = array("Q", bytes(mmap.PAGESIZE))
            self._slots[1:4] = array("Q", [*boot, 0 if count is None else count + 1])
            self._totals = Totals()
            self.commit(Totals(before_first=before))
            self._slots[0] = _MAGIC  # the last: now they are begun
        self._totals = self._in_force()  # nobody else writes them

    def _in_force(self) -> Totals:
        at = self._start(self._slots[_IN_FORCE] & 1)
        return Totals(*self._slots[at : at + len(Totals._fields)])

    @property
    def baseline(self) -> int | None:
        """See Books."""
        count = self._slots[3]
        return count - 1 if count else None

    @property
    def totals(self) -> Totals:
        """See Books."""
        return self._totals

    def commit(self, totals: Totals) -> None:
        """See Books."""
        if totals == self._totals:
            return
        other = ~self._slots[_IN_FORCE] & 1
        at = self._start(other)
        self._slots[at : at + len(totals)] = array("Q", totals)
        self._slots[_IN_FORCE] = other
        self._totals = totals

    @staticmethod
    def _start(copy: int) -> int:
        return _HEAD + copy * _COPY


def open_books(directory: Directory, boot_id: bytes, count: int | None, before: int = 0) -> BookFile:
    """Those of this boot, or new ones. The lock must be held. Raises OSError."""
    return BookFile(open_kept(directory, _NAME, mmap.PAGESIZE), boot_id, count, before)


def books_in_memory(boot_id: bytes, count: int | None) -> BookFile:
    """New ones, which end with this process."""
    return BookFile(mmap.mmap(-1, mmap.PAGESIZE), boot_id, count)
