# SPDX-License-Identifier: Apache-2.0
"""Entries as JSON: the journal's own field names, and numbers as numbers where the field table says so."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from oomkilld import schema
from oomkilld.ctl.entry import Entry
from oomkilld.lighttyping import Any

_WHOLE = (
    schema.INTEGER,
    schema.BYTES,
    schema.PAGES,
    schema.USEC,
    schema.TIMESTAMP,
    schema.BOOTTIME,
)
# Of journald's own fields, those that programs compare as numbers.
_TRUSTED_NUMBERS = ("_PID", "_UID", "_GID")
_BY_NAME = {field.name: field.type for field in schema.FIELDS}
_FAMILIES = [(re.compile(field.name.replace("<KEY>", "[A-Z0-9_]+")), field.type) for field in schema.FAMILIES]


@lru_cache(maxsize=1024)
def _reads_as(name: str) -> type[int] | type[float] | None:
    """The kind of number that a field holds; None: text."""
    kind = _BY_NAME.get(name) or next((kind for pattern, kind in _FAMILIES if pattern.fullmatch(name)), None)
    if kind in _WHOLE or name in _TRUSTED_NUMBERS:
        return int
    return float if kind is schema.DECIMAL else None


def fields(entry: Entry) -> dict[str, Any]:
    """All fields of an entry, and what the journal knows about it."""
    known: dict[str, Any] = {"__REALTIME_TIMESTAMP": entry.received_usec}
    if entry.received_from is not None:
        known["__RECEIVED_FROM"] = entry.received_from
    return known | {name: _value(name, raw) for name, raw in entry.fields.items()}


def _value(name: str, raw: bytes | list[bytes]) -> Any:
    if isinstance(raw, list):
        return [_value(name, each) for each in raw]
    number = _reads_as(name)
    if number is not None:
        try:
            return number(raw)
        except ValueError:
            pass
    return raw.decode(errors="backslashreplace")


def encoded(value: object, indent: int | None = None) -> str:
    """JSON in ASCII: a terminal shows no character of a name, but its number."""
    return json.dumps(value, indent=indent)


def lines(objects: Iterable[object], form: str) -> Iterator[str]:
    """``short``: one object a line; ``pretty``: an array, also if there is none."""
    if form == "short":
        yield from map(encoded, objects)
        return
    before = "["
    for each in objects:
        yield before
        text = encoded(each, indent=2)
        *first, last = text.splitlines()
        yield from (f"  {line}" for line in first)
        before = f"  {last},"
    yield "[]" if before == "[" else before.removesuffix(",")
    if before != "[":
        yield "]"
