# SPDX-License-Identifier: Apache-2.0
"""The kills that the lines of the kernel log report."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kill import KillRecord

# Lines of one group stand together: no repeat comes later than this, or after more other kills.
_REPEAT_WITHIN_USEC, _HELD_BACK = 60 * 10**6, 4096


class Logged(NamedTuple):
    """A kill in the log. ``repeats``: how many more times the kernel counted it; ``at``: its position."""

    kill: KillRecord
    repeats: int
    at: int = 0


class _Stamps:
    """Times of lines, as if the machine had slept before all of them; implements ``assemble.LineClock``."""

    def __init__(self, asleep_ns: int) -> None:
        self._asleep_ns = asleep_ns
        self._last_ns = 0

    @staticmethod
    def began_usec(usec: int) -> int:
        """Nothing is known of what was before the first line."""
        return usec

    def boottime_ns(self, usec: int) -> int:
        self._last_ns = max(usec * 1000 + self._asleep_ns, self._last_ns + 1)
        return self._last_ns


def kills_in(lines: Iterable[Line], page_bytes: int, asleep_ns: int) -> Iterator[Logged]:
    """All kills, in order. A line that repeats a kill is counted with it."""
    assembler = Assembler(_Stamps(asleep_ns), page_bytes)
    recent: deque[Logged] = deque()
    for line in lines:
        repeats = assembler.repeats
        record = assembler.take(line)
        if isinstance(record, KillRecord):
            recent.append(Logged(record, 0))
        elif assembler.repeats > repeats:
            _count_repeat(recent, line)
        while recent and (len(recent) > _HELD_BACK or _is_past(recent[0], line)):
            yield recent.popleft()
    yield from recent


def _is_past(logged: Logged, line: Line) -> bool:
    return line.usec - (logged.kill.logged_usec or 0) > _REPEAT_WITHIN_USEC


def _count_repeat(recent: deque[Logged], line: Line) -> None:
    kill = grammar.killed(line.text)
    assert kill is not None
    for at in reversed(range(len(recent))):
        if recent[at].kill.victim_tid == kill.tid:
            recent[at] = recent[at]._replace(repeats=recent[at].repeats + 1)
            return
