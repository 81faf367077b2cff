# SPDX-License-Identifier: Apache-2.0
"""Failures that end the program: each says what happened and what to do, and has a documented exit status."""

import errno
import os

# The system is out of a resource (memory, files, disk space) at the moment, or a limit on it is reached.
NO_ROOM = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# These errors do not go away by themselves: something is missing, or not as the service needs it.
_LASTING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EROFS, errno.EACCES, errno.EPERM})
# The service needs these file systems.
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")
# The words of Python, the dynamic linker and C++ for a lack of resources, where they give no errno.
_NO_ROOM_WORDS = (*map(os.strerror, NO_ROOM), "MemoryError", "failed to map segment", "bad_alloc", "out of memory")


class OomkilldError(Exception):
    """What happened (``message``) and what to do about it (``hint``)."""

    exit_status = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SteppedDown(OomkilldError):
    """The active capture level proved unreliable: the next start takes the level below (status 1)."""


class OutputFailed(OomkilldError):
    """A command could not write its output (status 1)."""


class WrongArguments(OomkilldError):
    """The command line is invalid (status 2)."""

    exit_status = 2


class Unusable(OomkilldError):
    """Something that the service needs is missing or unusable (EX_UNAVAILABLE)."""

    exit_status = 69


class CaptureUnavailable(OomkilldError):
    """This capture level, or any, is unavailable on this system (EX_UNAVAILABLE)."""

    exit_status = 69


class CaptureBroken(OomkilldError):
    """The probe failed unexpectedly: a bug in oomkilld, bcc or the kernel (EX_SOFTWARE)."""

    exit_status = 70


class NoRoom(OomkilldError):
    """The system, or a limit of the service, left no memory, files or disk space: systemd retries (EX_OSERR)."""

    exit_status = 71


class AlreadyRunning(OomkilldError):
    """Another instance is running (EX_TEMPFAIL)."""

    exit_status = 75


class NoPrivilege(OomkilldError):
    """A capability is missing (EX_NOPERM)."""

    exit_status = 77


class BadConfiguration(OomkilldError):
    """The configuration is invalid (EX_CONFIG)."""

    exit_status = 78


def says_no_room(text: str) -> bool:
    """Whether ``text``, whoever wrote it, reports a lack of resources."""
    return any(words in text for words in _NO_ROOM_WORDS)


def no_room(error: BaseException) -> NoRoom | None:
    """The error to end with if ``error`` is a lack of resources, else None."""
    if isinstance(error, MemoryError):
        said = os.strerror(errno.ENOMEM)
    elif isinstance(error, OSError) and error.errno in NO_ROOM:
        said = f"{error.strerror} ({error.filename})" if error.filename else f"{error.strerror}"
    # Errors of the dynamic linker have no errno.
    elif isinstance(error, ImportError | OSError) and says_no_room(str(error)):
        said = str(error)
    else:
        return None
    hint = "free memory or files, or raise the service's limits on them"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # What it keeps elsewhere, for the next boot, it can do without.
        hint = "free space in /run (`df -h /run`, `df -i /run`)"
    return NoRoom(f"out of resources: {said}", f"{hint}; systemd restarts the service")


def unusable(error: OSError, what: str, hint: str) -> OomkilldError:
    """The error to end with when ``what`` cannot be used. ``hint``: for other causes than a resource or a privilege."""
    message = f"{what} cannot be used: {error.strerror or error}"
    if (failure := no_room(error)) is not None:
        return NoRoom(message, failure.hint)
    if error.errno in (errno.EPERM, errno.EACCES):
        return NoPrivilege(message, privilege_hint())
    return Unusable(message, hint)


def of_start(error: BaseException) -> OomkilldError | None:
    """The error to end with when a start fails with ``error``; None: unexpected, and the next start may not hit it."""
    if (failure := no_room(error)) is not None:
        return failure
    if isinstance(error, ImportError):
        hint = "install the packages python3-pydantic (2 or newer; or pydantic with pip) and python3-systemd"
        return Unusable(f"Failed to import a library: {error}", hint)
    if isinstance(error, OSError) and error.errno in _LASTING and str(error.filename).startswith(_OF_THE_SYSTEM):
        hint = "mount /proc, /sys and /dev as usual, and do not hide them from the service"
        return unusable(error, str(error.filename), hint)
    return None


def privilege_hint() -> str:
    """The hint for a missing privilege."""
    if os.geteuid():
        return "start it as a service (`systemctl start oomkilld`) or as root"
    return "it runs as root already: look for a container, a sandbox or a security module that removes its privileges"
