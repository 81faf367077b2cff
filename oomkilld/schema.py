# SPDX-License-Identifier: Apache-2.0
"""The journal fields, read from the table fields.txt: each field's name, type and source, and when it is absent.

A public contract: fields may be added, but no field is renamed or gets another meaning. Only this module formats
values, by their type. Standard library only: the resident stage imports it.
"""

import os
from collections.abc import Callable, Iterable, Iterator

from oomkilld.lighttyping import NamedTuple
from oomkilld.text import pasteable, printable

SCHEMA_VERSION = 1
# Above this, name included, `journalctl -o json` prints null.
MAX_FIELD_BYTES = 4095
MAX_NAME_CHARACTERS = 64
# The most bytes of a cgroup's path: it fits behind every field name.
MAX_PATH_BYTES = MAX_FIELD_BYTES - MAX_NAME_CHARACTERS
_CUT = "…".encode()

MESSAGE_ID_KILL = "e7ebac58f04548179461ecbe5addc3a1"
MESSAGE_ID_SPARED = "5bc35b06cfdf48488aa9e078e5dc3d4b"
MESSAGE_ID_MISSED = "83802878236546c281238a110b8958af"
MESSAGE_ID_LEVEL = "abeea0b7d7d244b8bed1939f8e763bf7"
MESSAGE_ID_STUCK = "5cc42b550e9e4b76a971854da8f306d8"
MESSAGE_ID_GONE = "9a51f47116d24049ae47bf76cd4bb93a"
MESSAGE_ID_UNKILLABLE = "b2a964aca04344748c6472e82b7d0087"
MESSAGE_ID_HISTORY = "bd30050fb686424faf5ad56b33da1f80"

FieldValue = int | float | str | bytes

# Why kills have no entry: OOM_MISSED_REASON.
RING_FULL = "ring-full"
LOG_OVERWRITTEN = "log-overwritten"
RECORD_REJECTED = "record-rejected"
STOPPED = "stopped"
NOT_RUNNING = "not-running"
NOT_SEEN = "not-seen"
# Neither seen nor in the kernel log, although that is complete: only the kernel's count has them, and it may be wrong.
UNCONFIRMED = "unconfirmed"
# Part of `not-running`: kills before the first start in this boot.
BEFORE_FIRST_START = "before-first-start"


def _text(value: FieldValue) -> bytes:
    """Escape bytes of the kernel; the service's own text is printable already."""
    return (printable(value) if isinstance(value, bytes) else str(value)).encode()


def _name(value: FieldValue) -> bytes:
    """Format a name as systemctl accepts it."""
    return (pasteable(value) if isinstance(value, bytes) else str(value)).encode()


_Write = Callable[[FieldValue], bytes]
# The types of values, and how each is written to the journal. Most are integers: each is one call into C.
_WRITES: dict[str, _Write] = {
    **dict.fromkeys(("text", "word", "id"), _text),
    **dict.fromkeys(("integer", "bytes", "pages", "µs", "µs since 1970", "µs since boot"), b"%d".__mod__),
    "name": _name,
    "decimal": b"%.2f".__mod__,
    "mask": b"%#x".__mod__,
}


class Field(NamedTuple):
    """One journal field. ``source``: where the value comes from. ``absent``: when the field is left out."""

    name: str
    group: str
    type: str  # a key of _WRITES
    source: str
    absent: str = "never"


def _read() -> Iterator[Field]:
    words: dict[str, str] = {}
    in_paths: list[list[str]] = []
    with open(os.path.join(os.path.dirname(__file__), "fields.txt"), encoding="utf-8") as file:
        rows = [row for line in file if (row := line.strip()) and not row.startswith("#")]
    for row in rows:
        name, *cells = row.split(" | ")
        if not cells:
            word, _, text = row.partition(" = ")
            words[word] = text.format_map(words)
        elif name.startswith("…"):
            in_paths.append([name.removeprefix("…_"), *cells])
        elif name.endswith("…"):
            group, its = cells
            for suffix, kind, source, absent in in_paths:
                yield Field(name[:-1] + suffix, group, kind, source.format(its=its), absent)
        else:
            group, kind, *texts = cells
            yield Field(name, group, kind, *(text.format_map(words) for text in texts))


_ALL = {field.name: field for field in _read()}
FIELDS = tuple(field for field in _ALL.values() if "<KEY>" not in field.name)
FAMILIES = tuple(field for field in _ALL.values() if "<KEY>" in field.name)
MEMINFO_BYTES, MEMINFO_COUNT, VMSTAT, DOMAIN_STAT, TOP_CGROUP, TOP_BYTES, TOP_MINIMUM, *CANDIDATE = FAMILIES
NUMBERED = (TOP_CGROUP, TOP_BYTES, TOP_MINIMUM, *CANDIDATE)  # whose <KEY> is a number from 1 to 5
RUNTIMES = ("docker", "podman", "containerd", "cri-o", "lxc")
PRESSURE_RESOURCES = ("memory", "cpu", "io")


def pressure_names(resource: str, kind: str) -> tuple[str, str, str, str]:
    """Names of the fields with the averages over 10, 60 and 300 s, and with the total."""
    name = f"OOM_PSI_{resource.upper()}_{kind.upper()}"
    return f"{name}_AVG10", f"{name}_AVG60", f"{name}_AVG300", f"{name}_TOTAL_USEC"


# The fields that an entry with OOM_DETAIL=reduced may have: the entry itself, who, whose, why, and the load average.
_REDUCED_GROUPS = ("entry", "origin parity", "cause", "domain", "for journalctl")
_OF_DOMAIN = (name.removeprefix("OOM_DOMAIN") for name in _ALL if name.startswith("OOM_DOMAIN_"))
_IDENTITY = ("_TID", "_UID", "_CMDLINE", *(name for name in _OF_DOMAIN if f"OOM_VICTIM{name}" in _ALL))
_SAMPLED = ("OOM_SAMPLE_DELAY_USEC", "OOM_LOADAVG_1", "OOM_LOADAVG_5", "OOM_LOADAVG_15")
# For trigger and domain, fields that only repeat a part of their path are left out.
_TOLD_BY_PATH = (
    *("SLICE", "SESSION", "MACHINE", "POD_UID"),
    *(f"{inner}CONTAINER_{name}" for inner in ("", "INNER_") for name in ("ID", "RUNTIME")),
)
_TWICE = {f"OOM_{role}_{name}" for role in ("TRIGGER", "DOMAIN") for name in _TOLD_BY_PATH} | {"OBJECT_SYSTEMD_CGROUP"}


def _is_identity(name: str) -> bool:
    """Whether it says who a victim or a trigger was, or whose limit was hit."""
    return name.startswith(("OOM_VICTIM_", "OOM_TRIGGER_", "OOM_DOMAIN_")) and name.endswith(_IDENTITY)


REDUCED = (
    frozenset(
        field.name
        for field in FIELDS
        if field.group in _REDUCED_GROUPS or _is_identity(field.name) or field.name in _SAMPLED
    )
    - _TWICE
)

# The fields about the victim in a `stuck` or `gone` entry, as in the entry of its kill. The entry takes as many as fit,
# so the more important ones come first.
VICTIM_FIELDS = (
    *("OOM_KILL_ID", "OOM_VICTIM_PID", "OOM_VICTIM_TID", "OOM_VICTIM_COMM", "OOM_VICTIM_NS_PID", "OOM_VICTIM_UID"),
    *("OOM_BOOTTIME_TIMESTAMP", "OOM_TIMESTAMP", "OBJECT_SYSTEMD_UNIT", "OBJECT_SYSTEMD_USER_UNIT"),
    *("OOM_VICTIM_CONTAINER_NAME", "OOM_VICTIM_POD_NAMESPACE", "OOM_VICTIM_POD_NAME", "OOM_VICTIM_START_TIMESTAMP"),
    *("OOM_VICTIM_EXE_NAME", "OOM_VICTIM_UNIT", "OOM_VICTIM_USER_UNIT", "OOM_VICTIM_MACHINE"),
    *("OOM_VICTIM_CONTAINER_RUNTIME", "OOM_VICTIM_CONTAINER_ID", "OOM_VICTIM_POD_UID"),
    *("OOM_VICTIM_INNER_CONTAINER_RUNTIME", "OOM_VICTIM_INNER_CONTAINER_ID"),
)


# ``NAME=`` of each field and how its value is written; of rows, too, which are nearly the same for each kill.
_LINES = {field.name: (f"{field.name}=".encode(), _WRITES[field.type]) for field in FIELDS}
_row_lines: dict[tuple[str, str], tuple[bytes, _Write]] = {}
_MOST_ROWS = 512


def family_name(family: Field, row: str) -> str:
    """``Active(anon)`` -> ``OOM_MEMINFO_ACTIVE_ANON_BYTES``."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in row.upper()).split()
    return family.name.replace("<KEY>", "_".join(words))[:MAX_NAME_CHARACTERS]


def _within(text: bytes, room: int) -> bytes:
    return text if len(text) <= room else text[: room - len(_CUT)].decode(errors="ignore").encode() + _CUT


def format_row(family: Field, row: str, value: FieldValue) -> bytes:
    """A field of a family, see format_fields()."""
    line = _row_lines.get((family.name, row))
    if line is None:
        line = f"{family_name(family, row)}=".encode(), _WRITES[family.type]
        if len(_row_lines) < _MOST_ROWS:
            _row_lines[family.name, row] = line
    begin, write = line
    return _within(begin + write(value), MAX_FIELD_BYTES)


def format_fields(values: Iterable[tuple[str, FieldValue | None]]) -> list[bytes]:
    """``NAME=value`` as journald accepts it: one line, of bounded length; a value that is cut ends in ``…``.

    ``values``: of FIELDS, by name; an unknown value (None) leaves its field out.
    """
    fields = []
    for name, value in values:
        if value is not None:
            begin, write = _LINES[name]
            fields.append(_within(begin + write(value), MAX_FIELD_BYTES))
    return fields


def format_reduced(values: Iterable[tuple[str, FieldValue | None]], room: int) -> list[bytes]:
    """Format only the fields of REDUCED. A value that a stranger may have named is cut after ``room`` bytes.

    Names by which journalctl finds an entry stay complete.
    """
    kept = [(name, value) for name, value in values if name in REDUCED and value is not None]
    fields = format_fields(kept)
    return [
        _within(field, len(name) + 1 + room) if name.startswith("OOM_") and name.endswith(_IDENTITY) else field
        for field, (name, _value) in zip(fields, kept, strict=True)
    ]
