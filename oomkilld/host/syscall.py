# SPDX-License-Identifier: Apache-2.0
"""Functions of the C library that Python's own modules do not offer."""

# Not ctypes: it adds half a megabyte of resident modules to this.
import _ctypes
import os
from collections.abc import Callable

_PR_SET_NAME = 15  # uapi/linux/prctl.h


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # noqa: SLF001 # as ctypes makes its own c_int
    _type_ = "i"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


def function(library: str, name: str) -> Callable[..., int]:
    """``int name(…)``, which takes C ints, and the addresses of bytes objects, which it must only read.

    Raises OSError.
    """
    found: Callable[..., int] = _Function(_ctypes.dlsym(_ctypes.dlopen(library, os.RTLD_NOW), name))
    return found


def call(name: str, *arguments: int | bytes) -> int:
    """Call a ``function`` of the C library."""
    return function("libc.so.6", name)(*arguments)


def checked(what: str, name: str, *arguments: int | bytes) -> int:
    """Call as ``call`` does. Raises OSError, with ``what`` in its message, if the function returns -1."""
    result = call(name, *arguments)
    if result == -1:
        error = _ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def name_process(name: bytes) -> None:
    """Set the name, of at most 15 bytes, that ps and the kernel's lines show instead of python3."""
    # Not through /proc/self/comm: landlock.py forbids writing to that file.
    call("prctl", _PR_SET_NAME, name)
