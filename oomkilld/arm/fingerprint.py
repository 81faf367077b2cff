# SPDX-License-Identifier: Apache-2.0
"""A probe that was kept serves the next run only if nothing has changed: its mark stands for all it was made from."""

import os
from _blake2 import blake2b  # hashlib would load OpenSSL
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from oomkilld.arm.system import CAPABILITIES, System

_PACKAGE = Path(__file__).parents[1]
_MARK_BYTES = 8


class Wanted(NamedTuple):
    """What the settings ask of a probe, and the level above which none is tried in this boot."""

    level: str
    ring_bytes: int
    cmdline: bool
    ceiling: str | None


class Fingerprint:
    """Of the program and the machine as they are now: a program replaced while it arms makes no other probe."""

    def __init__(self, system: System) -> None:
        self._digest = blake2b(digest_size=_MARK_BYTES)
        self._add(*_program(), *_machine(system))

    def mark(self, wanted: Wanted) -> str:
        """16 hexadecimal digits, for the name of a kept file. Asked once."""
        self._add(repr(wanted).encode())
        return self._digest.hexdigest()

    def _add(self, *parts: bytes) -> None:
        for part in parts:
            self._digest.update(b"%d:" % len(part))
            self._digest.update(part)


def _program() -> Iterator[bytes]:
    """What makes the probe, and the layout of what it hands over."""
    sources = [
        *_PACKAGE.glob("arm/*.py"),
        *_PACKAGE.glob("arm/bpf/*"),
        _PACKAGE / "recordlayout.py",
        _PACKAGE / "service/handover.py",
    ]
    for source in sorted(sources):
        yield source.name.encode()
        yield source.read_bytes()


def _machine(system: System) -> Iterator[bytes]:
    """What decides which levels work."""
    kernel = os.uname()
    yield kernel.release.encode()
    yield kernel.version.encode()
    yield system.lockdown().encode()
    yield b"perf" if system.may_use_perf() else b"no perf"
    yield " ".join(system.missing_capabilities(CAPABILITIES)).encode()
