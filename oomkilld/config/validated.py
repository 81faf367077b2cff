# SPDX-License-Identifier: Apache-2.0
"""The settings in the form that the stages need, validated once for the same files.

Importing pydantic takes about as long as everything else until the service is ready again, and more memory. If the
files become invalid, the service uses the settings validated last: a recorder that does not run records nothing.
"""

import json
import os
import sys
from _blake2 import blake2b  # hashlib would load OpenSSL
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from oomkilld.config import files as configfiles
from oomkilld.config import options, patterns
from oomkilld.errors import BadConfiguration
from oomkilld.service import notefile
from oomkilld.service.handover import Recording
from oomkilld.service.notefile import Directory
from oomkilld.stderr import ERR, NOTICE, say

if TYPE_CHECKING:
    from oomkilld.config.settings import Settings

_PACKAGE = Path(__file__).parents[1]
# The modules that validate the files and make a ``Chosen`` of them.
_PROGRAM = (
    *(f"config/{name}.py" for name in ("settings", "options", "files", "access", "patterns", "validated")),
    "service/handover.py",
)
_NOTE = "settings"
_MAX_NOTE_BYTES = 1 << 20
_DIGEST_BYTES = 16
_SHOWN_CHARACTERS = 500
# As numbers, the form in which they are stored.
_PRIORITIES = range(len(get_args(options.SyslogLevel)))
_LOG_PRIORITIES = [get_args(options.SyslogLevel).index(name) for name in get_args(options.LogLevel)]


class Chosen(NamedTuple):
    """Validated settings: the capture level (or "auto"), the size of the ring, and those of the resident stage.

    ``instead``: which settings replace those of invalid files; empty: the files are valid.
    """

    level: str
    ring_bytes: int
    recording: Recording
    instead: str = ""


def load(directory: Directory, root: Path = Path("/")) -> Chosen:
    """Load the settings, and report errors in the files. ``directory``: keeps the valid ones for the next run."""
    digest = _digest(root)
    before = _validated(directory)
    if digest is not None and before is not None and before.digest == digest:
        return before.chosen
    from oomkilld.config import settings

    try:
        chosen = _chosen(settings.load(root).settings)
    except BadConfiguration as error:
        return _instead(before.chosen if before else None, error)
    # If the digest differs, a file changed meanwhile, and the settings may be of either version.
    if digest is not None and digest == _digest(root):
        _note(directory, digest, chosen)
    return chosen


def _instead(before: Chosen | None, error: BadConfiguration) -> Chosen:
    from oomkilld.config.settings import Settings

    if before is None:
        chosen = _chosen(Settings())._replace(instead="the defaults")
    else:
        # The changed files may turn off the recording of command lines.
        recording = before.recording._replace(cmdline="off")
        chosen = before._replace(recording=recording, instead="the last valid settings, without command lines")
    say(ERR, error.message)
    say(ERR, f"the configuration is invalid: the service uses {chosen.instead}{_unlike_the_default(chosen)}")
    say(NOTICE, "correct the errors above, run `oomkilld --check-config`, then `systemctl restart oomkilld`")
    return chosen


def _unlike_the_default(chosen: Chosen) -> str:
    """The settings that differ from the defaults, in parentheses; empty: none does."""
    from oomkilld.config.settings import Settings

    usual = _values(_chosen(Settings()))
    found = [f"{option} = {json.dumps(value)}" for option, value in _values(chosen).items() if value != usual[option]]
    return f" (not by default: {', '.join(found)[:_SHOWN_CHARACTERS]})" if found else ""


def _values(chosen: Chosen) -> dict[str, object]:
    """The value of each option, except those about command lines."""
    from oomkilld.config.settings import SYSLOG_LEVELS

    told = chosen.recording
    return {
        "capture.level": chosen.level,
        "capture.ring_size": chosen.ring_bytes,
        "entry.priority": SYSLOG_LEVELS[told.priority],
        "entry.meminfo": told.meminfo,
        "entry.statistics": told.statistics,
        "entry.outcome": told.outcome,
        "entry.reduce_from": told.reduce_from,
        "recorder.enabled": told.recorder_cgroups > 0,
        "recorder.cgroups": told.recorder_cgroups or options.MAX_RECORDER_CGROUPS,
        "log.level": SYSLOG_LEVELS[told.log_priority],
    }


def _chosen(loaded: "Settings") -> Chosen:
    from oomkilld.config import settings
    from oomkilld.recordlayout import ring_bytes

    entry = loaded.entry
    recording = Recording(
        priority=settings.SYSLOG_LEVELS.index(entry.priority),
        log_priority=settings.SYSLOG_LEVELS.index(loaded.log.level),
        meminfo=entry.meminfo,
        statistics=entry.statistics,
        outcome=entry.outcome,
        reduce_from=entry.reduce_from,
        cmdline=entry.cmdline,
        redact=patterns.expanded(entry.redact),
        recorder_cgroups=loaded.recorder.cgroups if loaded.recorder.enabled else 0,
    )
    return Chosen(loaded.capture.level, ring_bytes(loaded.capture.ring_size), recording)


def _digest(root: Path) -> str | None:
    """A digest of everything that decides the settings. None: some of it cannot be read; settings.py reports that."""
    found = configfiles.find(root)
    if found.errors:
        return None
    digest = blake2b(sys.version.encode(), digest_size=_DIGEST_BYTES)
    try:
        contents = [(path, configfiles.read(path, root)) for path in found.files]
    except BadConfiguration:
        return None
    for path, content in (*((path := _PACKAGE / name, path.read_bytes()) for name in _PROGRAM), *contents):
        digest.update(b"%d %d:" % (len(os.fsencode(path)), len(content)))
        digest.update(os.fsencode(path))
        digest.update(content)
    return digest.hexdigest()


class _Validated(NamedTuple):
    """``digest``: of the files, and of the program that validated them."""

    digest: str
    chosen: Chosen


def _validated(directory: Directory) -> _Validated | None:
    """The settings that were validated last. None: there are none, or the note is not valid."""
    content = notefile.read(directory, _NOTE, _MAX_NOTE_BYTES)
    if content is None:
        return None
    try:
        noted = json.loads(content)
        digest = noted["digest"]
        chosen = Chosen(noted["level"], noted["ring_bytes"], Recording(**noted["recording"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return _Validated(digest, chosen) if _is_valid(chosen) else None


def _is_valid(chosen: Chosen) -> bool:
    """Whether settings can have these values.

    The resident stage may be able to write to the note, but must not decide for this stage. Its own settings are
    checked, too: their values go into journal fields.
    """
    told = chosen.recording
    return (
        _is_one_of(chosen.level, get_args(options.CaptureLevel))
        and type(chosen.ring_bytes) is int
        and options.is_ring_size(chosen.ring_bytes)
        and _is_one_of(told.priority, _PRIORITIES)
        and _is_one_of(told.log_priority, _LOG_PRIORITIES)
        and (
            _is_one_of(told.meminfo, get_args(options.Rows))
            or (type(told.meminfo) is list and all(map(options.is_meminfo_key, told.meminfo)))
        )
        and _is_one_of(told.statistics, get_args(options.Rows))
        and _is_one_of(told.outcome, get_args(options.Outcome))
        and _is_one_of(told.reduce_from, range(options.MAX_REDUCE_FROM + 1))
        and _is_one_of(told.cmdline, get_args(options.CommandLine))
        and _is_one_of(told.recorder_cgroups, range(options.MAX_RECORDER_CGROUPS + 1))
        and type(told.redact) is list
        and all(isinstance(pattern, str) and patterns.fault(pattern) is None for pattern in told.redact)
    )


def _is_one_of(value: object, known: Collection[object]) -> bool:
    # True equals 1, but is no number.
    return type(value) in (str, int) and value in known


def _note(directory: Directory, digest: str, chosen: Chosen) -> None:
    noted = {"digest": digest, **chosen._asdict(), "recording": chosen.recording._asdict()}
    with suppress(OSError):  # then the next run validates them again
        notefile.write(directory, _NOTE, json.dumps(noted).encode())
