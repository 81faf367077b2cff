# SPDX-License-Identifier: Apache-2.0
"""The configuration: its options and defaults, and errors with file, key and value."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, ValidationError

from oomkilld import configfiles, options, redaction
from oomkilld.configfiles import DEFAULT_RING_BYTES, shown, shown_path
from oomkilld.errors import BadConfiguration

_SHOWN_VALUE_CHARACTERS = 80

SYSLOG_LEVELS: tuple[str, ...] = get_args(options.SyslogLevel)


def _ring_size(size: ByteSize) -> ByteSize:
    if not options.is_ring_size(size):
        raise ValueError("a power of two from 4KiB to 64MiB, such as '4MiB'")
    return size


def _pattern(pattern: str) -> str:
    if pattern != redaction.DEFAULT and (fault := redaction.fault(pattern)):
        raise ValueError(fault)
    return pattern


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Capture(_Table):
    """How kills are seen."""

    level: options.CaptureLevel = "auto"
    ring_size: Annotated[ByteSize, AfterValidator(_ring_size)] = ByteSize(DEFAULT_RING_BYTES)


class Entry(_Table):
    """What the journal entry of a kill is like."""

    priority: options.SyslogLevel = "crit"
    meminfo: options.Rows | list[Annotated[str, Field(pattern=options.MEMINFO_KEY)]] = "common"
    statistics: options.Rows = "common"
    outcome: options.Outcome = "stuck"
    reduce_from: Annotated[int, Field(ge=0, le=options.MAX_REDUCE_FROM)] = 100
    cmdline: options.CommandLine = "off"
    redact: Annotated[list[Annotated[str, AfterValidator(_pattern)]], Field(max_length=redaction.MAX_PATTERNS)] = [
        redaction.DEFAULT
    ]


class Log(_Table):
    """What the service says about itself."""

    level: options.LogLevel = "info"


class Settings(_Table):
    """Every option with its default: what holds when no file says otherwise."""

    capture: Capture = Capture()
    entry: Entry = Entry()
    log: Log = Log()


class Loaded(NamedTuple):
    """The settings in force, and for each option set by a file (``table.option``) that file."""

    settings: Settings
    origins: Mapping[str, Path]


def load(root: Path = Path("/")) -> Loaded:
    """Read the main file, then the drop-ins in the order of their names. No file at all is fine.

    Raises BadConfiguration with every error of every file.
    """
    return _merge(list(configfiles.files(root)))


def load_file(path: Path) -> Loaded:
    """Read this one file. Raises BadConfiguration with all its errors."""
    return _merge([path])


def _merge(files: list[Path]) -> Loaded:
    merged: dict[str, dict[str, Any]] = {}
    origins: dict[str, Path] = {}
    errors: list[str] = []
    for path in files:
        # Each file is a valid configuration by itself, so each error belongs to one file.
        try:
            tables = configfiles.parse(path)
            Settings.model_validate(tables)
        except BadConfiguration as error:
            errors.append(error.message)
        except ValidationError as error:
            errors += _explain(path, error)
        else:
            for table, options in tables.items():
                merged.setdefault(table, {}).update(options)
                origins |= {f"{table}.{option}": path for option in options}
    if errors:
        raise BadConfiguration(
            "\n".join(errors), "correct the files named above; `oomkilld --check-config` checks them again"
        )
    return Loaded(Settings.model_validate(merged), origins)


def _explain(path: Path, errors: ValidationError) -> Iterator[str]:
    seen: set[str] = set()
    for error in errors.errors():
        location = _location(error["loc"], error["type"], error["input"])
        key = ".".join(location)
        # Each branch of a union complains: one line is enough.
        if location and key not in seen:
            seen.add(key)
            yield f"{shown_path(path)}: {shown(key)}: {_reason(location, dict(error))}"


def _location(parts: tuple[int | str, ...], kind: str, value: object) -> list[str]:
    """Where the error is, without pydantic's names for the branches of a union; empty: nothing to say."""
    location = [str(part) for part in parts]
    if location[:2] != ["entry", "meminfo"]:
        return location
    # Its two branches are words and a list; a list is judged by the second only.
    if kind == "literal_error" and isinstance(value, list):
        return []
    return [*location[:2], *location[3:]]


def _reason(location: list[str], error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        table: type[BaseModel] = Settings
        for part in location[:-1]:
            table = _table(table, part)
        known = list(table.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        meant = f" (did you mean '{near[0]}'?)" if near else ""
        return f"unknown key{meant}, expected one of {', '.join(known)}"
    if location == ["entry", "meminfo"]:
        expected = "'common', 'all' or a list of /proc/meminfo keys"
    elif location[:2] == ["entry", "meminfo"]:
        expected = "a key as in /proc/meminfo, such as 'MemFree' or 'Active(anon)'"
    elif location == ["capture", "ring_size"]:
        expected = "a power of two from 4KiB to 64MiB, such as '4MiB'"
    elif location == ["entry", "reduce_from"]:
        expected = "a number of kills from 1 to 1000, or 0 for never"
    elif location == ["entry", "redact"]:
        expected = f"a list of at most {redaction.MAX_PATTERNS} patterns such as 'password *'"
    elif location[:2] == ["entry", "redact"]:
        expected = _expected_pattern(error["input"])
    elif len(location) == 1:
        expected = f"a table, [{location[0]}]"
    else:
        expected = str(error["msg"]).removeprefix("Input should be ")
    return f"found {_shown_value(error['input'])}, expected {expected}"


def _expected_pattern(found: object) -> str:
    fault = redaction.fault(found) if isinstance(found, str) else None
    return f"{redaction.EXPECTED}: {fault}" if fault else redaction.EXPECTED


def _table(model: type[BaseModel], name: str) -> type[BaseModel]:
    table = model.model_fields[name].annotation
    assert isinstance(table, type)
    assert issubclass(table, BaseModel)
    return table


def _shown_value(value: object) -> str:
    text = shown(repr(value))
    return text if len(text) <= _SHOWN_VALUE_CHARACTERS else text[: _SHOWN_VALUE_CHARACTERS - 1] + "…"


def render(loaded: Loaded) -> str:
    """The settings in force as TOML, each with where it comes from."""
    lines = []
    for table in Settings.model_fields:
        lines.append(f"[{table}]")
        options: BaseModel = getattr(loaded.settings, table)
        for name in type(options).model_fields:
            value = _toml(getattr(options, name))
            origin = loaded.origins.get(f"{table}.{name}")
            lines.append(f"{name} = {value}  # {'default' if origin is None else shown_path(origin)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, ByteSize):
        unit, factor = next((u, f) for u, f in (("MiB", 1 << 20), ("KiB", 1 << 10)) if value % f == 0)
        return f'"{value // factor}{unit}"'
    # A number, a string or a list of strings is the same in JSON and in TOML.
    return json.dumps(value)
