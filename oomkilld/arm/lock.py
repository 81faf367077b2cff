# SPDX-License-Identifier: Apache-2.0
"""One oomkilld at a time."""

import fcntl
import os
from pathlib import Path

from oomkilld.errors import NO_ROOM, AlreadyRunning, NoPrivilege, NoRoom


def take_lock(directory: Path) -> int:
    """Lock out a second instance for the life of the returned file descriptor.

    Raises AlreadyRunning while another holds it, NoPrivilege where the directory cannot be used.
    """
    try:
        directory.mkdir(mode=0o755, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        kind = NoRoom if error.errno in NO_ROOM else NoPrivilege
        raise kind(
            f"{directory / 'lock'} cannot be opened: {error.strerror}",
            "start it as a service (`systemctl start oomkilld`) or as root",
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 20).decode(errors="replace").strip()
        os.close(fd)
        raise AlreadyRunning(
            f"another oomkilld records already (process {holder or 'unknown'})",
            "one is enough: see `systemctl status oomkilld`",
        ) from None
    os.truncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd
