# SPDX-License-Identifier: Apache-2.0
"""The capture level of the run before this one, in this boot: what tells a change of it.

Standard library only: both stages import it.
"""

from collections.abc import Collection
from pathlib import Path

RUNTIME_DIRECTORY = Path("/run/oomkilld")
_NAME = "last-level"


def read(directory: Path, known: Collection[str]) -> str | None:
    """One of ``known``; None: there was no run before, or none that wrote it."""
    try:
        level = (directory / _NAME).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return level if level in known else None


def write(directory: Path, level: str) -> None:
    """Raises OSError."""
    (directory / _NAME).write_text(f"{level}\n")
