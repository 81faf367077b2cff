# SPDX-License-Identifier: Apache-2.0
"""Finds kills to send ahead of a flood's, while journald accepts fewer entries than there are kills.

While other senders fill journald's queue, this service gets only one sender's share of it, so kills pile up in the
ring. In ring order, one owner's flood would delay the kills of all other owners. Those are sent first.
"""

from collections import deque

from oomkilld.lighttyping import Protocol
from oomkilld.record.capture.decode import is_kill
from oomkilld.record.deliver.checkpoint import DeliverySource, SentAhead
from oomkilld.record.kill import KillRecord, Unkillable

# Records examined per turn of the loop, at 0.3 ms each or more; kills that may be ahead at a time.
LOOKS = 16
MOST = 1024


class FloodJudge(Protocol):
    """See pipeline.Pipeline, which imports this room."""

    def of_flood(self, record: bytes | KillRecord | Unkillable) -> bool | None: ...


class Ahead:
    """``sent``: kills that were sent ahead and whose turn has not come, by position; value None: it may be lost."""

    def __init__(self, source: DeliverySource, records: FloodJudge) -> None:
        self._source = source
        self._records = records
        self._found: deque[int] = deque()
        self._looked_until = self._looks = 0
        self.sent: dict[int, SentAhead | None] = {}
        self.until = 0  # end of the last record sent ahead

    def begin_turn(self) -> None:
        """Allow LOOKS more records to be examined; called once per turn of the loop."""
        self._looks = LOOKS

    def next(self, position: int) -> int | None:
        """Position of the kill to send before the record at ``position``; None: send that record itself."""
        head = self._source.peek(position)
        if head is None or head.record is None or not is_kill(head.record) or not self._records.of_flood(head.record):
            return None
        while self._found and self._found[0] < head.end:
            self._found.popleft()
        self._look_on(head.end)
        return self._found[0] if self._found and len(self.sent) < MOST else None

    def took(self, position: int, end: int, sent: SentAhead | None) -> None:
        """The record from ``position`` to ``end`` was taken. ``sent`` None: not ready yet, it waits for its turn."""
        self._found.remove(position)
        if sent is not None:
            self.sent[position] = sent
            self.until = max(self.until, end)

    def may_be_lost(self) -> None:
        """Note a restart of journald: nothing that was sent ahead counts as sent any more."""
        self.sent = dict.fromkeys(self.sent)

    def _look_on(self, position: int) -> None:
        self._looked_until = max(self._looked_until, position)
        # While journald takes one entry per turn, looking for more than that one would delay it.
        while self._looks > 0 and not self._found:
            self._looks -= 1
            item = self._source.peek(self._looked_until)
            if item is None or item.end == self._looked_until:
                break
            if item.record is not None and is_kill(item.record):
                of_flood = self._records.of_flood(item.record)
                if of_flood is None:
                    break
                if not of_flood:
                    self._found.append(self._looked_until)
            self._looked_until = item.end
