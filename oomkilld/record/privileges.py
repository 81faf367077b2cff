# SPDX-License-Identifier: Apache-2.0
"""The resident stage gives up what only attaching a probe takes.

What it keeps is CAP_SYSLOG, for the kernel's log may have to be opened again, see recall/kernellog.py. No process that
it starts gets more.
"""

import struct

from oomkilld.record.libc import call

_SYSLOG = 34  # uapi/linux/capability.h
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_PR_SET_NO_NEW_PRIVS = 38  # uapi/linux/prctl.h


class CannotDrop(Exception):
    """The kernel refuses to take them."""


def drop() -> None:
    """Capabilities but for CAP_SYSLOG, if it is there, and any that a program may be given. Raises CannotDrop."""
    if call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise CannotDrop("prctl(PR_SET_NO_NEW_PRIVS) failed")
    kept = _permitted() & 1 << _SYSLOG
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("=Ii", _VERSION, 0)
    # Effective, permitted and inheritable, for each half.
    if call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0)):
        raise CannotDrop("capset failed")


def _permitted() -> int:
    with open("/proc/self/status", "rb") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith(b"CapPrm:"))
