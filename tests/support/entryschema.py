# SPDX-License-Identifier: Apache-2.0
"""The field table as a pydantic model and as JSON Schema; run as a module, it writes oomkilld/ctl/entry.schema.json."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model, model_validator
from pydantic import Field as Constraint

from oomkilld import schema
from oomkilld.ctl.jsonschema import FILE
from oomkilld.ctl.values import FAMILY_PATTERNS, field_of, value_of

_COUNT = Annotated[int, Constraint(ge=0)]
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("text", "name", "word"), str),
    "integer": int,
    "decimal": float,
    **dict.fromkeys(("bytes", "pages", "µs", "µs since 1970", "µs since boot"), _COUNT),
    "mask": Annotated[str, Constraint(pattern="^0x[0-9a-f]+$")],
    "id": Annotated[str, Constraint(pattern="^[0-9a-f]{32}$")],
}
_FAMILIES = {family.name: family for family in schema.FAMILIES}
_WORDS = r"`([a-z-]+)`"
_ONLY_IN = re.compile(rf"not an? {_WORDS} entry")
_NOT_IN = re.compile(rf"an? {_WORDS}(?:(?:, | or |, or ){_WORDS})* entry")
_BUT_IN = re.compile(rf"events other than {_WORDS}(?:(?:, | and ){_WORDS})*")
EVENTS = tuple(re.findall(_WORDS, next(field.source for field in schema.FIELDS if field.name == "OOM_EVENT")))


def type_of(field: schema.Field) -> Any:
    """The type of its values; of a word with all its values listed in the table, these."""
    words = re.findall(_WORDS, field.source)
    if field.type == "word" and words and "such as" not in field.source:
        return Literal[tuple(words)]
    return Literal[schema.SCHEMA_VERSION] if field.name == "OOM_SCHEMA" else _TYPES[field.type]


def events_with(field: schema.Field) -> set[str]:
    """The events whose entries always have the field: the table says when it is absent."""
    words = set(re.findall(_WORDS, field.absent))
    if field.absent == "never":
        return set(EVENTS)
    if _ONLY_IN.fullmatch(field.absent) or _BUT_IN.fullmatch(field.absent):
        return words
    return set(EVENTS) - words if _NOT_IN.fullmatch(field.absent) else set()


@cache
def required(event: str) -> list[str]:
    """The fields that every entry of that event has, in the order of the table."""
    return [field.name for field in schema.FIELDS if event in events_with(field)]


@cache
def message_id(event: str) -> str:
    """The MESSAGE_ID of all entries of that event."""
    return str(vars(schema)[f"MESSAGE_ID_{event.upper()}"])


class _Entry(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check(cls, entry: dict[str, object]) -> dict[str, object]:
        """Check what depends on several fields, or on the name of one."""
        event = str(entry.get("OOM_EVENT"))
        lacking = [name for name in required(event) if name not in entry]
        assert not lacking, f"OOM_EVENT={event} lacks {', '.join(lacking)}"
        if event in EVENTS:
            assert entry["MESSAGE_ID"] == message_id(event), f"OOM_EVENT={event} has MESSAGE_ID={entry['MESSAGE_ID']}"
        for name, value in entry.items():
            field = field_of(name)
            assert field is not None or not name.startswith("OOM_"), f"the table has no {name}"
            if field is not None and field.name in _FAMILIES:
                _adapter(field.name).validate_python(value, strict=True)
        return entry


@cache
def _adapter(family: str) -> TypeAdapter[Any]:
    return TypeAdapter(type_of(_FAMILIES[family]))


@cache
def model() -> type[BaseModel]:
    """The model of an entry, with numbers as numbers."""
    fields: dict[str, Any] = {
        field.name: (type_of(field), Constraint(default=None, description=field.source)) for field in schema.FIELDS
    }
    return create_model("Entry", __base__=_Entry, **fields)


def check(entry: Mapping[str, str]) -> None:
    """Check an entry as ``journalctl -o json`` prints it. Raises ValueError with what differs from the table."""
    model().model_validate(
        {name: value_of(name, value.encode()) for name, value in entry.items() if not name.startswith("_")}
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an entry as ``oomkillctl --json`` prints it.

    Other fields are allowed: the table may get more, and journald adds its own.
    """
    properties = {name: _plain(each) for name, each in model().model_json_schema()["properties"].items()}
    families = {
        pattern: {**_plain(_adapter(family.name).json_schema()), "description": family.source}
        for pattern, family in FAMILY_PATTERNS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A journal entry of oomkilld",
        "description": "See oomkilld.journal-fields(7).",
        "type": "object",
        "required": [field.name for field in schema.FIELDS if field.absent == "never"],
        "properties": properties,
        "patternProperties": families,
        "allOf": [_of_event(event) for event in EVENTS],
    }


def _plain(of_pydantic: Mapping[str, Any]) -> dict[str, Any]:
    """Without the name in other words, and without a default: an absent field is unknown, not null."""
    return {name: value for name, value in of_pydantic.items() if name not in ("title", "default")}


def _of_event(event: str) -> dict[str, Any]:
    always = {field.name for field in schema.FIELDS if field.absent == "never"}
    return {
        "if": {"properties": {"OOM_EVENT": {"const": event}}},
        "then": {
            "properties": {"MESSAGE_ID": {"const": message_id(event)}},
            "required": [name for name in required(event) if name not in always],
        },
    }


def written() -> str:
    """The text that the file should have."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written())
