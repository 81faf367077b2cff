# SPDX-License-Identifier: Apache-2.0
"""The field table of oomkilld.journal-fields(7); run as a module, it writes the table into that page."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from oomkilld.schema import FAMILIES, FIELDS, REDUCED, Field

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "packaging/man/oomkilld.journal-fields.7"
BEGIN, END = '.\\" fields: written by tests/support/fieldtable.py', '.\\" end of fields'
# From this number of fields in a row on, they share one sentence that says when they are absent.
_SHARED_FROM = 3


def _groups() -> Iterator[tuple[str, list[Field]]]:
    fields = (*FIELDS, *FAMILIES)
    for group in dict.fromkeys(field.group for field in fields):
        yield group, [field for field in fields if field.group == group]


def _absent(field: Field) -> str:
    """When the field is absent, including reduced entries; empty: never."""
    if field.absent == "never":
        return ""
    if field.name in REDUCED or field.group == "other kinds":
        return field.absent
    return f"{field.absent}, or a reduced entry"


def table() -> str:
    """The table in man(7)."""
    return "\n".join(line for group, fields in _groups() for line in (f".SS {group}", *_rows(fields)))


def _rows(fields: list[Field]) -> Iterator[str]:
    for absent, same in groupby(fields, _absent):
        run = list(same)
        shared = absent and len(run) >= _SHARED_FROM
        for field in run:
            yield from (".TP", f".B {field.name}", _roff(f"{field.source} ({field.type})."))
            if absent and not shared:
                yield _roff(f"Absent: {absent}.")
        if shared:
            yield from (".PP", f"From {run[0].name} to {run[-1].name}, absent: {_roff(absent)}.")


def _roff(text: str) -> str:
    return text.replace("`", "").replace("-", "\\-")


def written() -> str:
    """The text that the page should have."""
    before, rest = PAGE.read_text().split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written())
