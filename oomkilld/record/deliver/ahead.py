# SPDX-License-Identifier: Apache-2.0
"""Which kills go before those of a flood, while others flood journald and it takes fewer entries than there are kills.

Of journald's queue the service has the share of one sender. Kills that come faster wait in the ring, and whoever is
flooding would make others wait: so theirs are sent first.
"""

from collections import deque

from oomkilld.lighttyping import Protocol
from oomkilld.record.capture.decode import is_kill
from oomkilld.record.deliver.checkpoint import DeliverySource, SentAhead
from oomkilld.record.kill import KillRecord, Unkillable

# Records looked at in one turn of the loop, a tenth of a millisecond each; and kills that may be sent ahead.
LOOKS = 64
MOST = 1024


class Judging(Protocol):
    """See pipeline.Pipeline."""

    def of_flood(self, record: bytes | KillRecord | Unkillable) -> bool | None:
        """Whether this kill is one of a flood; None: that is not known yet, and soon will be."""


class Ahead:
    """``sent``: by its position, each kill that was sent ahead; None: it may be lost."""

    def __init__(self, source: DeliverySource, records: Judging) -> None:
        self._source = source
        self._records = records
        self._found: deque[int] = deque()
        self._looked_until = self._looks = 0
        self.sent: dict[int, SentAhead | None] = {}
        self.until = 0  # the end of the last one

    def begin_turn(self) -> None:
        """A turn of the loop comes now."""
        self._looks = LOOKS

    def next(self, position: int) -> int | None:
        """Where the next one is, before which the record at ``position`` is to wait; None: there is none."""
        head = self._source.peek(position)
        if head is None or head.record is None or not is_kill(head.record) or not self._records.of_flood(head.record):
            return None
        self._look_on(head.end)
        while self._found and self._found[0] < head.end:
            self._found.popleft()
        return self._found[0] if self._found and len(self.sent) < MOST else None

    def took(self, position: int, end: int, sent: SentAhead | None) -> None:
        """That was done; ``sent`` None: it is not ready yet, and is sent in its turn."""
        self._found.remove(position)
        if sent is not None:
            self.sent[position] = sent
            self.until = max(self.until, end)

    def may_be_lost(self) -> None:
        """What was sent, for journald is another one."""
        self.sent = dict.fromkeys(self.sent)

    def _look_on(self, position: int) -> None:
        self._looked_until = max(self._looked_until, position)
        while self._looks > 0:
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
