# SPDX-License-Identifier: Apache-2.0
"""Hides secrets in a command line, by patterns; in time that grows with its length only.

A pattern (redaction.fault() tells what one must be like) is text with ``*``, which stands for any text of one argument.
The last ``*`` is hidden: to the end of the argument, or to the last place where the text behind it is. A space, only
before the first ``*``, is what separates a name from its value: ``=``, ``:``, a quote, a blank, the end of an argument,
and more of them. ``-`` is also ``_``. Case matters only in a pattern that has capital letters.

No regular expressions: theirs try again from each place, and a hostile text makes them slow. Here each text before the
last ``*`` is looked for once in an argument, where it is first. Whatever else the pattern fits in that argument lies
within: it begins not before and ends not after what is hidden.
"""

from collections.abc import Sequence
from typing import NamedTuple

MARK = b"***"

_SEPARATORS = b"=:\"'\0"
_SOFT = bytes.maketrans(_SEPARATORS + b"_", b" " * len(_SEPARATORS) + b"-")
_HARD = bytes.maketrans(b"_", b"-")


class _Pattern(NamedTuple):
    """``first`` and all of ``between`` are before what is hidden, ``behind`` follows; empty: to the argument's end."""

    case_matters: bool
    soft: bool  # ``first`` has a space
    first: bytes
    between: tuple[bytes, ...]
    behind: bytes


class _Views(NamedTuple):
    """The text as patterns see it, byte for byte: ``soft`` with spaces for separators."""

    raw: bytes
    hard: bytes
    soft: bytes


class Redactor:
    """Knows the patterns."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_compile(pattern) for pattern in patterns]

    def redact(self, text: bytes) -> bytes:
        """``text``: arguments, each with a NUL behind; the last one without: it may have been cut there."""
        views = {True: _views(text, text), False: _views(text, text.lower())}
        hidden = sorted(span for each in self._patterns for span in _spans(each, views[each.case_matters]))
        pieces: list[bytes] = []
        at = 0
        for start, end in hidden:
            if end <= at:
                continue
            # What overlaps is one secret, or looks like one: one mark for both.
            if start > at or not pieces:
                pieces += [text[at:start], MARK]
            at = end
        return b"".join([*pieces, text[at:]])


def _compile(pattern: str) -> _Pattern:
    case_matters = pattern != pattern.lower()
    text = pattern.encode().translate(_HARD)
    first, *between, behind = (text if case_matters else text.lower()).split(b"*")
    soft = b" " in first
    return _Pattern(case_matters, soft, first.translate(_SOFT) if soft else first, tuple(between), behind)


def _views(raw: bytes, text: bytes) -> _Views:
    return _Views(raw, text.translate(_HARD), text.translate(_SOFT))


def _spans(pattern: _Pattern, views: _Views) -> list[tuple[int, int]]:
    """What it hides: from, to. At most one for each argument that ``first`` ends in."""
    spans = []
    where = views.soft if pattern.soft else views.hard
    at = where.find(pattern.first)
    while at >= 0:
        start = at + len(pattern.first)
        if pattern.first.endswith(b" "):
            start = _after_separators(views.soft, start)
        end = views.raw.find(b"\0", start)
        ended = end >= 0
        end = end if ended else len(views.raw)
        hidden = _hidden(pattern, views.hard, start, end, ended=ended)
        if hidden:
            spans.append(hidden)
        # The next that ends in another argument.
        at = where.find(pattern.first, max(at + 1, end + 1 - len(pattern.first)))
    return spans


def _hidden(pattern: _Pattern, text: bytes, start: int, end: int, *, ended: bool) -> tuple[int, int] | None:
    for part in pattern.between:
        found = text.find(part, start, end)
        if found < 0:
            return None
        start = found + len(part)
    stop = text.rfind(pattern.behind, start, end) if pattern.behind else end
    if not ended:
        stop = end  # what follows may have been cut off
    return (start, stop) if stop > start else None


def _after_separators(soft: bytes, at: int) -> int:
    while soft[at : at + 1] == b" ":
        at += 1
    return at
