# SPDX-License-Identifier: Apache-2.0
"""The settings as the stages need them, validated once in a boot for the same files.

Importing pydantic takes about as long as all else that is done until the service is ready again.
"""

import json
import os
import sys
from _blake2 import blake2b  # hashlib would load OpenSSL
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from oomkilld import configfiles, notefile, options, redaction
from oomkilld.errors import BadConfiguration
from oomkilld.handover import Recording
from oomkilld.notefile import Directory

if TYPE_CHECKING:
    from oomkilld.settings import Settings

_PACKAGE = Path(__file__).parents[1]
# What validates, and what makes a ``Chosen`` of it.
_PROGRAM = (
    *("settings.py", "options.py", "configfiles.py", "configaccess.py", "redaction.py", "handover.py"),
    "arm/chosen.py",
)
_NOTE = "settings"
_MAX_NOTE_BYTES = 1 << 20
_DIGEST_BYTES = 16
# As numbers, as they are noted.
_PRIORITIES = range(len(get_args(options.SyslogLevel)))
_LOG_PRIORITIES = [get_args(options.SyslogLevel).index(name) for name in get_args(options.LogLevel)]


class Chosen(NamedTuple):
    """Validated: the capture level (or "auto"), how large the ring is to be, and what the resident stage is told."""

    level: str
    ring_bytes: int
    recording: Recording


def load(directory: Directory, root: Path = Path("/")) -> Chosen:
    """``directory``: where the next run finds what was validated. Raises BadConfiguration."""
    digest = _digest(root)
    if digest is not None and (before := _validated(directory, digest)) is not None:
        return before
    from oomkilld import settings

    chosen = _chosen(settings.load(root).settings)
    # Else it has changed meanwhile, and may be of either.
    if digest is not None and digest == _digest(root):
        _note(directory, digest, chosen)
    return chosen


def _chosen(loaded: "Settings") -> Chosen:
    from oomkilld import settings
    from oomkilld.record.ring import ring_bytes

    entry = loaded.entry
    recording = Recording(
        priority=settings.SYSLOG_LEVELS.index(entry.priority),
        log_priority=settings.SYSLOG_LEVELS.index(loaded.log.level),
        meminfo=entry.meminfo,
        statistics=entry.statistics,
        outcome=entry.outcome,
        reduce_from=entry.reduce_from,
        cmdline=entry.cmdline,
        redact=redaction.expanded(entry.redact),
    )
    return Chosen(loaded.capture.level, ring_bytes(loaded.capture.ring_size), recording)


def _digest(root: Path) -> str | None:
    """Of all that decides what is chosen. None: some of it cannot be read, which is for settings.py to say."""
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


def _validated(directory: Directory, digest: str) -> Chosen | None:
    """None: these files were not yet, or not by this program, or what is noted is none of its settings."""
    content = notefile.read(directory, _NOTE, _MAX_NOTE_BYTES)
    if content is None:
        return None
    try:
        noted = json.loads(content)
        if noted["digest"] != digest:
            return None
        chosen = Chosen(noted["level"], noted["ring_bytes"], Recording(**noted["recording"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return chosen if _is_valid(chosen) else None


def _is_valid(chosen: Chosen) -> bool:
    """Whether settings can have it: the resident stage writes to where it was noted, and may not choose for this one.

    What it is told itself is checked, too: it goes into fields of the journal.
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
        and type(told.redact) is list
        and all(isinstance(pattern, str) and redaction.fault(pattern) is None for pattern in told.redact)
    )


def _is_one_of(value: object, known: Collection[object]) -> bool:
    # True is 1, but no number.
    return type(value) in (str, int) and value in known


def _note(directory: Directory, digest: str, chosen: Chosen) -> None:
    noted = {"digest": digest, **chosen._asdict(), "recording": chosen.recording._asdict()}
    with suppress(OSError):  # they are validated again
        notefile.write(directory, _NOTE, json.dumps(noted).encode())
