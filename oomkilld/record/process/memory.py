# SPDX-License-Identifier: Apache-2.0
"""Keeps the resident stage in memory, and small, on a machine that is out of memory."""

import gc
import resource
import sys

from oomkilld.host.syscall import call

# Its usual use, and room for the records of a storm and for a leak to show.
DATA_BYTES = (16 + 32) << 20
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # uapi/asm-generic/mman.h


class CannotLock(Exception):
    """The kernel may evict pages when memory is short; the service then waits until they are read again."""


def hold_on() -> None:
    """Call this once everything is loaded. Raises CannotLock, but only after all other steps."""
    # Cached names of the module directories, 50 kB: an import reads them again later.
    sys.path_importer_cache.clear()
    # From now on, the garbage collector skips what exists.
    gc.collect()
    gc.freeze()
    # Return what only loading needed.
    call("malloc_trim", 0)
    # Beyond this limit, allocations fail: the service exits and is started again, and no other process suffers.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > DATA_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, hard))  # a child process may need more
    _lock_pages()


def _lock_pages() -> None:
    """Lock the pages that exist now, and later ones once they are touched."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY:
        # With a limit, mlockall() would make every allocation beyond it fail, even a necessary one.
        raise CannotLock(f"found a limit of {limit} bytes, expected none (LimitMEMLOCK=infinity)")
    if call("mlockall", _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        raise CannotLock("mlockall failed")
