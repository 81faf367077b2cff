# SPDX-License-Identifier: Apache-2.0
"""Ids of the entries sent last, kept where they outlive the service: /run/oomkilld/sent.

Likewise of those made of lines of the kernel's log: /run/oomkilld/recalled.
"""

import mmap
from array import array
from collections.abc import Iterator

from oomkilld.record.state.statefile import open_kept
from oomkilld.service.notefile import Directory

# Far more than journald is given within the time after which an entry counts as stored.
KEPT = 2048
SENT, RECALLED = "sent", "recalled"
# Slots of 8 bytes: the entry's number and 1 more (0: none), and its id.
_ENTRY = 3
_BYTES = KEPT * _ENTRY * 8


class SentIds:
    """``memory``: the file's. Entries are numbered in the order in which they were sent, since the books were begun.

    Of those made of the kernel's log the number goes back when some turn out not to be stored, and others get it.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._slots = memoryview(memory).cast("Q")

    def keep(self, number: int, kill_id: bytes) -> None:
        """That entry is about to be sent. ``kill_id``: 16 bytes."""
        at = number % KEPT * _ENTRY
        self._slots[at + 1 : at + _ENTRY] = array("Q", kill_id)
        self._slots[at] = number + 1

    def between(self, first: int, end: int) -> Iterator[bytes]:
        """Of the entries from ``first`` to before ``end`` those that are kept."""
        for number in range(max(first, end - KEPT), end):
            at = number % KEPT * _ENTRY
            if self._slots[at] == number + 1:
                yield self._slots[at + 1 : at + _ENTRY].tobytes()


def open_sent_ids(directory: Directory, name: str) -> SentIds:
    """Those of the run before, and of this one; ``name``: SENT or RECALLED. The lock must be held. Raises OSError."""
    return SentIds(open_kept(directory, name, _BYTES))


def sent_ids_in_memory() -> SentIds:
    """New ones, which end with this process."""
    return SentIds(mmap.mmap(-1, _BYTES))
