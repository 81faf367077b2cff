# SPDX-License-Identifier: Apache-2.0
"""The options of the configuration with their defaults, and errors with file, key and value."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from oomkilld.config import files as configfiles
from oomkilld.config import options, patterns
from oomkilld.config.files import DEFAULT_RING_BYTES, Parsed, place, shown, shown_path
from oomkilld.errors import BadConfiguration
from oomkilld.host import procformats

_SHOWN_CHARACTERS = 80
_ERRORS_OF_A_FILE = 20

SYSLOG_LEVELS: tuple[str, ...] = get_args(options.SyslogLevel)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}


def _in_bytes(size: object) -> object:
    """Convert a size with a unit to bytes; return any other value unchanged."""
    parts = re.fullmatch(r"([0-9]{1,5})(KiB|MiB)", size) if isinstance(size, str) else None
    return int(parts[1]) * _UNITS[parts[2]] if parts else size


def _ring_size(size: int) -> int:
    if not options.is_ring_size(size):
        raise ValueError
    return size


def _pattern(pattern: str) -> str:
    if pattern != patterns.DEFAULT and patterns.fault(pattern):
        raise ValueError
    return pattern


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Capture(_Table):
    """How the service captures kills."""

    level: options.CaptureLevel = "auto"
    ring_size: Annotated[int, BeforeValidator(_in_bytes), AfterValidator(_ring_size)] = DEFAULT_RING_BYTES


class Entry(_Table):
    """The contents of a kill's journal entry."""

    priority: options.SyslogLevel = "crit"
    meminfo: options.Rows | list[Annotated[str, Field(pattern=options.MEMINFO_KEY)]] = "common"
    statistics: options.Rows = "common"
    outcome: options.Outcome = "stuck"
    reduce_from: Annotated[int, Field(ge=0, le=options.MAX_REDUCE_FROM)] = 100
    cmdline: options.CommandLine = "off"
    redact: Annotated[list[Annotated[str, AfterValidator(_pattern)]], Field(max_length=patterns.MAX_PATTERNS)] = [
        patterns.DEFAULT
    ]


class Recorder(_Table):
    """The flight recorder: samples of memory that show what led up to a kill."""

    enabled: bool = False
    cgroups: Annotated[int, Field(ge=1, le=options.MAX_RECORDER_CGROUPS)] = options.MAX_RECORDER_CGROUPS


class Log(_Table):
    """The service's own log lines."""

    level: options.LogLevel = "info"


class Settings(_Table):
    """Every option, with the default that applies if no file sets it."""

    capture: Capture = Capture()
    entry: Entry = Entry()
    recorder: Recorder = Recorder()
    log: Log = Log()


class Loaded(NamedTuple):
    """The settings in force, and the file that set each option (``table.option``)."""

    settings: Settings
    origins: Mapping[str, Path]


def load(root: Path = Path("/")) -> Loaded:
    """Read the main file, then the drop-ins in the order of their names. No file is needed.

    Raises BadConfiguration with every error of every file.
    """
    found = configfiles.find(root)
    return _merge(found.files, root, found.errors)


def load_file(path: Path, root: Path = Path("/")) -> Loaded:
    """Read this one file; if it is in force, as the service reads it. Raises BadConfiguration with all its errors."""
    in_force = configfiles.in_force(path, root)
    return _merge([in_force or path], root if in_force else None, [])


def _merge(files: Iterable[Path], root: Path | None, errors: list[str]) -> Loaded:
    merged: dict[str, dict[str, Any]] = {}
    origins: dict[str, Path] = {}
    for path in files:
        # Each file is a valid configuration by itself, so each error belongs to one file.
        try:
            parsed = configfiles.parse(path, root)
        except BadConfiguration as error:
            errors.append(error.message)
            continue
        try:
            Settings.model_validate(parsed.tables)
        except ValidationError as error:
            errors += explain(path, parsed, error)
            continue
        for table, content in parsed.tables.items():
            merged.setdefault(table, {}).update(content)
            origins |= {f"{table}.{option}": path for option in content}
    if errors:
        raise BadConfiguration("\n".join(errors), CORRECT if root is None else f"{CORRECT}; {UNTIL_THEN}")
    return Loaded(Settings.model_validate(merged), origins)


def explain(path: Path, parsed: Parsed, errors: ValidationError) -> Iterator[str]:
    """One line for each error, up to a limit for each file."""
    from oomkilld.config import tomlplaces

    # Every branch of a union reports an error; one line is enough.
    found: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for error in errors.errors(include_url=False, include_context=False):
        if location := _location(error["loc"], error["type"], error["input"]):
            found.setdefault(location, dict(error))
    for location, each in list(found.items())[:_ERRORS_OF_A_FILE]:
        where = place(path, tomlplaces.line_of(parsed.text, location))
        key = _cut(".".join(map(_shown_key, location)))
        yield f"{where}: {key}: {_reason(location, each['type'], each['input'])}"
    if len(found) > _ERRORS_OF_A_FILE:
        yield f"{shown_path(path)}: {len(found) - _ERRORS_OF_A_FILE} more errors"


def rows_not_there(loaded: Loaded, root: Path = Path("/")) -> Iterator[str]:
    """One line for each row that the settings name and this kernel lacks: the service records kills without it."""
    from oomkilld.config import tomlplaces

    asked = loaded.settings.entry.meminfo
    if isinstance(asked, str):
        return
    with suppress(OSError):
        there = procformats.meminfo((root / "proc/meminfo").read_bytes())
        path = loaded.origins["entry.meminfo"]
        text = path.read_text()
        missing = [(index, key) for index, key in enumerate(asked) if key not in there]
        for index, key in missing[:_ERRORS_OF_A_FILE]:
            where = place(path, tomlplaces.line_of(text, ("entry", "meminfo", index)))
            found = f"this kernel's /proc/meminfo has no '{key}'{_near(key, there)}"
            yield f"{where}: entry.meminfo: {found}, ignoring"


def _near(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key[:_SHOWN_CHARACTERS], list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _location(parts: tuple[int | str, ...], kind: str, value: object) -> tuple[int | str, ...]:
    """The key path of the error, without pydantic's names for the branches of a union; empty: report nothing."""
    if parts[:2] != ("entry", "meminfo"):
        return parts
    # Its two branches are words and a list. Only the second one's errors count for a list.
    if kind == "literal_error" and isinstance(value, list):
        return ()
    return (*parts[:2], *parts[3:])


def _reason(location: Sequence[int | str], kind: str, value: object) -> str:
    *tables, key = map(str, location)
    if kind == "extra_forbidden":
        return _unknown(tables, key)
    if not tables:
        return f"found {_shown_value(value)}, expected a table, [{key}]"
    option = ".".join((tables[0], str(location[1])))
    is_element = len(location) > 2
    expected = (EXPECTED_ELEMENTS if is_element else EXPECTED)[option]
    fault = patterns.fault(value) if option == "entry.redact" and is_element and isinstance(value, str) else None
    return f"found {_shown_value(value)}, expected {expected}{f': {fault}' if fault else ''}"


def _unknown(tables: Sequence[str], key: str) -> str:
    known = list(_options(tables[0]) if tables else Settings.model_fields)
    elsewhere = [table for table in Settings.model_fields if key in _options(table)]
    belongs = f" (it belongs in {' or '.join(f'[{table}]' for table in elsewhere)})" if elsewhere else ""
    meant = belongs or _near(key, known)
    return f"unknown key{meant}, expected one of {', '.join(known)}"


def _options(table: str) -> Iterable[str]:
    model = Settings.model_fields[table].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model.model_fields


def _one_of(words: object) -> str:
    *others, last = map(repr, get_args(words))
    return f"{', '.join(others)} or {last}"


CORRECT = "correct the errors above"
# Added if the files are in force.
UNTIL_THEN = (
    "until then, a service that is restarted uses the last valid settings, without command lines, or the defaults"
)
EXPECTED = {
    "capture.level": _one_of(options.CaptureLevel),
    "capture.ring_size": "a power of two from 4KiB to 64MiB, such as '4MiB', or 4194304 without quotes",
    "entry.priority": _one_of(options.SyslogLevel),
    "entry.meminfo": "'common', 'all' or a list of /proc/meminfo keys",
    "entry.statistics": _one_of(options.Rows),
    "entry.outcome": _one_of(options.Outcome),
    "entry.reduce_from": f"a whole number from 1 to {options.MAX_REDUCE_FROM}, or 0 for never, without quotes",
    "entry.cmdline": _one_of(options.CommandLine),
    "entry.redact": f"a list of at most {patterns.MAX_PATTERNS} patterns such as ['default', 'password *']",
    "recorder.enabled": "true or false, without quotes",
    "recorder.cgroups": f"a whole number from 1 to {options.MAX_RECORDER_CGROUPS}, without quotes",
    "log.level": _one_of(options.LogLevel),
}
EXPECTED_ELEMENTS = {
    "entry.meminfo": "a key as in /proc/meminfo, such as 'MemFree' or 'Active(anon)'",
    "entry.redact": patterns.EXPECTED,
}


def _shown_key(key: str | int) -> str:
    return str(key) if re.fullmatch(r"[A-Za-z0-9_-]+", str(key)) else shown(repr(key))


def _shown_value(value: object) -> str:
    """The value in TOML's form, not Python's."""
    if isinstance(value, str):
        return _cut(shown(repr(value)))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return _cut(str(value)) if value.bit_length() < 1 << 10 else "a number of hundreds of digits"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, date | time):
        return f"{value.isoformat()}, a date or time"
    return f"a list of {len(value)}" if isinstance(value, list) else "a table"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def render(loaded: Loaded) -> str:
    """The settings in force as TOML, each with its origin."""
    lines = []
    for table in Settings.model_fields:
        lines.append(f"[{table}]")
        options: BaseModel = getattr(loaded.settings, table)
        for name in type(options).model_fields:
            value = _toml(f"{table}.{name}", getattr(options, name))
            origin = loaded.origins.get(f"{table}.{name}")
            lines.append(f"{name} = {value}  # {'default' if origin is None else shown_path(origin)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _toml(option: str, value: object) -> str:
    if option == "capture.ring_size":
        assert isinstance(value, int)
        unit, factor = next((u, f) for u, f in reversed(_UNITS.items()) if value % f == 0)
        return f'"{value // factor}{unit}"'
    # Numbers, strings and lists of strings look the same in JSON and TOML.
    return json.dumps(value)
