# SPDX-License-Identifier: Apache-2.0
"""The page cache of the files that a process maps: the compiler's libraries are charged to the service's cgroup."""

import os
from collections.abc import Iterable
from contextlib import suppress


def mapped_files(pid: int | str) -> set[str]:
    """Paths of the files that a process maps; none if it has ended."""
    try:
        with open(f"/proc/{pid}/maps", newline="\n", errors="surrogateescape") as maps:
            lines = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    except OSError:
        return set()
    return {words[5] for words in lines if len(words) > 5 and words[5].startswith("/")}


def give_back(paths: Iterable[str]) -> None:
    """Let the kernel forget what it keeps of these files, except pages that a process maps."""
    for path in paths:
        with suppress(OSError):  # replaced since, or not a file that can be read
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
