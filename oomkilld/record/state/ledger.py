# SPDX-License-Identifier: Apache-2.0
"""The counters since the first start in this boot, in /run/oomkilld/ledger: they outlive the service.

The file is one page of memory, which the next run continues. It holds the totals twice, and one number says which copy
is valid. So all totals change at once, even if the service is killed during a commit.
"""

import mmap
import sys
from array import array

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.state.statefile import open_kept
from oomkilld.service.notefile import Directory

_NAME = "ledger"
_MAGIC = int.from_bytes(b"oomkledg", sys.byteorder)
# Slots of 8 bytes: magic number, boot id (2 slots), the kernel's count when the ledger was begun plus 1 (0: it had
# none), which copy is valid; then the copies.
_HEAD, _COPY = 5, 100
# Upper limit of every number. A file with a larger one is damaged, and the ledger begins again.
_MOST = 1 << 62
_IN_FORCE = 4


class Totals(NamedTuple):
    """Numbers of kills, except for ``source``, positions, ids and ``spared``.

    ``entries``, ``spared``, ``rejected`` and ``refused`` count records taken, see checkpoint.Counts. ``kills``,
    ``repeats`` and ``lost`` are the present source's own counters as last read, see source.Seen. ``earlier_…`` are the
    sums over all earlier sources; ``earlier_kills`` does not include ``unsent``.
    """

    source: int = 0  # when the present source was made, ns since boot
    position: int = 0  # all records of the source before it are freed
    sent_position: int = 0  # all records before it are sent
    ahead_position: int = 0  # some records from ``sent_position`` to here were sent ahead, see ahead.py
    sent_to: int = 0  # see checkpoint.Sent
    ids: int = 0  # number of ids written to the file of sent ids so far, see sentids.py
    confirmed: int = 0  # number of the first of these whose entry is not known to be stored
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
    recalled: int = 0  # entries made from lines of the kernel log
    recalled_repeats: int = 0  # repeats of these kills, which have no entry of their own
    compared: int = 0  # 0: the journal may have entries that are not counted here
    unsent: int = 0  # seen, but not sent or stored before the source was gone; being searched for; in no other total
    stopped: int = 0  # seen, without a stored entry when their source was gone, and not found or not searched for
    not_running: int = 0  # counted by the kernel while there was no source, and not found in its log
    not_running_first: int = 0  # of ``not_running``: before the first start in this boot
    not_seen: int = 0  # counted by the kernel while there was a source, and not found in its log
    unconfirmed: int = 0  # of ``not_seen``: not in the kernel log, although that lost no line
    ring_full: int = 0  # lost by the source, and not found in the kernel log
    lost_looked_for: int = 0  # lost by the source and searched for, found or not
    surplus: int = 0  # seen, but not counted by the kernel
    before_first: int = 0  # counted by the kernel before the first start in this boot; 0 once they were searched for
    said_ring_full: int = 0  # missing kills that ``missed`` entries report, by reason
    said_rejected: int = 0
    said_stopped: int = 0
    said_not_running: int = 0
    said_not_running_first: int = 0
    said_not_seen: int = 0
    said_unconfirmed: int = 0

    def with_source(self, made_ns: int) -> "Totals":
        """The totals to continue with a source made at ``made_ns``. If that is a new one, the old one is gone.

        Then only its counters are left, and kills that it saw and that have no entry become ``unsent``.
        """
        if self.source == made_ns:
            return self
        repeats, lost = self.earlier_repeats + self.repeats, self.earlier_lost + self.lost
        done = self.entries + self.rejected + repeats + lost
        # Every kill sent was seen, even if the run was killed before it saved the source's counters.
        kills = max(self.earlier_kills + self.kills, done + self.stopped)
        # The rest waited in the old source and is gone with it: the audit searches the kernel log for it.
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


class Ledger:
    """``page``: the file, mapped. ``boot_id``: 16 bytes. A ledger of another boot or a damaged one begins again.

    Only then are used: ``count``, the kernel's count at that point, None: it has none; ``before``, the number of kills
    before the first start in this boot. ``baseline``: the kernel's count when the ledger was begun; None: it had none.
    ``totals``: those committed last.
    """

    def __init__(self, page: mmap.mmap, boot_id: bytes, count: int | None, before: int = 0) -> None:
        self._slots = memoryview(page).cast("Q")
        boot = list(memoryview(boot_id).cast("Q"))
        if list(self._slots[:3]) != [_MAGIC, *boot] or max(self._slots[3], *self._in_force()) > _MOST:
            self._slots[:] = array("Q", bytes(mmap.PAGESIZE))
            self._slots[1:4] = array("Q", [*boot, 0 if count is None else count + 1])
            self.totals = Totals()
            self.commit(Totals(before_first=before))
            self._slots[0] = _MAGIC  # last: from here on the file is valid
        self.totals = self._in_force()  # this process is the only writer
        self.baseline = self._slots[3] - 1 if self._slots[3] else None

    def _in_force(self) -> Totals:
        at = self._start(self._slots[_IN_FORCE] & 1)
        return Totals(*self._slots[at : at + len(Totals._fields)])

    def commit(self, totals: Totals) -> None:
        if totals == self.totals:
            return
        other = ~self._slots[_IN_FORCE] & 1
        at = self._start(other)
        self._slots[at : at + len(totals)] = array("Q", totals)
        self._slots[_IN_FORCE] = other
        self.totals = totals

    @staticmethod
    def _start(copy: int) -> int:
        return _HEAD + copy * _COPY


def open_ledger(directory: Directory, boot_id: bytes, count: int | None, before: int = 0) -> Ledger:
    """Open this boot's ledger, or begin one. The lock must be held. Raises OSError."""
    return Ledger(open_kept(directory, _NAME, mmap.PAGESIZE), boot_id, count, before)


def ledger_in_memory(boot_id: bytes, count: int | None) -> Ledger:
    """A new ledger that ends with this process."""
    return Ledger(mmap.mmap(-1, mmap.PAGESIZE), boot_id, count)
