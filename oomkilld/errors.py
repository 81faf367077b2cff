# SPDX-License-Identifier: Apache-2.0
"""Failures that end the program: each says what happened and what to do, and has a documented exit status."""

import errno

# What a system answers when it has no room at the moment.
NO_ROOM = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC})


class OomkilldError(Exception):
    """What happened (``message``) and what to do about it (``hint``)."""

    exit_status = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SteppedDown(OomkilldError):
    """The capture level in force turned out to be wrong: the next start takes the one below (status 1)."""


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
