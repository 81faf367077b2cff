# SPDX-License-Identifier: Apache-2.0
"""Drops the privileges that only attaching a probe needs, and most of what uid 0 still allows.

No child process gets more. What needs privileges to be opened must be open before: the kernel log, see open_log().
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
    """The kernel refuses to drop them: the service must neither continue nor retry (EX_SOFTWARE)."""

    exit_status = 70


def open_log() -> int | None:
    """The kernel log, for one reader; opening it needs CAP_SYSLOG.

    None: it does not exist, this process cannot open it, or another file has its name, as in containers.
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
    """Drop all capabilities, those that an executed program could gain, and unneeded files and system calls.

    Returns what this kernel has no means for. Raises CannotDrop; NoRoom if the system has no room right now.
    """
    try:
        checked("prctl(PR_SET_NO_NEW_PRIVS)", "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Effective, permitted and inheritable, for each half.
        checked("capset", "capset", struct.pack("=Ii", _VERSION, 0), bytes(24))
        confined = landlock.confine()
        unfiltered = seccomp.install()
    except OSError as error:
        what = f"Failed to drop privileges: {error.strerror}"
        if error.errno in NO_ROOM:
            raise NoRoom(what, "free memory or files; systemd restarts the service") from None
        raise CannotDrop(what, "report this, with the kernel's release") from None
    return ([] if confined else ["this kernel has no Landlock"]) + ([unfiltered] if unfiltered else [])
