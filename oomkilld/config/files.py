# SPDX-License-Identifier: Apache-2.0
"""The files of the configuration: where they are, in which order they apply, and the TOML in them.

Standard library only: arm/main.py uses this before it imports pydantic, to give the compiler work early.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from oomkilld.config import access
from oomkilld.config.access import Refused
from oomkilld.errors import NO_ROOM, BadConfiguration

# As for systemd's configuration, a file in an earlier directory replaces those of the same name in later ones. No
# directory below /run: the service can write there, and must not configure itself.
DIRECTORIES = ("etc/oomkilld", "usr/lib/oomkilld")
FILE_NAME = "oomkilld.toml"
MAX_FILE_BYTES = 1 << 16
# The default of capture.ring_size, which is compiled in; see settings.py for all options.
DEFAULT_RING_BYTES = 4 << 20
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Found(NamedTuple):
    """The main file, then the drop-ins in the order of their names; and errors of the directories."""

    files: list[Path]
    errors: list[str]


class Parsed(NamedTuple):
    """A file's text, and its tables, not validated."""

    text: str
    tables: dict[str, Any]


def find(root: Path) -> Found:
    """Find all files in force."""
    errors: list[str] = []

    def names(directory: Path) -> list[str]:
        if not os.path.lexists(directory):  # then the modes of the directories above do not matter
            return []
        try:
            where = access.resolve(directory, root)
            return [] if where is None else os.listdir(where)
        except Refused as refused:
            if not any(error.endswith(shown(str(refused))) for error in errors):  # from a directory above both
                errors.append(f"{shown_path(directory)}: {shown(str(refused))}")
        except OSError as error:
            errors.append(f"{shown_path(directory)}: {_unreadable(error)}, expected a directory, or nothing there")
        return []

    directories = [root / directory for directory in DIRECTORIES]
    files = [directory / FILE_NAME for directory in directories if FILE_NAME in names(directory)][:1]
    drop_ins: dict[str, Path] = {}
    for directory in reversed([directory / f"{FILE_NAME}.d" for directory in directories]):
        # Editors leave hidden files, such as ".#10.toml", while a file is being changed.
        wanted = [name for name in names(directory) if name.endswith(".toml") and not name.startswith(".")]
        drop_ins |= {name: directory / name for name in wanted}
    return Found([*files, *(drop_ins[name] for name in sorted(drop_ins))], errors)


def in_force(path: Path, root: Path) -> Path | None:
    """The path of the file below the directories in force, even if links lead to it; None: it is not there."""
    try:
        absolute = os.path.abspath(path)
    except OSError:  # the working directory is gone
        return None
    directories = [root / directory for directory in DIRECTORIES]
    places = [place for directory in directories for place in (directory, directory / f"{FILE_NAME}.d")]
    really = {os.path.realpath(place): place for place in reversed(places)}
    for each in (absolute, os.path.realpath(absolute)):
        directory, name = os.path.split(each)
        if place := really.get(os.path.realpath(directory)):
            return place / name
    return None


def is_passed_over(path: Path, root: Path = Path("/")) -> bool:
    """Whether the file is in a directory of files in force, but not in force itself."""
    found = in_force(path, root)
    return found is not None and found not in find(root).files


def mention(table: str, option: str | None = None, root: Path = Path("/")) -> bool:
    """Whether a file sets that option of that table, or any option of it.

    True also if a file cannot be read or is invalid: settings.py reports that.
    """
    found = find(root)
    try:
        tables = [of_file for path in found.files if (of_file := parse(path, root).tables.get(table))]
    except BadConfiguration:
        return True
    is_set = any(option is None or not isinstance(options, dict) or option in options for options in tables)
    return is_set or found.errors != []


def read(path: Path, root: Path | None) -> bytes:
    """Read a file as the service sees it below ``root``; None: as this process sees it. Raises BadConfiguration.

    Never blocks, whatever kind of file it is.
    """
    try:
        where = os.fspath(path) if root is None else access.resolve(path, root) or os.fspath(path)
        return _read(where, is_nothing=root is not None and where == os.path.join(root, access.NOTHING))
    except Refused as refused:
        reason = shown(str(refused))
    except OSError as error:
        reason = _unreadable(error)
    raise BadConfiguration(f"{shown_path(path)}: {reason}", "")


def _read(where: str, *, is_nothing: bool) -> bytes:
    mode = os.stat(where).st_mode
    if is_nothing:
        return b""
    if not stat.S_ISREG(mode):
        raise Refused(f"found {_KINDS.get(stat.S_IFMT(mode), 'something else')}, expected a regular file")
    with open(os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise Refused(f"found more than {MAX_FILE_BYTES} bytes, expected a configuration file of at most that")
    return content


def _unreadable(error: OSError) -> str:
    """The reason to report. Raises ``error`` if it is a lack of resources, which is no fault of the file."""
    if error.errno in NO_ROOM:
        raise error
    asking = f" by user {os.geteuid()}" if error.errno == errno.EACCES and os.geteuid() else ""
    return f"cannot be read{asking}: {error.strerror}{', run this as root' if asking else ''}"


def parse(path: Path, root: Path | None) -> Parsed:
    """Parse a file, see ``read``. Raises BadConfiguration."""
    import tomllib  # slower than everything else in a start that finds the settings validated

    content = read(path, root)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _bad(path, line, f"found byte {content[error.start]:#04x}, expected UTF-8 text") from None
    if text.startswith("\ufeff"):
        raise _bad(path, 1, "found a byte order mark, expected UTF-8 text without one")
    try:
        return Parsed(text, tomllib.loads(text))
    except ValueError as error:  # a TOMLDecodeError, or a number with too many digits
        from oomkilld.config import tomlplaces

        raise _bad(path, *tomlplaces.explain(text, error)) from None
    except RecursionError:
        raise BadConfiguration(
            f"{shown_path(path)}: found values nested too deeply, expected tables of options", ""
        ) from None


def _bad(path: Path, line: int | None, reason: str) -> BadConfiguration:
    return BadConfiguration(f"{place(path, line)}: {reason}", "")


def place(path: Path, line: int | None) -> str:
    """``path:line``, safe for a terminal or a log line."""
    return shown_path(path) if line is None else f"{shown_path(path)}:{line}"


def shown_path(path: Path) -> str:
    """A path, safe for a terminal or a log line."""
    return shown(str(path))


def shown(text: str) -> str:
    """Escape text, whoever wrote it, for a terminal or a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
