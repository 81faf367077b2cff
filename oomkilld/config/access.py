# SPDX-License-Identifier: Apache-2.0
"""Resolves the path of a configuration file, and checks whether the service may use it.

`--check-config` must reach the same verdict as the service, but may run as another user, with capabilities that the
service lacks, and outside its sandbox. So both use these checks as well as the kernel's. Standard library only.
"""

import os
import stat
from pathlib import Path

# Links may lead to these. The unit's sandbox hides most other directories.
VISIBLE = ("etc/oomkilld", "usr", "opt")
# Links may lead here, too: they stand for an empty file, as in systemd's configuration.
NOTHING = "dev/null"
_MAX_LINKS = 40
_ROOT = 0


class Refused(Exception):
    """The service may not use the file. The message says what was found, and what was expected."""


def resolve(path: Path, root: Path) -> str | None:
    """Resolve all links of ``path``, within ``root``. None: there is no such file.

    Raises OSError, and Refused if the service cannot see or read the file, or if another user than root can change it.
    """
    ahead = list(reversed(path.relative_to(root).parts))
    owners = {_ROOT, os.stat(root).st_uid}  # the owner of the root directory can replace everything below it
    at, links = "", 0
    own = len(ahead)  # number of names in ``ahead`` that come from the path itself, not from a link
    while ahead:
        is_own = len(ahead) <= own
        own -= is_own
        name = ahead.pop()
        if name == "..":
            at = os.path.dirname(at)
        if name in ("", ".", ".."):
            continue
        here = os.path.join(at, name)
        shown = os.path.join(root, here)
        whole = "/".join((shown, *reversed(ahead)))
        if not _is_on_the_way(here):
            raise Refused(f"found a link to {whole}, expected one to a file below {_visible(root)}")
        try:
            status = os.lstat(shown)
        except FileNotFoundError:
            if is_own:
                return None
            raise Refused(f"found a link to {whole}, which does not exist, expected a file") from None
        if not stat.S_ISLNK(status.st_mode):
            if here != NOTHING:
                _check(shown, status, owners, is_last=not ahead)
            at = here
            continue
        links += 1
        if links > _MAX_LINKS:
            raise Refused(f"found a loop of links at {shown}, expected a file")
        target = os.readlink(shown)
        ahead += reversed(target.split("/"))
        at = "" if target.startswith("/") else at
    return os.path.join(root, at)


def _is_on_the_way(here: str) -> bool:
    return any(f"{here}/".startswith(f"{place}/") or place.startswith(f"{here}/") for place in (*VISIBLE, NOTHING))


def _visible(root: Path) -> str:
    *others, last = (os.path.join(root, place) for place in VISIBLE)
    return f"{', '.join(others)} or {last}"


def _check(shown: str, status: os.stat_result, owners: set[int], *, is_last: bool) -> None:
    mode = stat.S_IMODE(status.st_mode)
    found = f"found mode {mode:04o} of {shown}, expected a mode by which"
    if status.st_uid not in owners:
        raise Refused(f"found user {status.st_uid} as the owner of {shown}, expected root: `chown root {shown}`")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(f"{found} only root can write to it: `chmod go-w {shown}`")
    # The service has no capability to override the mode, so the owner's permissions count.
    needed = stat.S_IXUSR if stat.S_ISDIR(status.st_mode) else 0
    needed |= stat.S_IRUSR if is_last else 0
    if mode & needed != needed:
        raise Refused(f"{found} root can read it without CAP_DAC_OVERRIDE: `chmod u+rX {shown}`")
