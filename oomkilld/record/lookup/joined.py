# SPDX-License-Identifier: Apache-2.0
"""What journald has kept of the kernel's log, and what the kernel still holds, become one log."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.kmsg import KERNEL, Line

# A line has the time when its writer began: by so much at most one may be older than the one before it.
_SWAPPED_USEC = 10**6


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
    near: list[Line] = []
    for line in kept:
        if line.usec > first.usec + _SWAPPED_USEC:
            break
        if line.usec < first.usec - _SWAPPED_USEC:
            yield line
        else:
            near.append(line)
    until_usec = first.usec + 2 * _SWAPPED_USEC
    own = [_key(line) for line in held if line.usec <= until_usec and line.facility == KERNEL]
    keys = [_key(line) for line in near]
    met = max(
        (at for at, key in enumerate(keys) if own[:1] == [key]), default=None, key=lambda at: _same(keys, at, own)
    )
    if met is None:
        also = set(own)
        yield from (line for line, key in zip(near, keys, strict=True) if key not in also)
    else:
        yield from near[:met]
    # What journald says of lines that it has missed before this one holds for it in the ring, too.
    yield held[0]._replace(after_gap=met is None or near[met].after_gap)
    yield from held[1:]


def _same(keys: Sequence[object], at: int, own: Sequence[object]) -> tuple[int, int]:
    """How many from there on are the beginning of ``own``; of as many the later."""
    pairs = zip(keys[at:], own, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), at


def _key(line: Line) -> object:
    """That of a kill is its thread's number: whatever journald does with a name, it is told once."""
    kill = grammar.killed(line.text)
    return line.usec, kill.tid if kill else line.text.strip()
