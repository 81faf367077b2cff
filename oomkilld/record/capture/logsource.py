# SPDX-License-Identifier: Apache-2.0
"""Delivers the kills in the kernel log one by one, and keeps each until its entry is stored.

Implements ``source.Source`` and ``source.Tally``.
"""

from collections import deque

from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.capture.source import Item, Seen
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.kmsg import DevKmsg
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.schema import LOG_OVERWRITTEN, NOT_SEEN

# Records, about a kilobyte each. When as many are kept, further lines wait in the log.
MAX_KEPT = 1024
# Domains among them where nothing could be killed, each with one record.
MAX_STUBBORN = 64
# Lines without a kill that are read in a row before other duties get their turn.
_LINES = 64


class _Stubborn(NamedTuple):
    """A domain where nothing can be killed: position of its last record, and the number of decisions since then."""

    position: int
    times: int


class LogSource:
    """Positions count items. ``seen_until_ns``: when the log was last read to its end; -1: never."""

    not_seen_reason = NOT_SEEN
    seen_until_ns: int | None = -1

    def __init__(self, reader: DevKmsg, assembler: Assembler, clock: KernelClock) -> None:
        self._reader = reader
        self._assembler = assembler
        self._clock = clock
        self._kept: deque[KillRecord | Unkillable] = deque()
        self.consumer_position = 0
        self._stubborn: dict[bytes | None, _Stubborn] = {}

    def seen(self) -> Seen:
        return Seen(self._assembler.kills, self._assembler.repeats, 0)

    def free(self, position: int) -> None:
        while self.consumer_position < position:
            self._kept.popleft()
            self.consumer_position += 1

    def peek(self, position: int) -> Item | None:
        """The item at ``position``; without a record: only other lines were read. None: no line is left."""
        index = position - self.consumer_position
        if index == len(self._kept):
            if not self._read_on():
                return None
            if index == len(self._kept):
                return Item(None, position)
        return Item(self._kept[index], position + 1)

    def _read_on(self) -> bool:
        if len(self._kept) >= MAX_KEPT:
            return False
        for _ in range(_LINES):
            line = self._reader.read()
            if line is None:
                self.seen_until_ns = self._clock.monotonic_ns()
                return False
            if line.after_gap:
                self.not_seen_reason = LOG_OVERWRITTEN
            record = self._assembler.take(line)
            if isinstance(record, Unkillable):
                record = self._first_of_domain(record)
            if record is not None:
                self._kept.append(record)
                return True
        return True

    def _first_of_domain(self, unkillable: Unkillable) -> Unkillable | None:
        """The record, with the count since the previous one. None: that one is still kept, or there are too many."""
        domain = unkillable.decision.domain_cgroup
        before = self._stubborn.pop(domain, None)
        if before is not None and before.position >= self.consumer_position:
            self._stubborn[domain] = before._replace(times=before.times + 1)
            return None
        if len(self._stubborn) >= MAX_STUBBORN:
            self._stubborn = {
                of: told for of, told in self._stubborn.items() if told.position >= self.consumer_position
            }
        if len(self._stubborn) >= MAX_STUBBORN:
            return None
        self._stubborn[domain] = _Stubborn(self.consumer_position + len(self._kept), 0)
        return unkillable._replace(times=1 + (before.times if before else 0))
