# SPDX-License-Identifier: Apache-2.0
"""What keeps the resident stage there, and small, on a machine that is out of memory."""

import gc
import resource
import sys

from oomkilld.host.syscall import call

# What it may use, and as much again for a storm's records and for a leak to be noticed in.
DATA_BYTES = (16 + 32) << 20
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # uapi/asm-generic/mman.h


class CannotLock(Exception):
    """Pages may be taken away when memory is short, and then read again before the service can go on."""


def hold_on() -> None:
    """Once everything is loaded. Raises CannotLock; the rest is done then, too."""
    # The names in each directory of modules, 50 kB: read again where one is imported later.
    sys.path_importer_cache.clear()
    # Nothing of what is there is looked through again for what may go.
    gc.collect()
    gc.freeze()
    # What loading took for a moment only.
    call("malloc_trim", 0)
    # Beyond, allocations fail: the service ends and is started again, and takes no other process along.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > DATA_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, hard))  # a process that it starts may need more
    _lock_pages()


def _lock_pages() -> None:
    """Those that are there, and those that come once they are touched."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY:
        # Beyond a limit not even memory that is needed would be given any more.
        raise CannotLock(f"found a limit of {limit} bytes to it, expected none (LimitMEMLOCK=infinity)")
    if call("mlockall", _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        raise CannotLock("mlockall failed")
