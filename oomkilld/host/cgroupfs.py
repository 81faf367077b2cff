# SPDX-License-Identifier: Apache-2.0
"""Reads the memory controller's cgroups: never outside its hierarchy, never more than a budget allows."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from oomkilld.host.clock import KernelClock
from oomkilld.host.procformats import is_key, is_number
from oomkilld.lighttyping import NamedTuple, Self

CGROUP_ROOT = "/sys/fs/cgroup"
MAX_FILE_BYTES = 64 << 10

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# The errors for a cgroup that was removed (before its file was opened, or after) or never had the memory controller.
GONE = (errno.ENOENT, errno.ENODEV)


class Hierarchy(NamedTuple):
    """The root of the memory controller's cgroups, and the cgroup version."""

    root: str
    version: int

    @property
    def usage_file(self) -> bytes:
        """The file with the memory use, in bytes, of a cgroup and those below it."""
        return b"memory.current" if self.version == 2 else b"memory.usage_in_bytes"

    @property
    def pids_root(self) -> str:
        """The root of the pids controller's cgroups: version 1 has a hierarchy of its own for each controller."""
        return self.root if self.version == 2 else f"{os.path.dirname(self.root)}/pids"


class BudgetSpent(Exception):
    """The reading has opened all the files, or used all the time, that its budget allows."""


class OutsideTheTree(ValueError):
    """Not a cgroup's path below the root: it is relative, or contains ``..`` or a NUL."""


class Budget:
    """How many files and directories one reading may open, and for how long it may open them."""

    def __init__(self, clock: KernelClock, files: int, milliseconds: int) -> None:
        self._clock = clock
        self._deadline_ns = clock.monotonic_ns() + milliseconds * 10**6
        self.files_left = files

    def open(self, path: bytes | str, flags: int, directory: int | None = None) -> int:
        """A file descriptor. Raises BudgetSpent and OSError."""
        if not self.files_left or self._clock.monotonic_ns() >= self._deadline_ns:
            raise BudgetSpent
        self.files_left -= 1
        return os.open(path, flags, dir_fd=directory)


class Cgroup:
    """One cgroup's open directory. Paths are relative to it and consist of names that ``children`` returned.

    Every method raises BudgetSpent and OSError.
    """

    def __init__(self, fd: int, budget: Budget) -> None:
        self._fd = fd
        self._budget = budget

    @classmethod
    @contextmanager
    def opened(cls, root: str, names: Sequence[bytes], budget: Budget) -> Iterator[Self]:
        """Open the cgroup to which ``names``, from path_names(), lead below ``root``."""
        # The root itself may be a link: the administrator decides where it is. No link below it is followed.
        fd = budget.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for name in names:
                inner = budget.open(name, _DIRECTORY, fd)
                os.close(fd)
                fd = inner
            yield cls(fd, budget)
        finally:
            os.close(fd)

    def read(self, path: bytes) -> bytes:
        """A file's content, at most MAX_FILE_BYTES."""
        fd = self._budget.open(path, _FILE, self._fd)
        try:
            chunks: list[bytes] = []
            left = MAX_FILE_BYTES
            while left and (chunk := os.read(fd, left)):
                chunks.append(chunk)
                left -= len(chunk)
        finally:
            os.close(fd)
        return b"".join(chunks)

    def children(self, path: bytes, keep: int) -> tuple[list[bytes], bool]:
        """Paths of the cgroups directly below ``path`` (empty: this one), and whether these are all.

        Returns at most as many as the budget has files left, less ``keep``.
        """
        fd = self._budget.open(path or b".", _DIRECTORY, self._fd)
        prefix = path + b"/" if path else b""
        children: list[bytes] = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if len(children) >= self._budget.files_left - keep:
                            return children, False
                        children.append(prefix + os.fsencode(entry.name))
        finally:
            os.close(fd)
        return children, True


def memory_hierarchy(root: str = CGROUP_ROOT) -> Hierarchy | None:
    """Find where systemd has mounted the memory controller, see cgroups(7); None if it is not in use.

    Version 2 is mounted at ``root`` itself, version 1 at ``memory`` below it. Hybrid systems also have ``unified``,
    which has the memory controller only with the kernel option cgroup_no_v1=memory.
    """
    if _has_memory_controller(root):
        return Hierarchy(root, 2)
    if os.path.exists(f"{root}/memory/memory.usage_in_bytes"):
        return Hierarchy(f"{root}/memory", 1)
    if _has_memory_controller(f"{root}/unified"):
        return Hierarchy(f"{root}/unified", 2)
    return None


def path_names(path: bytes) -> list[bytes]:
    """Split a cgroup's path in the kernel's form, ``/system.slice``. Raises OutsideTheTree."""
    names = [name for name in path.split(b"/") if name]
    if not path.startswith(b"/") or b"\0" in path or b".." in names:
        raise OutsideTheTree(path)
    return names


def number(raw: bytes) -> int | None:
    """The number in a file with nothing else; None: it has another content, such as ``max``."""
    digits = raw.rstrip(b"\n")
    return int(digits) if is_number(digits) else None


def numbers(raw: bytes) -> dict[str, int]:
    """The rows of a file of keys and numbers, such as memory.events. A row that was cut off has no newline."""
    rows = (row.partition(b" ") for row in raw.split(b"\n")[:-1])
    return {key.decode(): int(digits) for key, _space, digits in rows if is_key(key) and is_number(digits)}


def _has_memory_controller(root: str) -> bool:
    try:
        with open(f"{root}/cgroup.controllers", "rb", buffering=0) as file:
            return b"memory" in file.read().split()
    except OSError:
        return False


def open_directory(path: bytes, parent: int) -> int:
    """A file descriptor of a cgroup's directory; ``path``: from the directory ``parent``. Raises OSError."""
    return os.open(path, _DIRECTORY, dir_fd=parent)


def open_file(path: bytes, parent: int) -> int:
    """The same for a file in it."""
    return os.open(path, _FILE, dir_fd=parent)
