# SPDX-License-Identifier: Apache-2.0
"""Gives the kills in the kernel's log one by one, and keeps each until its entry is stored.

``source.Source`` and ``source.Tally``.
"""

from collections import deque

from oomkilld.host.clock import Clock
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.capture.source import Item, Seen
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.schema import LOG_OVERWRITTEN, NOT_SEEN

# About a kilobyte each. Beyond it lines wait where they are, in the log.
MAX_KEPT = 1024
# Of them so many at most are of domains where nothing could be killed, of each domain one.
MAX_STUBBORN = 64
# So many lines without a kill are read in a row, then other duties have their turn.
_LINES = 64


class Reader(Protocol):
    """The kernel's log; see kmsg.DevKmsg."""

    def read(self) -> Line | None:
        """The next line; None: there is none yet."""


class _Stubborn(NamedTuple):
    """A domain where nothing can be killed: the place of the last that is told of it, and how often since then."""

    position: int
    times: int


class LogSource:
    """A position counts items."""

    def __init__(self, reader: Reader, assembler: Assembler, clock: Clock) -> None:
        self._reader = reader
        self._assembler = assembler
        self._clock = clock
        self._kept: deque[KillRecord | Unkillable] = deque()
        self._first = 0
        self._stubborn: dict[bytes | None, _Stubborn] = {}
        self._empty_ns = -1
        self._overwritten = False

    @property
    def not_seen_reason(self) -> str:
        """See source.Tally."""
        return LOG_OVERWRITTEN if self._overwritten else NOT_SEEN

    @property
    def consumer_position(self) -> int:
        """Everything before it is freed."""
        return self._first

    def seen(self) -> Seen:
        """Lines about kills that were read."""
        return Seen(self._assembler.kills, self._assembler.repeats, 0)

    @property
    def seen_until_ns(self) -> int:
        """When the log was last read to its end."""
        return self._empty_ns

    def free(self, position: int) -> None:
        """Forget all before ``position``."""
        while self._first < position:
            self._kept.popleft()
            self._first += 1

    def peek(self, position: int) -> Item | None:
        """What is at ``position``, or nothing, where lines were read that are none; None: no line is left."""
        index = position - self._first
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
                self._empty_ns = self._clock.monotonic_ns()
                return False
            self._overwritten = self._overwritten or line.after_gap
            record = self._assembler.take(line)
            if isinstance(record, Unkillable):
                record = self._first_of_domain(record)
            if record is not None:
                self._kept.append(record)
                return True
        return True

    def _first_of_domain(self, unkillable: Unkillable) -> Unkillable | None:
        """With those since the one before; None: that is kept still, or there are too many others."""
        domain = unkillable.decision.domain_cgroup
        before = self._stubborn.pop(domain, None)
        if before is not None and before.position >= self._first:
            self._stubborn[domain] = before._replace(times=before.times + 1)
            return None
        if len(self._stubborn) >= MAX_STUBBORN:
            self._stubborn = {of: told for of, told in self._stubborn.items() if told.position >= self._first}
        if len(self._stubborn) >= MAX_STUBBORN:
            return None
        self._stubborn[domain] = _Stubborn(self._first + len(self._kept), 0)
        return unkillable._replace(times=1 + (before.times if before else 0))
