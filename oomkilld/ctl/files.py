# SPDX-License-Identifier: Apache-2.0
"""Journal files: where they are, and from which machine each came."""

import os
import re
from collections.abc import Iterator, Sequence
from glob import glob, has_magic

from oomkilld.ctl.failures import NoJournal, NotPermitted
from oomkilld.text import harmless

REMOTE = "remote"  # below each of PLACES, by default of systemd-journal-remote
SUFFIXES = (".journal", ".journal~")
# remote-web1.journal, and remote-web1@….journal after a rotation; remote.journal if the receiver does not tell them
# apart.
_ROTATED, _DAMAGED = "@[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{16}", "@[0-9a-f]{16}-[0-9a-f]{16}"
_RECEIVED = re.compile(rf"remote(?:-(.*?))?(?:(?:{_ROTATED})?\.journal|(?:{_DAMAGED})?\.journal~)", re.DOTALL)
_COMMON_NAME = "CN="
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
COPY = "read a copy with -D DIR or --file FILE"


def host_of(file: str) -> str | None:
    """The machine from which a file was received; None: it was not received."""
    received = _RECEIVED.fullmatch(os.path.basename(file))
    return harmless(_name_of(received[1] or REMOTE)) if received else None


def _name_of(sender: str) -> str:
    """The sender, or its name in the certificate by which the receiver knew it: ``CN=web1,O=Example``.

    A certificate with several names, or with a comma in one, keeps its whole text, so that nothing in it passes for a
    name.
    """
    text = sender.replace(r"\x20", " ").replace(r"\x2f", "/")  # the receiver escapes these two
    names = [part.removeprefix(_COMMON_NAME) for part in text.split(",") if part.startswith(_COMMON_NAME)]
    is_plain = text.count(_COMMON_NAME) == 1 and "\\" not in text and "+" not in text
    return names[0] if names and names[0].strip() and is_plain else sender


def machine_id() -> str:
    """Of this machine. Raises NoJournal."""
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        raise NoJournal("found no machine id in /etc/machine-id, which names the journal's directory", COPY) from None


def below(top: str) -> list[str]:
    """Directories of machines."""
    return [entry.path for entry in _entries(top) if _MACHINE_ID.fullmatch(entry.name) and entry.is_dir()]


def journals(directory: str) -> Iterator[str]:
    """Without those of users, in which the service does not write."""
    for entry in _entries(directory):
        if entry.name.endswith(SUFFIXES) and not entry.name.startswith("user-"):
            yield entry.path


def _entries(directory: str) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return [*found]
    except PermissionError:
        raise
    except OSError:
        return []


def named(pattern: str) -> Sequence[str]:
    """The files of that name, or pattern. Raises PermissionError: this user may not look for them."""
    # A name that holds such characters itself is a file, too.
    if os.path.exists(pattern):
        return [pattern]
    if found := sorted(glob(pattern)):
        return found
    directory = os.path.dirname(pattern)
    while has_magic(directory):
        directory = os.path.dirname(directory)
    try:
        if has_magic(pattern):
            os.close(os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY))
        else:
            os.stat(pattern)
    except PermissionError:
        raise
    except OSError:
        pass
    return []


def not_permitted(error: OSError, file: str, *, is_named: bool) -> NotPermitted:
    """The failure that says how to become permitted. ``is_named``: an option names the journal."""
    what = "directory" if os.path.isdir(file) else "file"
    group = "join the group systemd-journal or adm: `sudo usermod -aG systemd-journal $USER`, then log in again"
    return NotPermitted(
        f"not permitted to read the journal ({harmless(file)}: {error.strerror})",
        f"use sudo, or {f'let your user read this {what}' if is_named else group}",
    )
