# SPDX-License-Identifier: Apache-2.0
"""A kill's journal entry for people: MESSAGE first, then the fields, grouped by question."""

import time
from collections.abc import Iterator, Mapping

from oomkilld import schema
from oomkilld.text import counted, human_bytes

_VICTIM, _TRIGGER = "Who was killed", "Who asked for the memory"
_CAUSE, _MACHINE = "What ran out", "The machine right after the kill"
_ENTRY = "The entry itself"
_FAMILY = "OOM_MEMINFO_"
# Of that family, these are shown and the others counted.
_SHOWN_MEMINFO = ("MEMTOTAL", "MEMFREE", "MEMAVAILABLE", "SWAPTOTAL", "SWAPFREE", "ANONPAGES", "SHMEM", "SLAB")
_ENTRY_FIELDS = ("MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "DOCUMENTATION")
_TYPES = {field.name: field.type for field in schema.FIELDS}


def readable(entry: Mapping[str, object]) -> str:
    """``entry``: an object of ``journalctl -o json``."""
    lines = [str(entry["MESSAGE"])]
    width = max(map(len, filter(_is_shown, _in_order(entry))))
    questions: dict[str, list[str]] = {title: [] for title in (_VICTIM, _TRIGGER, _CAUSE, _MACHINE, _ENTRY)}
    for name in _in_order(entry):
        questions[_question(name)].append(name)
    for title, names in questions.items():
        shown = [name for name in names if _is_shown(name)]
        if names:
            lines += ["", f"{title}:"]
            lines += [f"  {name:<{width}} {_value(name, str(entry[name]))}" for name in shown]
            if len(shown) < len(names):
                lines.append(f"  … and {counted(len(names) - len(shown), f'more {_FAMILY} field')}")
    return "\n".join(lines) + "\n"


def _in_order(entry: Mapping[str, object]) -> Iterator[str]:
    """Fields in the order of the field table, then those of families, sorted by name."""
    yield from (name for name in _TYPES if name in entry and name != "MESSAGE")
    yield from sorted(name for name in entry if name.startswith("OOM_") and name not in _TYPES)


def _question(name: str) -> str:
    if name.startswith("OOM_VICTIM_"):
        return _VICTIM
    if name.startswith("OOM_TRIGGER_"):
        return _TRIGGER
    groups = {field.name: field.group for field in schema.FIELDS}
    if groups.get(name) == "cause" or name.startswith(("OOM_TOTAL_", "OOM_DOMAIN_")):
        return _CAUSE
    if groups.get(name) == "entry":
        return _ENTRY
    return _MACHINE


def _is_shown(name: str) -> bool:
    row = name.removeprefix(_FAMILY)
    return row == name or row.removesuffix("_BYTES") in _SHOWN_MEMINFO


def _value(name: str, value: str) -> str:
    kind = _TYPES.get(name, "bytes" if name.endswith("_BYTES") else "text")
    if not value.isdigit():
        return value
    if kind == "bytes":
        return f"{value} ({human_bytes(int(value))})"
    if kind == "µs since 1970":
        return f"{value} ({time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(int(value) / 1e6))})"
    if kind == "µs":
        return f"{value} ({int(value) / 1e6:.3f} s)"
    return value
