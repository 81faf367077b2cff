# SPDX-License-Identifier: Apache-2.0
"""Text in columns of a terminal: some characters take two."""

from collections.abc import Iterable, Iterator


def width(text: str) -> int:
    """Columns that a text takes, in which each character is visible by itself, see text.harmless()."""
    if text.isascii():
        return len(text)
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def padded(text: str, columns: int) -> str:
    """With blanks up to that width, if it is shorter."""
    return text + " " * (columns - width(text))


def cut(text: str, columns: int) -> str:
    """At most that wide: what is left out at the end becomes ``…``."""
    return text if width(text) <= columns else _begin(text, columns - 1) + "…"


def cut_within(text: str, columns: int) -> str:
    """The same in the middle: the end of a unit's or a pod's name tells it from others."""
    if width(text) <= columns:
        return text
    behind = (columns - 1) // 2
    return _begin(text, columns - 1 - behind) + "…" + _begin(text[::-1], behind)[::-1]


def filled(words: Iterable[str], columns: int) -> Iterator[str]:
    """Lines of as many words as fit; a longer word has a line for itself."""
    line = ""
    for word in words:
        if line and width(line) + 1 + width(word) > columns:
            yield line
            line = ""
        line += f" {word}" if line else word
    yield line


def _begin(text: str, columns: int) -> str:
    while text and width(text) > columns:
        text = text[: max(columns, 0)] if len(text) > columns else text[:-1]
    return text
