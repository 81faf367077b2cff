# SPDX-License-Identifier: Apache-2.0
"""Marks a probe and a kept program by all that they were made from: they are used only if nothing has changed."""

import os
import sys
from _blake2 import blake2b  # hashlib would load OpenSSL
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from oomkilld.arm.gfpnames import EVENT
from oomkilld.host.system import CAPABILITIES, VMLINUX, System

_PACKAGE = Path(__file__).parents[1]
# elf(5): the header of a note, and the one with the build id.
_NOTE = Struct("=III")
_BUILD_ID = (3, b"GNU\0")
_MARK_BYTES = 8
PROGRAM_MARK_BYTES = 16


class Wanted(NamedTuple):
    """What the settings require of a probe, and the best level that may be tried in this boot (None: any)."""

    level: str
    ring_bytes: int
    cmdline: bool
    ceiling: str | None


class Fingerprint:
    """A digest of program and machine, taken now: the mark stays right if the program is replaced while it arms."""

    def __init__(self, system: System) -> None:
        self._digest = blake2b(digest_size=_MARK_BYTES)
        self._add(*_program(), *_machine(system))

    def mark(self, wanted: Wanted) -> str:
        """16 hexadecimal digits, for the names of stored files. To be called once."""
        self._add(repr(wanted).encode())
        return self._digest.hexdigest()

    def _add(self, *parts: bytes) -> None:
        for part in parts:
            self._digest.update(b"%d:" % len(part))
            self._digest.update(part)


def _program() -> Iterator[bytes]:
    """The sources that make the probe, and the layouts of the record and of the handover."""
    sources = [
        *_PACKAGE.glob("arm/*.py"),
        *_PACKAGE.glob("arm/bpf/*"),
        *_PACKAGE.glob("arm/headers/**/*.h"),
        _PACKAGE / "host/levels.py",
        _PACKAGE / "host/system.py",
        _PACKAGE / "recordlayout.py",
        _PACKAGE / "service/handover.py",
    ]
    for source in sorted(sources):
        yield source.name.encode()
        yield source.read_bytes()


def _machine(system: System) -> Iterator[bytes]:
    """The facts that decide which levels work."""
    kernel = os.uname()
    yield kernel.release.encode()
    yield kernel.version.encode()
    yield system.lockdown().encode()
    yield b"perf" if system.may_use_perf() else b"no perf"
    yield " ".join(system.missing_capabilities(CAPABILITIES)).encode()


def program_mark(mark: str, system: System, *, visible: bool) -> bytes:
    """The mark of a program that outlives the boot. ``mark``: of a probe; ``visible``: addresses of the kernel are.

    Raises OSError.
    """
    digest = blake2b(digest_size=PROGRAM_MARK_BYTES)
    for part in (mark.encode(), *_build(system), b"visible" if visible else b"hidden"):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _build(system: System) -> Iterator[bytes]:
    """What tells this build of the kernel from others, and the facts of it and of the machine that arming uses."""
    yield build_id((system.root / "sys/kernel/notes").read_bytes())
    types = blake2b(digest_size=PROGRAM_MARK_BYTES)
    with open(system.root / VMLINUX.relative_to("/"), "rb", buffering=0) as file:
        while part := file.read(1 << 16):
            types.update(part)
    yield types.digest()
    yield (system.root / "sys/devices/system/cpu/possible").read_bytes()
    yield b"%d" % os.sysconf("SC_PAGESIZE")
    yield sys.version.encode()  # of the format in which the program is kept
    yield (system.event_format(EVENT) or "").encode()  # names of GFP flags


def build_id(notes: bytes) -> bytes:
    """The kernel's build id, of its ELF notes; all of them if they have none.

    Other notes may differ from boot to boot: before "x86, relocs: Ignore relocations in .notes section" (Linux 6.9),
    those for Xen held addresses of the kernel.
    """
    at = 0
    while at + _NOTE.size <= len(notes):
        name_bytes, content_bytes, kind = _NOTE.unpack_from(notes, at)
        name_at = at + _NOTE.size
        content_at = name_at + name_bytes + -name_bytes % 4
        if (kind, notes[name_at : name_at + name_bytes]) == _BUILD_ID:
            return notes[content_at : content_at + content_bytes]
        at = content_at + content_bytes + -content_bytes % 4
    return notes
