# SPDX-License-Identifier: Apache-2.0
"""What journald has kept of the kernel's log, and what the kernel still holds, become one log."""

from collections.abc import Iterable, Iterator, Sequence

from oomkilld.record import oomlines
from oomkilld.record.kmsg import KERNEL, Line


def joined(kept: Iterable[Line], held: Sequence[Line]) -> Iterator[Line]:
    """Oldest first, none twice. ``kept`` are the kernel's own lines only; of others there are but in ``held``.

    The two meet at the first of the kernel's own that it holds: the same microsecond and the same text. Where journald
    has not got that one, lines may be lost in between. Of one microsecond there may be several, some of which the
    kernel holds no more.
    """
    first = next((line for line in held if line.facility == KERNEL), held[0] if held else None)
    if first is None:
        yield from kept
        return
    same: list[Line] = []
    for line in kept:
        if line.usec > first.usec:
            break
        if line.usec == first.usec:
            same.append(line)
        else:
            yield line
    own = [line for line in held if line.usec == first.usec and line.facility == KERNEL]
    behind = len(same) - _overlap(list(map(_key, same)), list(map(_key, own)))
    yield from same[:behind]
    # What journald says of lines that it has missed before these holds for the same lines in the ring.
    yield held[0]._replace(after_gap=behind == len(same) or any(line.after_gap for line in same[behind:]))
    yield from held[1:]


def _overlap(before: Sequence[object], behind: Sequence[object]) -> int:
    """How many at the end of the one are the beginning of the other."""
    most = min(len(before), len(behind))
    return next((count for count in range(most, 0, -1) if before[-count:] == behind[:count]), 0)


def _key(line: Line) -> object:
    """That of a kill is its thread's number: whatever journald does with a name, it is told once."""
    kill = oomlines.killed(line.text)
    return kill.tid if kill else line.text.strip()
