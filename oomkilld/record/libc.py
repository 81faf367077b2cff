# SPDX-License-Identifier: Apache-2.0
"""Functions of the C library that Python's own modules do not offer."""

# Not ctypes, which is the same behind half a megabyte of resident modules.
import _ctypes
import os

_PR_SET_NAME = 15  # uapi/linux/prctl.h


def call(name: str, *arguments: int | bytes) -> int:
    """What ``int name(…)`` returns: of ints as C has them, and of the addresses of bytes, which it must only read."""
    function = _ctypes.dlsym(_ctypes.dlopen("libc.so.6", os.RTLD_NOW), name)
    result: int = _ctypes.call_function(function, arguments)
    return result


def name_process(name: bytes) -> None:
    """For ps and for the kernel's own lines, which would say python3. At most 15 bytes count."""
    # Not /proc/self/comm, which is a file to be written, see landlock.py.
    call("prctl", _PR_SET_NAME, name)
