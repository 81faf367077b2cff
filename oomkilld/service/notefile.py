# SPDX-License-Identifier: Apache-2.0
"""Small files in the runtime directory, which one run leaves for the next.

The resident stage can write there, and the stage that reads them has more privileges. So a read is bounded and never
blocks, and a write goes into a new file, even if there is a link of that name. Standard library only.
"""

import os
import stat
from contextlib import suppress

Directory = str | os.PathLike[str]


def read(directory: Directory, name: str, at_most: int) -> bytes | None:
    """Read a whole file. None: there is no regular file of that name, or it has more than ``at_most`` bytes."""
    try:
        fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        return os.read(fd, at_most) if stat.S_ISREG(status.st_mode) and status.st_size <= at_most else None
    except OSError:
        return None
    finally:
        os.close(fd)


def write(directory: Directory, name: str, content: bytes) -> None:
    """Replace the file. Raises OSError; the old file is then unchanged."""
    path = os.path.join(directory, name)
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise
