# SPDX-License-Identifier: Apache-2.0
"""Small files that one run leaves for the next in the runtime directory.

The resident stage writes there, and the stage that reads may do more than it: so what is read is bounded and waits for
nothing, and what is written goes into a new file, wherever a link of that name leads. Standard library only.
"""

import os
import stat
from contextlib import suppress

Directory = str | os.PathLike[str]


def read(directory: Directory, name: str, at_most: int) -> bytes | None:
    """None: there is no regular file of that name, or one of more bytes than that."""
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
    """In place of what was there. Raises OSError, and nothing has changed then."""
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
