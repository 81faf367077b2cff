# SPDX-License-Identifier: Apache-2.0
"""The resident stage gives up what only attaching a probe takes, and what its uid still gives.

No process that it starts gets more. What it needs of all that is open by then: the kernel's log, see open_log().
"""

import os
import struct

from oomkilld.errors import NO_ROOM, NoRoom, OomkilldError
from oomkilld.host.syscall import checked
from oomkilld.record.process import landlock, seccomp

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, uapi/linux/capability.h
_PR_SET_NO_NEW_PRIVS = 38  # uapi/linux/prctl.h
_KERNEL_LOG = "/dev/kmsg"
_KMSG = os.makedev(1, 11)  # Documentation/admin-guide/devices.txt


class CannotDrop(OomkilldError):
    """The kernel refuses to take them: never to be gone on with, nor tried again (EX_SOFTWARE)."""

    exit_status = 70


def open_log() -> int | None:
    """The kernel's log, for one reader; to open it takes CAP_SYSLOG.

    None: it is not shown, or not to us, or something else has its name, as in containers.
    """
    try:
        fd = os.open(_KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(fd).st_rdev == _KMSG:
        return fd
    os.close(fd)
    return None


def drop() -> list[str]:
    """All capabilities, any that a program may be given, files and calls that are not needed.

    What this kernel has no means for. Raises CannotDrop, and NoRoom where it has none right now.
    """
    try:
        checked("prctl(PR_SET_NO_NEW_PRIVS)", "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Effective, permitted and inheritable, for each half.
        checked("capset", "capset", struct.pack("=Ii", _VERSION, 0), bytes(24))
        confined = landlock.confine()
        unfiltered = seccomp.install()
    except OSError as error:
        what = f"what is not needed cannot be given up: {error.strerror}"
        if error.errno in NO_ROOM:
            raise NoRoom(what, "free memory or files; it is tried again by itself") from None
        raise CannotDrop(what, "report this, with the kernel's release") from None
    return ([] if confined else ["there is no Landlock"]) + ([unfiltered] if unfiltered else [])
