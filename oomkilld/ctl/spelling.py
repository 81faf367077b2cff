# SPDX-License-Identifier: Apache-2.0
"""Which word a person may have meant."""

from collections.abc import Iterable

_MOST = 2


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that differs least; None: each one differs in more than two letters."""
    found = min(((_distance(word, each), each) for each in words), default=(_MOST + 1, ""))
    return found[1] if found[0] <= _MOST else None


def _distance(one: str, other: str) -> int:
    """How many letters must be added, removed or replaced."""
    if abs(len(one) - len(other)) > _MOST:
        return _MOST + 1
    row: list[int] = [*range(len(other) + 1)]
    for number, letter in enumerate(one, start=1):
        before = row
        row = [number]
        for at, its in enumerate(other):
            row.append(min(before[at + 1] + 1, row[at] + 1, before[at] + (letter != its)))
    return row[-1]
