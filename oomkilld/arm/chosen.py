# SPDX-License-Identifier: Apache-2.0
"""The settings as the stages need them, validated once in a boot for the same files.

Importing pydantic takes about as long as all else that is done until the service is ready again.
"""

import marshal
import os
import sys
from _blake2 import blake2b  # hashlib would load OpenSSL
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from oomkilld import configfiles
from oomkilld.errors import BadConfiguration
from oomkilld.handover import Recording
from oomkilld.levelnotes import Directory

if TYPE_CHECKING:
    from oomkilld.settings import Settings

_PACKAGE = Path(__file__).parents[1]
# What validates, and what makes a ``Chosen`` of it.
_PROGRAM = ("settings.py", "configfiles.py", "redaction.py", "handover.py", "arm/chosen.py")
_NOTE = "settings"
_DIGEST_BYTES = 16


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
    from oomkilld import redaction, settings
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


def _digest(root: Path) -> bytes | None:
    """Of all that decides what is chosen. None: some of it cannot be read, which is for settings.py to say."""
    digest = blake2b(sys.version.encode(), digest_size=_DIGEST_BYTES)
    try:
        for path in (*(_PACKAGE / name for name in _PROGRAM), *configfiles.files(root)):
            content = configfiles.read(path)
            digest.update(b"%d %d:" % (len(os.fsencode(path)), len(content)))
            digest.update(os.fsencode(path))
            digest.update(content)
    except BadConfiguration:
        return None
    return digest.digest()


def _validated(directory: Directory, digest: bytes) -> Chosen | None:
    """None: these files were not yet, or not by this program."""
    try:
        with open(os.path.join(directory, _NOTE), "rb") as file:
            if file.read(_DIGEST_BYTES) != digest:
                return None
            level, ring_bytes, recording = marshal.load(file)
        return Chosen(level, ring_bytes, Recording(*recording))
    except (OSError, ValueError, TypeError, EOFError):
        return None


def _note(directory: Directory, digest: bytes, chosen: Chosen) -> None:
    with suppress(OSError):  # they are validated again
        # Its patterns are as secret as the files they are from may be.
        fd = os.open(os.path.join(directory, _NOTE), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(digest + marshal.dumps((chosen.level, chosen.ring_bytes, tuple(chosen.recording))))
