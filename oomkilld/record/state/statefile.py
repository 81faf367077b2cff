# SPDX-License-Identifier: Apache-2.0
"""Memory that outlives the service: files in its runtime directory, which the next run goes on with."""

import mmap
import os

from oomkilld.service.notefile import Directory


def open_kept(directory: Directory, name: str, size: int) -> mmap.mmap:
    """As the run before has left it, or zeros. The lock must be held. Raises OSError."""
    fd = os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(fd).st_size != size:
            os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, size)  # no room is found out here, not by a signal
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
