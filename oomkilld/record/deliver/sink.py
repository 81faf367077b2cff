# SPDX-License-Identifier: Apache-2.0
"""Where entries go, as the rest of the resident stage sees it; journal.py is the real one."""

import sys
from _blake2 import blake2b  # see killentry.py
from collections.abc import Sequence

from oomkilld.lighttyping import Protocol

Incarnation = tuple[str, int]
# One that is not there any more.
ANOTHER: Incarnation = "", -1
# An entry that journald has read is not stored yet: killed right then, it loses it.
STORED_AFTER_NS = 2 * 10**9


def number_of(incarnation: Incarnation) -> int:
    """For the books, where 0 stands for none."""
    return int.from_bytes(blake2b(repr(incarnation).encode(), digest_size=7).digest(), sys.byteorder) or 1


class JournalRefused(Exception):
    """journald did not take the entry: nothing was sent. The message is the reason."""


class JournalBusy(JournalRefused):
    """Its queue was full, and this turn of the loop has waited for it before: to be tried again in the next."""


class Sink(Protocol):
    """A journal that makes its caller wait once in a turn of the loop, and not for long."""

    def send(self, fields: Sequence[bytes]) -> None:
        """Queue one entry of ``NAME=value`` fields. Raises JournalRefused."""

    def ping(self) -> None:
        """Queue something behind all that was sent. Raises JournalRefused."""

    def incarnation(self) -> Incarnation:
        """Changes when what was sent before may be lost."""

    def mark(self) -> int | None:
        """Stands for all that was sent by now, by this run and before; None: that is not to be told yet."""

    def has_read(self, mark: int) -> bool:
        """Whether nothing of that waits to be read any more, whatever was sent after it."""


class Turns(Sink, Protocol):
    """As the loop sees it."""

    def begin_turn(self) -> None:
        """One comes now: in it, one of all that is sent may wait."""

    def wait_until_read(self) -> None:
        """The end has come: for all that was sent, and not for long."""
