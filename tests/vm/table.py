# SPDX-License-Identifier: Apache-2.0
"""Results by kernel: printed by the guests' tests, and shown at the end as one table."""

import json
from collections.abc import Iterable
from typing import NamedTuple

_MARK = "kernel matrix: "


class Cell(NamedTuple):
    """One test marked ``matrix``: its kernel and capture level, its subject, its result."""

    release: str
    level: str
    column: str
    outcome: str

    def line(self) -> str:
        """As the guest prints it."""
        return f"{_MARK}{json.dumps(self)}\n"


def parse(line: str) -> Cell | None:
    """None if it is another line."""
    return Cell(*json.loads(line.removeprefix(_MARK))) if line.startswith(_MARK) else None


def render(cells: Iterable[Cell]) -> str:
    """A row for each kernel and level, a column for each subject, both in the order of their first results."""
    outcomes = {(cell.release, cell.level, cell.column): cell.outcome for cell in cells}
    columns = list(dict.fromkeys(column for _release, _level, column in outcomes))
    rows = [("kernel", "level", *columns)]
    for release, level in dict.fromkeys((release, level) for release, level, _column in outcomes):
        rows.append((release, level, *(outcomes.get((release, level, column), "") for column in columns)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
