# SPDX-License-Identifier: Apache-2.0
"""What one run leaves for the next of the same boot.

The level it had, the best one that may still be tried, whether what it read from may be to blame for its end.
Standard library only: both stages import it.
"""

import os
from collections.abc import Collection
from contextlib import suppress

from oomkilld.lighttyping import NamedTuple
from oomkilld.service import notefile
from oomkilld.service.notefile import Directory

RUNTIME_DIRECTORY = "/run/oomkilld"
# Far more than a level and a reason take.
_MAX_BYTES = 1024
_LAST = "last-level"
_CEILING = "level"
_KEPT_IS_BAD = "kept-is-bad"


class Ceiling(NamedTuple):
    """No better level than this one is tried, and why."""

    level: str
    reason: str


def read_last(directory: Directory, known: Collection[str]) -> str | None:
    """One of ``known``; None: there was no run before, or none that wrote it."""
    level = _text(directory, _LAST)
    return level if level in known else None


def write_last(directory: Directory, level: str) -> None:
    """Raises OSError."""
    _write(directory, _LAST, level)


def read_ceiling(directory: Directory, known: Collection[str]) -> Ceiling | None:
    """None: there is none, or not one of ``known``."""
    level, _space, reason = _text(directory, _CEILING).partition(" ")
    return Ceiling(level, reason) if level in known else None


def write_ceiling(directory: Directory, ceiling: Ceiling) -> None:
    """Raises OSError."""
    _write(directory, _CEILING, f"{ceiling.level} {ceiling.reason}")


def write_kept_is_bad(directory: Directory) -> None:
    """The run failed over what it read from: the next takes a new probe and a new ring. Raises OSError."""
    _write(directory, _KEPT_IS_BAD, "")


def kept_is_bad(directory: Directory) -> bool:
    """Whether a run before has written that."""
    return os.path.lexists(os.path.join(directory, _KEPT_IS_BAD))


def forget_kept_is_bad(directory: Directory) -> None:
    """What it was about is not kept any more."""
    with suppress(OSError):
        os.unlink(os.path.join(directory, _KEPT_IS_BAD))


def _write(directory: Directory, name: str, line: str) -> None:
    notefile.write(directory, name, f"{line}\n".encode()[:_MAX_BYTES])


def _text(directory: Directory, name: str) -> str:
    """One line, fit for a log: whoever wrote it."""
    content = notefile.read(directory, name, _MAX_BYTES) or b""
    return "".join(c if c.isprintable() else " " for c in content.decode(errors="replace")).strip()
