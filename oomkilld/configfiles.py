# SPDX-License-Identifier: Apache-2.0
"""The files of the configuration: where they lie, in which order they are read, what TOML is in them.

Standard library only: the compiler is started before pydantic is imported, see arm/stage.py.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oomkilld.errors import BadConfiguration

# As systemd reads its own: a file of the same name in an earlier directory replaces the later ones'. Not below /run:
# what the service itself can write to must not configure it.
DIRECTORIES = ("etc/oomkilld", "usr/lib/oomkilld")
FILE_NAME = "oomkilld.toml"
MAX_FILE_BYTES = 1 << 20
# The default of capture.ring_size, which is compiled in; see settings.py for all options.
DEFAULT_RING_BYTES = 4 << 20


def files(root: Path) -> Iterator[Path]:
    """The main file, then the drop-ins in the order of their names. Raises BadConfiguration."""
    directories = [root / directory for directory in DIRECTORIES]
    yield from [d / FILE_NAME for d in directories if FILE_NAME in _names(d)][:1]
    drop_ins: dict[str, Path] = {}
    for directory in reversed([d / f"{FILE_NAME}.d" for d in directories]):
        drop_ins |= {name: directory / name for name in _names(directory) if name.endswith(".toml")}
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadConfiguration(
            f"{shown_path(directory)}: cannot be read: {error.strerror}",
            "make it a directory that the service can read, or remove it",
        ) from None


def mention(table: str, option: str | None = None, root: Path = Path("/")) -> bool:
    """Whether some file sets that option, or any, of that table.

    Also where one cannot be read, or holds no such table: that is for settings.py to say.
    """
    try:
        found = [content for path in files(root) if (content := parse(path).get(table))]
        return any(option is None or not isinstance(options, dict) or option in options for options in found)
    except BadConfiguration:
        return True


def read(path: Path) -> bytes:
    """One file. Raises BadConfiguration."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadConfiguration(f"{shown_path(path)}: cannot be read: {error.strerror}", "") from None
    if len(content) <= MAX_FILE_BYTES:
        return content
    reason = f"found more than {MAX_FILE_BYTES} bytes, expected a configuration file of at most that"
    raise BadConfiguration(f"{shown_path(path)}: {reason}", "")


def parse(path: Path) -> dict[str, Any]:
    """The tables of one file, not validated. Raises BadConfiguration."""
    import tomllib  # it takes longer than all else of a start that finds the settings validated

    content = read(path)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        reason = f"found byte {content[error.start]:#04x} at offset {error.start}, expected UTF-8 text"
    except ValueError as error:  # TOMLDecodeError is one, and so is a number too long to be read
        reason = f"expected TOML: {error}"
    except RecursionError:
        reason = "found values nested too deeply, expected tables of options"
    raise BadConfiguration(f"{shown_path(path)}: {reason}", "")


def shown_path(path: Path) -> str:
    """A path, fit for a terminal or a log line."""
    return shown(str(path))


def shown(text: str) -> str:
    """Fit for a terminal or a log line, whatever a file's author put in."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
