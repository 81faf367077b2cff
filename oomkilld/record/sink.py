# SPDX-License-Identifier: Apache-2.0
"""Where entries go, as the rest of the resident stage sees it; journal.py is the real one."""

from collections.abc import Sequence
from typing import Protocol

Incarnation = tuple[str, int]
# An entry that journald has read is not stored yet: killed right then, it loses it.
STORED_AFTER_NS = 2 * 10**9
# How often to look whether journald has read what was sent.
LOOK_AFTER_NS = 250 * 10**6


class JournalRefused(Exception):
    """journald did not take the entry: nothing was sent. The message is the reason."""


class Sink(Protocol):
    """A journal that never makes its caller wait."""

    def send(self, fields: Sequence[bytes]) -> None:
        """Queue one entry of ``NAME=value`` fields. Raises JournalRefused."""

    def incarnation(self) -> Incarnation:
        """Changes when what was sent before may be lost."""

    def unread(self) -> bool:
        """Whether some of what was sent still waits to be read."""
