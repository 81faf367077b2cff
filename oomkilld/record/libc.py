# SPDX-License-Identifier: Apache-2.0
"""Functions of the C library that Python's own modules do not offer."""

# Not ctypes, which is the same behind half a megabyte of resident modules.
import _ctypes
import os


def call(name: str, *arguments: int | bytes) -> int:
    """What ``int name(…)`` returns: of ints as C has them, and of the addresses of bytes, which it must only read."""
    function = _ctypes.dlsym(_ctypes.dlopen("libc.so.6", os.RTLD_NOW), name)
    result: int = _ctypes.call_function(function, arguments)
    return result
