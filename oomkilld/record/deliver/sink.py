# SPDX-License-Identifier: Apache-2.0
"""The interface to journald; journal.py implements it."""

import sys
from _blake2 import blake2b  # see kill.py
from collections.abc import Sequence

from oomkilld.lighttyping import Protocol

Incarnation = tuple[str, int]
# Equal to no real incarnation: stands for a journald that is gone.
ANOTHER: Incarnation = "", -1
# journald may be killed after it has read an entry and before it has stored it. It gets this long to store it.
STORED_AFTER_NS = 2 * 10**9


def number_of(incarnation: Incarnation) -> int:
    """A number for the ledger, 56 bits and never 0, which means unknown there."""
    return int.from_bytes(blake2b(repr(incarnation).encode(), digest_size=7).digest(), sys.byteorder) or 1


class JournalRefused(Exception):
    """journald refused the entry, and nothing was sent. The message is the reason."""


class JournalBusy(JournalRefused):
    """journald's queue is full, and this turn of the loop has already waited for it once: retry in the next turn."""


class Sink(Protocol):
    """See journal.Journal: not imported here, because it needs libsystemd, which unit tests do without."""

    @property
    def entries(self) -> int: ...
    def begin_turn(self) -> None: ...
    def send(self, fields: Sequence[bytes]) -> None: ...
    def ping(self) -> None: ...
    def incarnation(self) -> Incarnation: ...
    def mark(self) -> int | None: ...
    def has_read(self, mark: int) -> bool: ...
    def wait_until_read(self) -> None: ...
