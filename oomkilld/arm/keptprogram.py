# SPDX-License-Identifier: Apache-2.0
"""Keeps the compiled program in a file, for starts without the compiler.

The file is used only under the mark with which it was written (see fingerprint.py). It has no address of the boot in
which it was written: those of the kernel's data count from the start of the kernel. Its digest shows damage, such as a
power cut leaves: the verifier would accept some damaged programs.
"""

import marshal
import os
import stat
from _blake2 import blake2b  # hashlib would load OpenSSL
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from oomkilld.errors import NO_ROOM
from oomkilld.service import notefile, rundir
from oomkilld.stderr import NOTICE, WARNING

_DIGEST_BYTES = 32
_MAX_BYTES = 1 << 20


class Unusable(Exception):
    """Why a kept program is not used, and the priority of the log line about that."""

    def __init__(self, why: str, priority: int = WARNING) -> None:
        super().__init__(why)
        self.priority = priority


class Map(NamedTuple):
    """A BPF map, as BPF_MAP_CREATE makes it."""

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int


class Program(NamedTuple):
    """The maps, and the instructions for each hook in the order of attaching; in these, a map is its number."""

    maps: list[Map]
    instructions: list[bytes]

    def dump(self) -> bytes:
        return marshal.dumps(([tuple(each) for each in self.maps], self.instructions))

    @classmethod
    def parse(cls, content: bytes) -> "Program":
        """Raises Unusable if ``content`` is not of dump()."""
        try:
            maps, instructions = marshal.loads(content)
            return cls([Map(*each) for each in maps], instructions)
        except (ValueError, TypeError, EOFError) as error:
            raise Unusable(f"found other content than a program: {error}") from error


class KeptProgram(NamedTuple):
    """The program for one level, and what arming found out about this build of the kernel."""

    level: str
    program: bytes  # see Program.dump()
    addresses: list[int | None]  # of headers.ADDRESSES, from the start of the kernel; None: this kernel lacks it
    functions: list[str]  # those of levels.wanted_symbols() that the kernel has
    type_ids: list[int]  # of the hooked functions, for fentry; else 0
    constraints: list[str]
    gfp_names: dict[str, int]
    warnings: list[str]  # log lines of each start


def write(directory: Path, mark: bytes, kept: KeptProgram) -> None:
    """Replace the file, as a whole or not at all. Raises OSError; Unusable if others can change the directory."""
    _check(os.stat(directory, follow_symlinks=False), directory, stat.S_ISDIR)
    body = mark + marshal.dumps(tuple(kept))
    notefile.write(directory, rundir.PROGRAM, _digest(body) + body)


def read(directory: Path, mark: bytes) -> KeptProgram:
    """The program in the file. Raises Unusable; OSError if memory or files are exhausted."""
    path = directory / rundir.PROGRAM
    try:
        content = _content(directory)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise Unusable(f"{path}: {error.strerror}") from error
    body = content[_DIGEST_BYTES:]
    if content[:_DIGEST_BYTES] != _digest(body):
        raise Unusable(f"{path} is damaged")
    if body[: len(mark)] != mark:
        raise Unusable("it was made for another kernel, machine or program, or for other settings", NOTICE)
    try:
        return KeptProgram(*marshal.loads(body[len(mark) :]))
    except (ValueError, TypeError, EOFError) as error:
        raise Unusable(f"{path}: {error}") from error


def remove(directory: Path) -> None:
    """Remove the file, if that is possible."""
    with suppress(OSError):
        os.unlink(directory / rundir.PROGRAM)


def _content(directory: Path) -> bytes:
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(os.fstat(place), directory, stat.S_ISDIR)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(rundir.PROGRAM, flags, dir_fd=place)
    finally:
        os.close(place)
    try:
        path, status = directory / rundir.PROGRAM, os.fstat(file)
        _check(status, path, stat.S_ISREG)
        if status.st_nlink != 1:
            raise Unusable(f"found {status.st_nlink} links to {path}, expected 1")
        if status.st_size > _MAX_BYTES:
            raise Unusable(f"found {status.st_size} bytes in {path}, expected at most {_MAX_BYTES}")
        return os.read(file, _MAX_BYTES)
    finally:
        os.close(file)


def _check(status: os.stat_result, path: Path, is_right: Callable[[int], bool]) -> None:
    """Raises Unusable if it is of another kind, or if another user can change it."""
    if not is_right(status.st_mode):
        kinds = {stat.S_ISDIR: "a directory", stat.S_ISREG: "a regular file"}
        raise Unusable(f"found something else at {path}, expected {kinds[is_right]}")
    if status.st_uid != os.geteuid():
        raise Unusable(f"found user {status.st_uid} as the owner of {path}, expected {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise Unusable(f"found mode {mode:04o} of {path}, expected one by which only its owner can write to it")


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()
