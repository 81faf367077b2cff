# SPDX-License-Identifier: Apache-2.0
"""Notes of one run for the next in the same boot, and where those for the next boot are.

They hold its level, the best level that may still be tried, and whether the saved ring may have caused its end.
Standard library only: both stages import it.
"""

import os
from collections.abc import Collection
from contextlib import suppress

from oomkilld.lighttyping import NamedTuple
from oomkilld.service import notefile
from oomkilld.service.notefile import Directory

RUNTIME_DIRECTORY = "/run/oomkilld"
LOCK = "instance"
PROGRAM = "program"
# Far more than a level and a reason need.
_MAX_BYTES = 1024
_LAST = "last-level"
_CEILING = "level"
_KEPT_IS_BAD = "kept-is-bad"


def state_directory() -> str | None:
    """/var/lib/oomkilld; None: the service manager made none (StateDirectory=).

    Only stage arm writes there: Landlock keeps stage record out.
    """
    return os.environ.get("STATE_DIRECTORY") or None


def lasting_directory() -> str:
    """The directory for a note that may outlive the boot."""
    return state_directory() or RUNTIME_DIRECTORY


class Ceiling(NamedTuple):
    """The best level that may be tried, and why no better one."""

    level: str
    reason: str


def read_last(directory: Directory, known: Collection[str]) -> str | None:
    """The level of the previous run, one of ``known``; None: there was no such run, or it wrote none."""
    level = _text(directory, _LAST)
    return level if level in known else None


def write_last(directory: Directory, level: str) -> None:
    """Note the level of this run. Raises OSError."""
    _write(directory, _LAST, level)


def read_ceiling(directory: Directory, known: Collection[str]) -> Ceiling | None:
    """The ceiling of this boot; None: there is none, or its level is not in ``known``."""
    level, _space, reason = _text(directory, _CEILING).partition(" ")
    return Ceiling(level, reason) if level in known else None


def write_ceiling(directory: Directory, ceiling: Ceiling) -> None:
    """Note a ceiling for the rest of this boot. Raises OSError."""
    _write(directory, _CEILING, f"{ceiling.level} {ceiling.reason}")


def write_kept_is_bad(directory: Directory) -> None:
    """Note that this run failed because of the ring: the next one uses a new probe and a new ring. Raises OSError."""
    _write(directory, _KEPT_IS_BAD, "")


def kept_is_bad(directory: Directory) -> bool:
    """Whether an earlier run noted that."""
    return os.path.lexists(os.path.join(directory, _KEPT_IS_BAD))


def forget_kept_is_bad(directory: Directory) -> None:
    """Remove the note: that ring is not kept any more."""
    with suppress(OSError):
        os.unlink(os.path.join(directory, _KEPT_IS_BAD))


def _write(directory: Directory, name: str, line: str) -> None:
    notefile.write(directory, name, f"{line}\n".encode()[:_MAX_BYTES])


def _text(directory: Directory, name: str) -> str:
    """One line that is safe to log, whoever wrote the file."""
    content = notefile.read(directory, name, _MAX_BYTES) or b""
    return "".join(c if c.isprintable() else " " for c in content.decode(errors="replace")).strip()
