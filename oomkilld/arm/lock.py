# SPDX-License-Identifier: Apache-2.0
"""Ensures one oomkilld at a time, by a lock in a directory that is closed to other users.

Whoever can open a file, even for reading, can take a flock(2) lock on it, and a waiting process would get the lock when
the service restarts. So other users can open neither the file nor its directory.
"""

import fcntl
import os
import signal
import stat
from contextlib import suppress
from typing import NoReturn

from oomkilld.errors import AlreadyRunning, NoPrivilege, Unusable, privilege_hint
from oomkilld.service import rundir
from oomkilld.service.notefile import Directory
from oomkilld.stderr import WARNING, say

NAME = rundir.LOCK
# An instance that is stopping ends within TimeoutStopSec= of the unit.
_PATIENCE_SECONDS = 60
_HOLDER_BYTES = 20


def take_lock(directory: Directory) -> int:
    """Lock out a second instance as long as the returned file descriptor is open.

    Waits for another instance to end. Raises AlreadyRunning if it does not; OSError, NoPrivilege or Unusable if the
    directory cannot be used.
    """
    fd = _open(directory)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _wait(fd)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _open(directory: Directory) -> int:
    """Open the lock file. Raises OSError; NoPrivilege or Unusable if the directory belongs to another user."""
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        owner = os.fstat(place).st_uid
        if owner != os.geteuid():
            message = f"{os.fspath(directory)} belongs to another user ({owner})"
            if os.geteuid():
                raise NoPrivilege(message, privilege_hint())
            raise Unusable(message, "remove it: the service creates its own")
        os.fchmod(place, 0o700)  # somebody, or an earlier unit, may have created it with another mode
        _remove_what_is_no_file(place)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(NAME, flags, 0o600, dir_fd=place)
    finally:
        os.close(place)
    os.fchmod(fd, 0o600)  # the same for the file; nobody else could open it until now
    return fd


def _remove_what_is_no_file(place: int) -> None:
    """A run that an attacker took over could have put it there, so that the service never starts again."""
    try:
        mode = os.stat(NAME, dir_fd=place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        import shutil  # rarely needed

        shutil.rmtree(NAME, dir_fd=place)
    elif not stat.S_ISREG(mode):
        os.unlink(NAME, dir_fd=place)


def _wait(fd: int) -> None:
    """Wait for the lock. A signal that ends the service ends the wait, too. Raises AlreadyRunning."""
    holder = os.pread(fd, _HOLDER_BYTES, 0).strip()
    shown = f"process {int(holder)}" if holder.isdigit() else "process unknown"

    def give_up(_number: int, _frame: object) -> NoReturn:
        raise AlreadyRunning(
            f"another oomkilld ({shown}) is still running after {_PATIENCE_SECONDS} s",
            "only one can run: see `systemctl status oomkilld`; systemd restarts the service",
        )

    say(WARNING, f"another oomkilld is running ({shown}): waiting at most {_PATIENCE_SECONDS} s for its end")
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_PATIENCE_SECONDS)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
