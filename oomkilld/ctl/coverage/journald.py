# SPDX-License-Identifier: Apache-2.0
"""Whether journald stores what the service sends: where, how much, and for how long."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from oomkilld.ctl.coverage.finding import Finding, fail, not_checked, ok, warn
from oomkilld.ctl.coverage.program import output
from oomkilld.ctl.coverage.service import STORES_NOTHING
from oomkilld.text import counted, human_bytes

_CONF = "/etc/systemd/journald.conf.d/oomkilld.conf"
_RESTART = "`sudo systemctl restart systemd-journald`"
_PERSISTENT, _VOLATILE = "var/log/journal", "run/log/journal"
_FILE = "system.journal"
# journald's own defaults, and the flood that a machine can make: 364 kills/s were measured on two processors.
_INTERVAL, _BURST = "30s", "10000"
_ENTRIES_PER_SECOND = 300
_PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
# journald enlarges its files by so much at a time.
_STEP_BYTES = 8 << 20
_FEW_STEPS = 3
_ENTRY_BYTES = 5000  # of a kill in full, see README
_UNITS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_UNITS |= {"h": 3600.0, "hr": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}


def settings(text: str) -> dict[str, str]:
    """The section [Journal] of all of journald's files, one after the other as systemd reads them."""
    found: dict[str, str] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Journal]" and "=" in line and not line.startswith(("#", ";")):
            name, _equals, value = line.partition("=")
            found[name.strip()] = value.strip()
    return found


def files() -> str:
    """The text of journald's configuration files; empty: systemd-analyze, which finds them, is missing."""
    return output("systemd-analyze", "cat-config", "systemd/journald.conf") or ""


def findings(
    root: Path, configured: Mapping[str, str], unit: Mapping[str, str] | None, priority: str, *, is_root: bool
) -> Iterator[Finding]:
    """``configured``: see ``settings``. ``unit``: properties of the service's; None: systemd does not run.

    ``priority``: of the entries of kills.
    """
    places = [root / place / _machine_id(root) for place in (_PERSISTENT, _VOLATILE)]
    # journald may have left the other place: it writes where the file changed last.
    changed = {place: at_ns for place in places if (at_ns := _changed_ns(place / _FILE)) is not None}
    stores = max(changed, key=changed.__getitem__, default=None)
    hidden = not is_root and not all(map(_is_visible, places))
    if (trouble := _stores_nothing(configured, unit, priority)) is not None:
        yield trouble
    elif stores is not None:
        yield _kept(stores, root)
        yield _room(stores, root)
    elif hidden:
        yield not_checked("journal")
    else:
        yield fail("journal", "there is no journal file: kills get no entry", "see Storage= in journald.conf(5)")
    yield _rate(configured, unit or {})


def _stores_nothing(configured: Mapping[str, str], unit: Mapping[str, str] | None, priority: str) -> Finding | None:
    if STORES_NOTHING in (unit or {}).get("StatusText", "") or configured.get("Storage") == "none":
        return fail("journal", STORES_NOTHING, f"set Storage=persistent in {_CONF}, then {_RESTART}")
    least = configured.get("MaxLevelStore", "debug")
    number = _PRIORITIES.index(least) if least in _PRIORITIES else int(least) if least.isdigit() else len(_PRIORITIES)
    if number < _PRIORITIES.index(priority):
        text = f"journald does not store entries of priority {priority}, which kills have: MaxLevelStore={least}"
        return fail("journal", text, f"raise it, then {_RESTART}")
    return None


def _kept(directory: Path, root: Path) -> Finding:
    if directory.is_relative_to(root / _PERSISTENT):
        return ok("journal", f"persistent, in /{directory.parent.relative_to(root)}")
    hint = f"`sudo mkdir -p /{_PERSISTENT} && sudo journalctl --flush` keeps them on disk"
    return warn("journal", "in memory only: entries are gone after a reboot", hint)


def _room(directory: Path, root: Path) -> Finding:
    what = "room"
    about = os.statvfs(directory)
    free = about.f_bavail * about.f_frsize
    place, kills = directory.relative_to(root).parts[0], counted(free // _ENTRY_BYTES, "kill")
    text = f"{human_bytes(free)} free in /{place}, room for {kills}"
    if free < _STEP_BYTES:
        return fail(what, f"{text}: journald cannot enlarge its files", "free space there")
    if free < _FEW_STEPS * _STEP_BYTES:
        return warn(what, text, "free space there")
    return ok(what, text)


def _rate(configured: Mapping[str, str], unit: Mapping[str, str]) -> Finding:
    """A unit's own limit counts if it is not 0: with 0, journald uses its own (systemd issue 22034)."""
    interval, burst = unit.get("LogRateLimitIntervalUSec", "0"), unit.get("LogRateLimitBurst", "0")
    own = _seconds(interval) is not None and _seconds(interval) != 0
    interval = interval if own else configured.get("RateLimitIntervalSec") or _INTERVAL
    burst = burst if burst not in ("0", "") else configured.get("RateLimitBurst") or _BURST
    seconds = _seconds(interval)
    if seconds is None or not burst.isdigit():
        hint = "see RateLimitBurst= in journald.conf(5)"
        return warn("rate limit", f"unknown: RateLimitBurst={burst} in {interval}", hint)
    if not seconds or not int(burst):
        return ok("rate limit", "none")
    text = f"journald takes {counted(int(burst), 'entry', 'entries')} in {interval}, or more where disk space is free"
    if int(burst) / seconds >= _ENTRIES_PER_SECOND:
        return ok("rate limit", text)
    hint = f"set RateLimitBurst={_BURST} and RateLimitIntervalSec={_INTERVAL} in {_CONF}, then {_RESTART}"
    return warn("rate limit", f"{text}: fewer than kills in a flood", hint)


def _seconds(span: str) -> float | None:
    """A time span of systemd.time(7), such as ``1min 30s``; None: it is none, or has no end."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", span)
    seconds = [_UNITS.get(unit, _UNITS.get(unit.removesuffix("s"))) for _number, unit in parts]
    if not parts or None in seconds or re.sub(r"[0-9.a-z\s]", "", span):
        return None
    return sum(float(number) * each for (number, _unit), each in zip(parts, seconds, strict=True) if each is not None)


def _machine_id(root: Path) -> str:
    """Empty: there is none, and so no journal."""
    try:
        return (root / "etc/machine-id").read_text().strip()
    except (OSError, ValueError):
        return ""


def _changed_ns(file: Path) -> int | None:
    """None: it is not there, or this user cannot see it."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _is_visible(directory: Path) -> bool:
    """Whether this user would see a file in it: an absent directory hides none."""
    return os.access(directory, os.X_OK) or not os.path.lexists(directory)
