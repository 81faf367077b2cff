# SPDX-License-Identifier: Apache-2.0
"""A sheet of facts: a label and its value in each line, aligned as coredumpctl does it, and with bars on a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from oomkilld.ctl.columns import cut, cut_within, filled
from oomkilld.ctl.output import Output
from oomkilld.lighttyping import NamedTuple

_LABEL = 12
_SMALLEST_BAR, _LARGEST_BAR = 10, 40
_NARROWEST = 20
_LINES = 4  # of a sentence
_INDENT = "  "
_FULL_FROM = 0.95


class Row(NamedTuple):
    """``items``: what the value lists. ``share``: for a bar, of 1. ``is_head``: the first row of what belongs together.

    ``is_sentence``: it is broken between words, and its end is cut; of other values, the middle of a name.
    """

    label: str
    items: Sequence[str]
    share: float | None = None
    is_head: bool = False
    is_sentence: bool = False
    colour: str | None = None


def group(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows that belong together; those without a value are left out."""
    is_head = True
    for row in rows:
        if row.items:
            yield row._replace(is_head=is_head)
            is_head = False


class Sheet:
    """Formats rows for the output's width; None: nothing is broken or cut."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._width = output.width
        self._bar = 0
        if output.is_terminal:
            cells = _LARGEST_BAR if output.width is None else min(output.width // 5, _LARGEST_BAR)
            self._bar = cells if cells >= _SMALLEST_BAR else 0

    def lines(self, row: Row) -> Iterator[str]:
        """The label and the value, which may take several lines."""
        label = f"{row.label:>{_LABEL}}"
        head = (self._output.coloured(label, "bold") if row.is_head else label) + (": " if row.label else "  ")
        taken = _LABEL + 2
        if row.share is not None and self._bar:
            head += self._drawn(row.share) + " "
            taken += self._bar + 1
        for text in self._broken(row, taken):
            yield (head + (self._output.coloured(text, row.colour) if row.colour else text)).rstrip()
            head = " " * taken

    def _drawn(self, share: float) -> str:
        done = round(min(max(share, 0.0), 1.0) * self._bar)
        full = self._output.coloured("█" * done, "red" if share >= _FULL_FROM else "yellow") if done else ""
        return full + "░" * (self._bar - done)

    def _broken(self, row: Row, taken: int) -> list[str]:
        if self._width is None:
            return [", ".join(row.items)]
        room = max(self._width - taken, _NARROWEST)
        if row.is_sentence:
            return self._sentence(", ".join(row.items), room)
        *before, last = row.items
        lines = filled([*(f"{item}," for item in before), last], room)
        return [self._output.noted(line, cut_within(line, room)) for line in lines]

    def _sentence(self, text: str, room: int) -> list[str]:
        """Further lines are indented, to tell them from another sentence."""
        *lines, rest = islice(filled(text.split(" "), room - len(_INDENT)), _LINES + 1)
        if len(lines) < _LINES:
            lines.append(rest)
        else:
            lines[-1] += f" {rest}"
        first, *others = (self._output.noted(line, cut(line, room - len(_INDENT))) for line in lines)
        return [first, *(_INDENT + line for line in others)]
