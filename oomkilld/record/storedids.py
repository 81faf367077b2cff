# SPDX-License-Identifier: Apache-2.0
"""Ids of the newest entries in the journal, as a process of its own tells them; see recall/stored.py."""

from oomkilld.recall.messages import ALL, ID_BYTES
from oomkilld.record.looker import Looker

# So many more are asked for: there may be others between them, that were found in the kernel's log or are there twice.
MORE = 600


class CannotTell(Exception):
    """The process did not tell all. The message is the reason."""


class StoredIds:
    """None, until they are told."""

    def __init__(self) -> None:
        self._ids = b""

    def take(self, looker: Looker) -> None:
        """To the last one. Raises BlockingIOError: there are more to come; CannotTell."""
        while (message := looker.receive()) != ALL:
            if not message or len(message) % ID_BYTES:
                raise CannotTell("the process that does it ended" if not message else "what was told is not ids")
            self._ids += message

    def __contains__(self, kill_id: bytes) -> bool:
        at = self._ids.find(kill_id)
        while at >= 0 and at % ID_BYTES:
            at = self._ids.find(kill_id, at + 1)
        return at >= 0
