# SPDX-License-Identifier: Apache-2.0
"""Functions of the C library that Python's own modules do not offer."""

# Not ctypes, which is the same behind half a megabyte of resident modules.
import _ctypes
import os

_PR_SET_NAME = 15  # uapi/linux/prctl.h


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # noqa: SLF001 # as ctypes makes its own c_int
    _type_ = "i"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


def call(name: str, *arguments: int | bytes) -> int:
    """What ``int name(…)`` returns: of ints as C has them, and of the addresses of bytes, which it must only read."""
    result: int = _Function(_ctypes.dlsym(_ctypes.dlopen("libc.so.6", os.RTLD_NOW), name))(*arguments)
    return result


def checked(what: str, name: str, *arguments: int | bytes) -> int:
    """Likewise. Raises OSError where it returns -1, which says ``what`` failed."""
    result = call(name, *arguments)
    if result == -1:
        error = _ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def name_process(name: bytes) -> None:
    """For ps and for the kernel's own lines, which would say python3. At most 15 bytes count."""
    # Not /proc/self/comm, which is a file to be written, see landlock.py.
    call("prctl", _PR_SET_NAME, name)
