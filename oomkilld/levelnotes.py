# SPDX-License-Identifier: Apache-2.0
"""What one run leaves for the next of the same boot: the level it had, and the best one that may still be tried.

Standard library only: both stages import it.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

RUNTIME_DIRECTORY = Path("/run/oomkilld")
_LAST = "last-level"
_CEILING = "level"


class Ceiling(NamedTuple):
    """No better level than this one is tried, and why."""

    level: str
    reason: str


def read_last(directory: Path, known: Collection[str]) -> str | None:
    """One of ``known``; None: there was no run before, or none that wrote it."""
    level = _text(directory / _LAST)
    return level if level in known else None


def write_last(directory: Path, level: str) -> None:
    """Raises OSError."""
    (directory / _LAST).write_text(f"{level}\n")


def read_ceiling(directory: Path, known: Collection[str]) -> Ceiling | None:
    """None: there is none, or not one of ``known``."""
    level, _space, reason = _text(directory / _CEILING).partition(" ")
    return Ceiling(level, reason) if level in known else None


def write_ceiling(directory: Path, ceiling: Ceiling) -> None:
    """Raises OSError."""
    (directory / _CEILING).write_text(f"{ceiling.level} {ceiling.reason}\n")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
