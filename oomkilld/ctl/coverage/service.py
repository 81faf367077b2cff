# SPDX-License-Identifier: Apache-2.0
"""Whether the service runs, will run after a boot, and what its status line says."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from oomkilld.ctl.coverage.finding import Finding, fail, not_checked, ok, warn
from oomkilld.ctl.coverage.program import output
from oomkilld.lighttyping import NamedTuple
from oomkilld.service import rundir

UNIT = "oomkilld.service"
STORES_NOTHING = "journald stores nothing"
_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "ExecMainStatus", "StatusText"),
    *("LogRateLimitIntervalUSec", "LogRateLimitBurst"),
)
_COUNTS = re.compile(r"Level (\w+): (\d+) kills? recorded, (\d+) repeats?, (\d+) missing(.*)", re.DOTALL)
_SEARCHING = re.compile(r"searching the kernel log for (\d+) kills?")
_INVALID_SETTINGS = "the configuration is invalid"
_WHY = f"`journalctl -b -u {UNIT}` says why"
_START = "`sudo systemctl enable --now oomkilld`"


class Status(NamedTuple):
    """The status line. ``searching``: kills that it is looking for. ``troubles``: the rest of the line."""

    level: str
    kills: int
    repeats: int
    missing: int
    searching: int
    troubles: tuple[str, ...]


def status_of(text: str) -> Status | None:
    """Parse a status line; None: there is none, as before the service was ready."""
    found = _COUNTS.match(text)
    if found is None:
        return None
    level, kills, repeats, missing, rest = found.groups()
    parts = rest.split("; ")[1:]
    searching = [int(part[1]) for part in map(_SEARCHING.fullmatch, parts) if part]
    troubles = tuple(part for part in parts if not _SEARCHING.fullmatch(part))
    return Status(level, int(kills), int(repeats), int(missing), sum(searching), troubles)


def unit() -> dict[str, str] | None:
    """Properties of the unit; None: systemd does not run here."""
    shown = output("systemctl", "show", UNIT, *(f"--property={name}" for name in _PROPERTIES))
    return None if shown is None else dict(line.partition("=")[::2] for line in shown.splitlines())


def is_running(shown: Mapping[str, str]) -> bool:
    """Whether kills are recorded right now."""
    return shown.get("ActiveState") in ("active", "reloading", "refreshing")


def holder(root: Path) -> str | None:
    """The process id of the oomkilld that holds the lock; None: there is none, or only root can see it."""
    lock = root / rundir.RUNTIME_DIRECTORY.lstrip("/") / rundir.LOCK
    try:
        inode = lock.stat().st_ino
        rows = [line.split() for line in (root / "proc/locks").read_text().splitlines()]
        # "1: FLOCK ADVISORY WRITE 553 00:1a:1234 0 EOF"; one that waits has "->" after its number.
        held = any(row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(inode) for row in rows)
        return lock.read_text().strip() if held else None
    except (OSError, ValueError, IndexError):
        return None


def findings(shown: Mapping[str, str] | None, holder: str | None, *, is_root: bool) -> Iterator[Finding]:
    """``holder``: the process id of an oomkilld that runs without systemd."""
    if shown is None:
        yield _by_hand(holder, is_root=is_root)
        return
    yield _state(shown)
    if is_running(shown):
        yield from _boot(shown)
        for trouble in _troubles(shown):
            yield warn("status line", trouble, _hint(trouble))


def _by_hand(holder: str | None, *, is_root: bool) -> Finding:
    if holder is not None:
        return ok("service", f"running without systemd, as process {holder}")
    if not is_root:
        return not_checked("service")
    return fail("service", "not running, and neither is systemd", "start `oomkilld` as root, beside a journald")


def _state(shown: Mapping[str, str]) -> Finding:
    what, load, state = "service", shown.get("LoadState"), shown.get("ActiveState", "unknown")
    if load == "not-found":
        return fail(what, "not installed", "`sudo packaging/install` from a checkout, then " + _START)
    if load == "masked":
        return fail(what, "masked", f"`sudo systemctl unmask oomkilld`, then {_START}")
    if is_running(shown):
        status = status_of(shown.get("StatusText", ""))
        return ok(what, "running" if status is None else f"running at level {status.level}")
    if state == "activating" and shown.get("SubState") != "auto-restart":
        return warn(what, "starting: compiling the probe takes seconds", "check again in a minute")
    ended = shown.get("ExecMainStatus", "0")
    failed = f" (exit status {ended})" if ended != "0" else ""
    return fail(what, f"not running: {state}{failed}", f"{_START}; {_WHY}" if failed else _START)


def _boot(shown: Mapping[str, str]) -> Iterator[Finding]:
    state = shown.get("UnitFileState", "")
    if state in ("disabled", "enabled-runtime"):
        yield warn("next boot", f"the service does not start then: {state}", "`sudo systemctl enable oomkilld`")
    else:
        yield ok("next boot", f"the service starts then: {state or 'unknown'}")


def _troubles(shown: Mapping[str, str]) -> list[str]:
    status = status_of(shown.get("StatusText", ""))
    return [] if status is None else [each for each in status.troubles if each != STORES_NOTHING]


def _hint(trouble: str) -> str:
    if trouble.startswith(_INVALID_SETTINGS):
        return "`sudo oomkilld --check-config`, then `sudo systemctl restart oomkilld`"
    return _WHY
