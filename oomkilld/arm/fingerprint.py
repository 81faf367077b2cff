# SPDX-License-Identifier: Apache-2.0
"""Marks a probe by all that it was made from: the next run takes it over only if nothing has changed."""

import os
from _blake2 import blake2b  # hashlib would load OpenSSL
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from oomkilld.host.system import CAPABILITIES, System

_PACKAGE = Path(__file__).parents[1]
_MARK_BYTES = 8


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
