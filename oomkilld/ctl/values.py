# SPDX-License-Identifier: Apache-2.0
"""The values of an entry's fields, by the field table: the journal holds text, JSON has numbers."""

import re
from functools import cache

from oomkilld.schema import (
    BOOTTIME,
    BYTES,
    DECIMAL,
    FAMILIES,
    FIELDS,
    INTEGER,
    PAGES,
    TIMESTAMP,
    TOP_BYTES,
    TOP_CGROUP,
    USEC,
    Field,
)

_INTEGERS = frozenset(kind.name for kind in (INTEGER, BYTES, PAGES, USEC, TIMESTAMP, BOOTTIME))
_BY_NAME = {field.name: field for field in FIELDS}


def _names_in(family: Field) -> str:
    """A pattern for all of a name; only what Python's and JavaScript's regular expressions have in common."""
    key = "[1-9]" if family in (TOP_CGROUP, TOP_BYTES) else "[A-Z0-9_]+"
    return f"^{family.name.replace('<KEY>', key)}$"


# A name belongs to the first family that it matches.
FAMILY_PATTERNS = {_names_in(family): family for family in FAMILIES}


@cache
def field_of(name: str) -> Field | None:
    """The row of the table that describes a field of that name; None: there is none."""
    if (field := _BY_NAME.get(name)) is not None:
        return field
    return next((family for pattern, family in FAMILY_PATTERNS.items() if re.search(pattern, name)), None)


def typed(name: str, text: str) -> int | float | str:
    """The value for JSON: a number if the table says that it is one; text otherwise, and if it is none after all."""
    field = field_of(name)
    kind = None if field is None else field.type
    try:
        if kind is not None and kind.name in _INTEGERS:
            return int(text)
        return float(text) if kind is DECIMAL else text
    except ValueError:
        return text
