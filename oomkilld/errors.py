# SPDX-License-Identifier: Apache-2.0
"""Failures that end the program: each says what happened and what to do, and has a documented exit status."""

import errno
import os

# What a system answers when it has no room at the moment, or a limit leaves none.
NO_ROOM = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What does not pass by itself: something is not there, or not as it has to be.
_LASTING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EROFS, errno.EACCES, errno.EPERM})
# What the service cannot do without.
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")
# What Python, the dynamic linker and C++ say of it where they give no number.
_NO_ROOM_WORDS = (*map(os.strerror, NO_ROOM), "MemoryError", "failed to map segment", "bad_alloc", "out of memory")


class OomkilldError(Exception):
    """What happened (``message``) and what to do about it (``hint``)."""

    exit_status = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SteppedDown(OomkilldError):
    """The capture level in force turned out to be wrong: the next start takes the one below (status 1)."""


class OutputFailed(OomkilldError):
    """What was asked for could not be written (status 1)."""


class WrongArguments(OomkilldError):
    """On the command line."""

    exit_status = 2


class Unusable(OomkilldError):
    """Something that the service cannot do without is not there, or not as it has to be (EX_UNAVAILABLE)."""

    exit_status = 69


class CaptureUnavailable(OomkilldError):
    """This system offers this way to see OOM kills not, or none at all (EX_UNAVAILABLE)."""

    exit_status = 69


class CaptureBroken(OomkilldError):
    """The probe should work here and does not: a fault of ours, of bcc or of the kernel (EX_SOFTWARE)."""

    exit_status = 70


class NoRoom(OomkilldError):
    """The system had no memory or no files left, or the service used up its own: to be tried again (EX_OSERR)."""

    exit_status = 71


class AlreadyRunning(OomkilldError):
    """Another instance records already (EX_TEMPFAIL)."""

    exit_status = 75


class NoPrivilege(OomkilldError):
    """A capability is missing (EX_NOPERM)."""

    exit_status = 77


class BadConfiguration(OomkilldError):
    """The configuration is invalid (EX_CONFIG)."""

    exit_status = 78


def says_no_room(text: str) -> bool:
    """Whether it tells of an error for want of room, whoever wrote it."""
    return any(words in text for words in _NO_ROOM_WORDS)


def no_room(error: BaseException) -> NoRoom | None:
    """What to end with; None: it is about something else."""
    if isinstance(error, MemoryError):
        said = os.strerror(errno.ENOMEM)
    elif isinstance(error, OSError) and error.errno in NO_ROOM:
        said = f"{error.strerror} ({error.filename})" if error.filename else f"{error.strerror}"
    # Those of the dynamic linker have no number.
    elif isinstance(error, ImportError | OSError) and says_no_room(str(error)):
        said = str(error)
    else:
        return None
    hint = "free memory or files, or raise the service's limits on them"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room in /run (`df -h /run`, `df -i /run`)"  # it writes nowhere else
    return NoRoom(f"no room: {said}", f"{hint}; it is tried again by itself")


def unusable(error: OSError, what: str, hint: str) -> OomkilldError:
    """What to end with when ``what`` cannot be used. ``hint``: where neither room nor a privilege is missing."""
    message = f"{what} cannot be used: {error.strerror or error}"
    if (failure := no_room(error)) is not None:
        return NoRoom(message, failure.hint)
    if error.errno in (errno.EPERM, errno.EACCES):
        return NoPrivilege(message, privilege_hint())
    return Unusable(message, hint)


def of_start(error: BaseException) -> OomkilldError | None:
    """What to end with when a start fails with ``error``; None: nobody foresaw it, and it may be another next time."""
    if (failure := no_room(error)) is not None:
        return failure
    if isinstance(error, ImportError):
        hint = "install the packages python3-pydantic (2 or newer; or pydantic with pip) and python3-systemd"
        return Unusable(f"a library cannot be imported: {error}", hint)
    if isinstance(error, OSError) and error.errno in _LASTING and str(error.filename).startswith(_OF_THE_SYSTEM):
        hint = "mount /proc, /sys and /dev as every system has them, and do not hide them from the service"
        return unusable(error, str(error.filename), hint)
    return None


def privilege_hint() -> str:
    """What to do where a privilege is missing."""
    if os.geteuid():
        return "start it as a service (`systemctl start oomkilld`) or as root"
    return "this is root: look for a container, a sandbox or a security module that takes its privileges away"
