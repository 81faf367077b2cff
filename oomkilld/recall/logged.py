# SPDX-License-Identifier: Apache-2.0
"""The kills that lines of the kernel's log tell of."""

from collections.abc import Iterable
from typing import NamedTuple

from oomkilld.record import oomlines
from oomkilld.record.decode import KillRecord
from oomkilld.record.kmsg import Line
from oomkilld.record.logrecord import Assembler


class Logged(NamedTuple):
    """A kill in the log. ``repeats``: of the kernel's count of kills, how many more are this one."""

    kill: KillRecord
    repeats: int


class _Stamps:
    """Times of lines, as if the machine had always slept as long as now; ``logrecord.LineClock``."""

    def __init__(self, asleep_ns: int) -> None:
        self._asleep_ns = asleep_ns
        self._last_ns = 0

    def boottime_ns(self, usec: int) -> int:
        """Later than all before."""
        self._last_ns = max(usec * 1000 + self._asleep_ns, self._last_ns + 1)
        return self._last_ns


def kills_in(lines: Iterable[Line], page_bytes: int, asleep_ns: int) -> list[Logged]:
    """In order. A line that repeats a kill is counted with it."""
    assembler = Assembler(_Stamps(asleep_ns), page_bytes)
    found: list[Logged] = []
    for line in lines:
        repeats = assembler.repeats
        record = assembler.take(line)
        if record is not None:
            found.append(Logged(record, 0))
        elif assembler.repeats > repeats:
            _count_repeat(found, line)
    return found


def _count_repeat(found: list[Logged], line: Line) -> None:
    kill = oomlines.killed(line.text)
    assert kill is not None
    at = next(at for at in reversed(range(len(found))) if found[at].kill.victim_tid == kill.tid)
    found[at] = found[at]._replace(repeats=found[at].repeats + 1)
