# SPDX-License-Identifier: Apache-2.0
"""Decodes the kernel's bytes into the record of a kill or of a release, and rejects bytes that are neither."""

import struct
from collections.abc import Sequence

from oomkilld import recordlayout
from oomkilld.lighttyping import Any
from oomkilld.record.kill import Candidate, CommandLine, KillRecord, Release, Unkillable
from oomkilld.text import counted


class BadRecord(ValueError):
    """Bytes that are no record; the message says what was found and what was expected."""


_KILL = struct.Struct(recordlayout.struct_format())
_RELEASE = struct.Struct(recordlayout.struct_format(recordlayout.RELEASE_RECORD))
KILL_BYTES = _KILL.size  # without texts: the smallest record of a kill
_KILL_NAMES = tuple(member.name for member in recordlayout.KILL_RECORD)
_RELEASE_NAMES = tuple(member.name for member in recordlayout.RELEASE_RECORD)
_CANDIDATE = struct.Struct("=" + recordlayout.CANDIDATE)
_CMDLINE_HEAD = struct.Struct("=" + recordlayout.CMDLINE_HEAD)
_SPARED_AT = struct.calcsize(recordlayout.struct_format(recordlayout.KILL_RECORD[: _KILL_NAMES.index("spared")]))
_LAYOUT_ID = recordlayout.layout_id()
# By member: the bit that says whether it is known; 0: it always is.
_FACT_BITS = {name: recordlayout.fact_bits().get(name, 0) for name in _KILL_NAMES}
_NAMES_IN_IT = tuple(m.name for m in recordlayout.KILL_RECORD if m.c_type == "char")
# The kernel counts these per CPU, so a sum can be negative for a moment; the kernel's own line shows 0 then.
_CLAMPED = frozenset(m.name for m in recordlayout.KILL_RECORD if m.name.endswith("_pages") and m.c_type == "s64")

# Facts that the trigger shares with the victim if it is a thread of it.
_OF_PROCESS = ("start_boottime_ns", "parent_pid", "parent_comm", "ns_pid")

_OF_THE_LOG = dict.fromkeys(("logged_usec", "decision_logged_usec", "victim_within"))
_NOTHING_KILLED = {"victim_pid": None, "victim_tid": None, "reason": b"Out of memory and no killable processes"}

_Value = int | bytes | CommandLine | tuple[Candidate, ...] | None


def decode(raw: bytes | KillRecord | Unkillable) -> KillRecord | Unkillable | Release:
    """Returns a decoded record as it is. Raises BadRecord for bytes that are no whole record of this layout."""
    if not isinstance(raw, bytes):
        return raw
    return _release(raw) if len(raw) == _RELEASE.size else _kill(raw)


def is_kill(raw: bytes | KillRecord | Unkillable) -> bool:
    """Whether it is a kill, not a release, a spared process or an unkillable domain. Decodes nothing else."""
    if isinstance(raw, Unkillable):
        return False
    if isinstance(raw, KillRecord):
        return not raw.spared
    return len(raw) != _RELEASE.size and not any(raw[_SPARED_AT : _SPARED_AT + 2])


def _kill(raw: bytes) -> KillRecord | Unkillable:
    if len(raw) < _KILL.size:
        raise BadRecord(f"found {counted(len(raw), 'byte')}, expected {_RELEASE.size}, or {_KILL.size} and text")
    values: dict[str, Any] = dict(zip(_KILL_NAMES, _KILL.unpack_from(raw), strict=True))
    _check_layout(values["layout"])
    only_thread = values["spared"] == recordlayout.SPARED_THREAD
    nothing = values["spared"] == recordlayout.NOTHING_KILLED
    if not values["victim_tid"] or not (values["victim_pid"] or only_thread or nothing):
        raise BadRecord(f"found victim {values['victim_pid']}/{values['victim_tid']}, expected process and thread ids")
    texts, rest = _texts([values[f"{name}_length"] for name in recordlayout.TEXTS], raw[_KILL.size :])
    unknown = ~values["present"]
    facts = {name: None if bit & unknown else values[name] for name, bit in _FACT_BITS.items()}
    for name in _NAMES_IN_IT:
        if (text := facts[name]) is not None:
            facts[name] = text.partition(b"\0")[0]
    for name in _CLAMPED:
        if (pages := facts[name]) is not None and pages < 0:
            facts[name] = 0
    if only_thread:
        facts["victim_pid"] = None
    if values["trigger_exe_length"] == recordlayout.SAME_AS_VICTIM:
        facts.update({f"trigger_{name}": facts[f"victim_{name}"] for name in _OF_PROCESS})
    facts["domain_nodes"] = _node_list(values["domain_nodes"] if facts["domain_nodes"] else 0)
    facts["trigger_cmdline"] = _command_line(rest)
    facts |= {**texts, **_OF_THE_LOG, **(_NOTHING_KILLED if nothing else {})}
    record = KillRecord._make(facts[name] for name in KillRecord._fields)
    return Unkillable(record, values["victim_tid"]) if nothing else record


def _release(raw: bytes) -> Release:
    values = dict(zip(_RELEASE_NAMES, _RELEASE.unpack(raw), strict=True))
    _check_layout(values["layout"])
    if not values["pid"]:
        raise BadRecord("found the release of process 0, expected a process id")
    return Release._make(values[name] for name in Release._fields)


def _check_layout(found: int) -> None:
    if found != _LAYOUT_ID:
        raise BadRecord(f"found layout {found:#x}, expected {_LAYOUT_ID:#x}")


def _node_list(mask: int) -> bytes | None:
    """``0-2,5``: as the kernel prints a mask of nodes."""
    nodes = [node for node in range(64) if mask >> node & 1]
    firsts = [node for node in nodes if node - 1 not in nodes]
    lasts = [node for node in nodes if node + 1 not in nodes]
    ranges = zip(firsts, lasts, strict=True)
    return b",".join(b"%d" % first if first == last else b"%d-%d" % (first, last) for first, last in ranges) or None


def _texts(marks: Sequence[int], raw: bytes) -> tuple[dict[str, _Value], bytes]:
    """Texts by name (file names, cgroup paths and whether these are cut), and the bytes after them."""
    lengths = [_length(name, mark) for name, mark in zip(recordlayout.TEXTS, marks, strict=True)]
    if sum(lengths) > len(raw):
        raise BadRecord(f"found {counted(len(raw), 'byte')} of text, expected {sum(lengths)}")
    texts: dict[str, _Value] = {}
    domain = None
    for name, mark, length in zip(recordlayout.TEXTS, marks, lengths, strict=True):
        text, raw = raw[:length], raw[length:]
        if name == "largest_candidates":
            texts[name] = _candidates(text)
            continue
        if not name.endswith("_cgroup"):
            texts[name] = text.rstrip(b"\0") or None
            continue
        path = _path(text, domain if mark & recordlayout.PATH_CONTINUES else b"")
        cut = bool(mark & recordlayout.PATH_CUT)
        if cut and path == b"/":
            path = None  # only the root is known
        if name == "domain_cgroup":
            domain = path
        texts |= {name: path, f"{name}_cut": cut and path is not None}
    for name, mark in zip(recordlayout.TEXTS, marks, strict=True):
        if _is_victims(name, mark):
            texts |= {key: texts[key.replace("trigger", "victim")] for key in texts if key.startswith(name)}
    return texts, raw


def _candidates(raw: bytes) -> tuple[Candidate, ...] | None:
    if len(raw) % _CANDIDATE.size:
        raise BadRecord(f"found {counted(len(raw), 'byte')} of candidates, expected {_CANDIDATE.size} for each")
    rows = _CANDIDATE.iter_unpack(raw)
    return tuple((pages, pid, comm.partition(b"\0")[0], adj) for pages, pid, adj, _unused, comm in rows if pid) or None


def _is_victims(name: str, mark: int) -> bool:
    return mark == recordlayout.SAME_AS_VICTIM and name.startswith("trigger_")


def _length(name: str, mark: int) -> int:
    if _is_victims(name, mark):
        return 0
    return mark & ~(recordlayout.PATH_CUT | recordlayout.PATH_CONTINUES) if name.endswith("_cgroup") else mark


def _command_line(raw: bytes) -> CommandLine | None:
    if not raw:
        return None
    text = raw[_CMDLINE_HEAD.size :]
    whole = _CMDLINE_HEAD.unpack(raw[: _CMDLINE_HEAD.size])[0] if text else 0
    if not 0 < len(text) <= whole <= recordlayout.CMDLINE_ROOM:
        raise BadRecord(f"found {counted(len(raw), 'byte')} after the text, expected none or a command line")
    cut = whole > len(text)
    if not cut and not text.endswith(b"\0"):
        # The process replaced it by a title, which ends at the first NUL (fs/proc/base.c, get_mm_cmdline()).
        text = text.partition(b"\0")[0]
    return CommandLine(text, cut)


def _path(text: bytes, before: bytes | None) -> bytes | None:
    """Append names, outermost first and each followed by a NUL, to the path ``before``.

    If ``before`` is empty, the first name is the root's, which is empty. None: not a path, or ``before`` is unknown.
    """
    *names, rest = text.split(b"\0")
    if rest or before is None or (not before and (not names or names.pop(0))) or not all(names):
        return None
    return b"/".join([before.rstrip(b"/"), *names]) or b"/"
