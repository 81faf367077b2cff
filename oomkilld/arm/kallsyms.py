# SPDX-License-Identifier: Apache-2.0
"""Hides the addresses of kernel symbols from this process for a while."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from oomkilld.host.system import CAPABILITIES

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, linux/capability.h


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@contextmanager
def addresses_hidden() -> Iterator[None]:
    """Drop CAP_SYSLOG: /proc/kallsyms then shows no address (if kptr_restrict is 1, or perf is restricted).

    At each compilation, bcc reads all of /proc/kallsyms into a hash table, only to find out whether
    bpf_probe_read_kernel exists. That takes a third of the compilation's time. bcc skips symbols without an address,
    and then assumes that the helper does not exist: oomkill.bpf.c undoes the replacement that bcc makes.
    """
    libc = ctypes.CDLL(None)
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    changed = libc.capget(ctypes.byref(header), sets) == 0
    word, bit = divmod(CAPABILITIES["CAP_SYSLOG"], 32)
    before = sets[word].effective
    if changed:
        sets[word].effective = before & ~(1 << bit)
        changed = libc.capset(ctypes.byref(header), sets) == 0
    try:
        yield
    finally:
        if changed:
            sets[word].effective = before
            libc.capset(ctypes.byref(header), sets)
