# SPDX-License-Identifier: Apache-2.0
"""Files in the runtime directory, mapped into memory: they outlive the service, and the next run continues them."""

import mmap
import os

from oomkilld.service.notefile import Directory


def open_kept(directory: Directory, name: str, size: int) -> mmap.mmap:
    """Map ``size`` bytes of the file: as the previous run left them, or zeros. Hold the lock. Raises OSError."""
    fd = os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(fd).st_size != size:
            os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, size)  # a full file system fails here, not later with SIGBUS
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
