# SPDX-License-Identifier: Apache-2.0
"""Entries as JSON: the journal's own field names, and numbers as numbers where the field table says so."""

import json
from collections.abc import Iterable, Iterator

from oomkilld.ctl.entry import Entry
from oomkilld.ctl.values import value_of
from oomkilld.lighttyping import Any


def fields(entry: Entry) -> dict[str, Any]:
    """All fields of an entry, and what the journal knows about it."""
    known: dict[str, Any] = {"__REALTIME_TIMESTAMP": entry.received_usec}
    if entry.received_from is not None:
        known["__RECEIVED_FROM"] = entry.received_from
    return known | {name: _value(name, raw) for name, raw in entry.fields.items()}


def _value(name: str, raw: bytes | list[bytes]) -> Any:
    if isinstance(raw, list):
        return [_value(name, each) for each in raw]
    return value_of(name, raw)


def encoded(value: object, indent: int | None = None) -> str:
    """JSON in ASCII: a terminal shows no character of a name, but its number."""
    return json.dumps(value, indent=indent, allow_nan=False)


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
