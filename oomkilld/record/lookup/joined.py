# SPDX-License-Identifier: Apache-2.0
"""Joins journald's copy of the kernel log with the lines that the kernel still holds."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, takewhile, zip_longest

from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.kmsg import KERNEL, Line

# A line's timestamp is when its writer began, so it may be older than that of the line before, by at most this much.
_SWAPPED_USEC = 10**6


def joined(kept: Iterable[Line], held: Sequence[Line]) -> Iterator[Line]:
    """Oldest first, none twice. ``kept`` has only the kernel's own lines; ``held`` also has those of other writers.

    While ``held`` is read, the kernel overwrites lines of it, the oldest first: ``kept`` also fills these gaps.
    """
    rest = iter(kept)
    if not held:
        yield from rest
    begins = [at for at, line in enumerate(held) if not at or line.after_gap]
    for begin, end in zip_longest(begins, begins[1:]):
        rest = yield from _joined(rest, held[begin:end])


def _joined(kept: Iterator[Line], held: Sequence[Line]) -> Generator[Line, None, Iterator[Line]]:
    """Returns what ``kept`` has behind ``held``.

    The two meet at the first of the kernel's own lines in ``held``: same microsecond, same text. If journald lacks that
    one, lines may be missing in between. Several lines may share a microsecond, and the kernel may hold only some.
    """
    first = next((line for line in held if line.facility == KERNEL), held[0])
    near: list[Line] = []
    later: list[Line] = []
    for line in kept:
        if line.usec > first.usec + _SWAPPED_USEC:
            later.append(line)
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
    # If journald missed lines before this one, the kernel's copy of it follows a gap, too.
    yield held[0]._replace(after_gap=met is None or near[met].after_gap)
    yield from held[1:]
    return _behind(chain(() if met is None else near[met:], later, kept), held)


def _behind(kept: Iterator[Line], held: Sequence[Line]) -> Iterator[Line]:
    since_usec = max(line.usec for line in held) - _SWAPPED_USEC
    also = {_key(line) for line in held if line.usec >= since_usec}
    return (line for line in kept if line.usec >= since_usec and _key(line) not in also)


def _same(keys: Sequence[object], at: int, own: Sequence[object]) -> tuple[int, int]:
    """A key for max(): how many ``keys`` from ``at`` on are the beginning of ``own``; of equals, the later wins."""
    pairs = zip(keys[at:], own, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), at


def _key(line: Line) -> object:
    """Identifies a line; a kill by its thread id, because journald may alter the name."""
    kill = grammar.killed(line.text)
    return line.usec, kill.tid if kill else line.text.strip()
