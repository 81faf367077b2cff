# SPDX-License-Identifier: Apache-2.0
"""The values of an entry's fields, by the field table: the journal holds text, JSON has numbers."""

import re
from collections.abc import Callable
from functools import cache

from oomkilld.schema import FAMILIES, FIELDS, NUMBERED, Field

_INTEGERS = ("integer", "bytes", "pages", "µs", "µs since 1970", "µs since boot")
# Of journald's own fields, those that programs compare as numbers.
_TRUSTED_NUMBERS = ("_PID", "_UID", "_GID")
# Python reads more than these, such as 1_000, and text that no program would expect to be a number: nan.
_INTEGER, _DECIMAL, _NO_NUMBER = map(re.compile, (rb"-?[0-9]{1,20}", rb"-?[0-9]{1,15}(\.[0-9]+)?", rb"(?!)"))
_BY_NAME = {field.name: field for field in FIELDS}


def _names_in(family: Field) -> str:
    """A pattern for all of a name; only what Python's and JavaScript's regular expressions have in common."""
    key = "[1-9]" if family in NUMBERED else "[A-Z0-9_]+"
    return f"^{family.name.replace('<KEY>', key)}$"


# A name belongs to the first family that it matches.
FAMILY_PATTERNS = {_names_in(family): family for family in FAMILIES}


@cache
def field_of(name: str) -> Field | None:
    """The row of the table that describes a field of that name; None: there is none."""
    if (field := _BY_NAME.get(name)) is not None:
        return field
    return next((family for pattern, family in FAMILY_PATTERNS.items() if re.search(pattern, name)), None)


def value_of(name: str, raw: bytes) -> int | float | str:
    """The value for JSON: a number if the table says that it is one; text otherwise, and if it is none after all."""
    number, form = _number_of(name)
    return number(raw) if form.fullmatch(raw) else raw.decode(errors="backslashreplace")


@cache
def _number_of(name: str) -> tuple[Callable[[bytes], int | float], re.Pattern[bytes]]:
    """The kind of number that a field holds, and how it is written; text has no such form."""
    field = field_of(name)
    if (name in _TRUSTED_NUMBERS) if field is None else (field.type in _INTEGERS):
        return int, _INTEGER
    return float, _DECIMAL if field is not None and field.type == "decimal" else _NO_NUMBER
