# SPDX-License-Identifier: Apache-2.0
"""One oomkilld at a time, in a directory that is closed to everybody else.

A lock of flock(2) takes no more than a file that can be opened, for reading even: who may open it can hold it, and is
handed it when the service restarts, if he has waited. So neither the file nor its directory is for others.
"""

import fcntl
import os
import signal
import stat
from contextlib import suppress
from typing import NoReturn

from oomkilld.errors import AlreadyRunning, NoPrivilege, Unusable, privilege_hint
from oomkilld.service.notefile import Directory
from oomkilld.stderr import WARNING, say

NAME = "instance"
# Another that is about to end does so within TimeoutStopSec= of the unit.
_PATIENCE_SECONDS = 60
_HOLDER_BYTES = 20


def take_lock(directory: Directory) -> int:
    """Lock out a second instance for the life of the returned file descriptor.

    Waits for another to end. Raises AlreadyRunning where it does not; OSError, NoPrivilege or Unusable where the
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
    """Raises OSError, and for what is somebody else's NoPrivilege or Unusable."""
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        owner = os.fstat(place).st_uid
        if owner != os.geteuid():
            message = f"{os.fspath(directory)} belongs to another user ({owner})"
            if os.geteuid():
                raise NoPrivilege(message, privilege_hint())
            raise Unusable(message, "remove it: the service makes its own")
        os.fchmod(place, 0o700)  # made by hand, or by an earlier unit
        _remove_what_is_no_file(place)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(NAME, flags, 0o600, dir_fd=place)
    finally:
        os.close(place)
    os.fchmod(fd, 0o600)  # likewise: nobody else has come to it
    return fd


def _remove_what_is_no_file(place: int) -> None:
    """An earlier run that was taken over could have put it there, for none to start any more."""
    try:
        mode = os.stat(NAME, dir_fd=place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        import shutil  # only where there is something to do

        shutil.rmtree(NAME, dir_fd=place)
    elif not stat.S_ISREG(mode):
        os.unlink(NAME, dir_fd=place)


def _wait(fd: int) -> None:
    """A signal that ends the service ends this, too. Raises AlreadyRunning."""
    holder = os.pread(fd, _HOLDER_BYTES, 0).strip()
    shown = f"process {int(holder)}" if holder.isdigit() else "process unknown"

    def give_up(_number: int, _frame: object) -> NoReturn:
        raise AlreadyRunning(
            f"another oomkilld ({shown}) still records after {_PATIENCE_SECONDS} s",
            "one is enough: see `systemctl status oomkilld`; it is tried again by itself",
        )

    say(WARNING, f"another oomkilld records already ({shown}): waiting for its end, for {_PATIENCE_SECONDS} s at most")
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_PATIENCE_SECONDS)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
