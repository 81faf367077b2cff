# SPDX-License-Identifier: Apache-2.0
"""The field table as README.md and the man page show it; run as a module it writes it into both."""

from collections.abc import Iterator
from pathlib import Path

from oomkilld.schema import FAMILIES, FIELDS, REDUCED, Field

ROOT = Path(__file__).parents[2]
README, MAN = ROOT / "README.md", ROOT / "packaging/man/oomkilld.8"
BEGIN, END = "<!-- fields: written by tests/support/fieldtable.py -->", "<!-- end of fields -->"
MAN_BEGIN, MAN_END = '.\\" fields: written by tests/support/fieldtable.py', '.\\" end of fields'


def _groups() -> Iterator[tuple[str, list[Field]]]:
    fields = (*FIELDS, *FAMILIES)
    for group in dict.fromkeys(field.group for field in fields):
        yield group, [field for field in fields if field.group == group]


def _absent(field: Field) -> str:
    """With what the entry of a kill leaves out in a flood."""
    if field.name in REDUCED or field.group == "other kinds":
        return field.absent
    return f"{field.absent}, or a reduced entry"


def markdown() -> str:
    lines = ["| field | type | what it is | absent |", "| --- | --- | --- | --- |"]
    for group, fields in _groups():
        lines.append(f"| **{group}** | | | |")
        lines += [f"| `{f.name}` | {f.type.name} | {f.source} | {_absent(f)} |" for f in fields]
    return "\n".join(lines)


def roff() -> str:
    lines = []
    for group, fields in _groups():
        lines.append(f".SS {group}")
        for field in fields:
            absent = "" if field.absent == "never" else f" Absent: {_absent(field)}."
            text = f"{field.source} ({field.type.name}).{absent}".replace("`", "").replace("-", "\\-")
            lines += [".TP", f".B {field.name}", text]
    return "\n".join(lines)


def replaced(text: str, begin: str, end: str, table: str) -> str:
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def documents() -> Iterator[tuple[Path, str]]:
    """Each document and what it should be."""
    yield README, replaced(README.read_text(), BEGIN, END, markdown())
    yield MAN, replaced(MAN.read_text(), MAN_BEGIN, MAN_END, roff())


if __name__ == "__main__":
    for path, text in documents():
        path.write_text(text)
