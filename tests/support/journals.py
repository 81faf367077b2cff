# SPDX-License-Identifier: Apache-2.0
"""Writes real journal files: systemd-journal-remote makes them from the export format, at any time, of any machine.

With journald itself, a test could choose neither the time of an entry nor its trusted fields.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

# Where a test machine has it elsewhere: the path of the program.
OVERRIDE = "OOMKILLD_TEST_JOURNAL_REMOTE"
PLACES = ("/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote")
BOOT = "11111111111111111111111111111111"
MACHINE = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
# What journald adds to an entry of the service.
TRUSTED = {
    "_BOOT_ID": BOOT,
    "_MACHINE_ID": MACHINE,
    "_HOSTNAME": "web1",
    "_TRANSPORT": "journal",
    "_PID": "546",
    "_UID": "0",
    "_GID": "0",
    "_COMM": "oomkilld",
    "_SYSTEMD_UNIT": "oomkilld.service",
    "_SYSTEMD_CGROUP": "/system.slice/oomkilld.service",
}

Fields = Mapping[str, str | bytes]


def exported(fields: Fields, realtime_usec: int) -> bytes:
    """One entry in the export format, <https://systemd.io/JOURNAL_EXPORT_FORMATS/>."""
    head = f"__REALTIME_TIMESTAMP={realtime_usec}\n__MONOTONIC_TIMESTAMP={realtime_usec % (1 << 40)}\n".encode()
    return head + b"".join(_field(name, value) for name, value in fields.items()) + b"\n"


def _field(name: str, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    if raw.isascii() and raw.decode().isprintable():
        return name.encode() + b"=" + raw + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n"


def write(file: Path, entries: Iterable[tuple[Fields, int]]) -> Path:
    """Write the entries, each with the time at which journald received it, to a journal file."""
    with writing(file) as stream:
        for fields, realtime_usec in entries:
            stream.write(exported(fields, realtime_usec))
    return file


class writing:  # noqa: N801 # it is used like a function
    """A stream of entries in the export format, which become the journal file."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [program(), "--compress=no", "-o", file, "-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    def __exit__(self, *_error: object) -> None:
        _out, said = self._process.communicate(timeout=600)
        assert self._process.returncode == 0, said


def program() -> str:
    """The path of systemd-journal-remote; skips the test if there is none."""
    found = os.environ.get(OVERRIDE) or next(filter(os.path.exists, PLACES), None)
    if found is None or shutil.which(found) is None:
        if os.environ.get("OOMKILLD_REQUIRE_ALL"):
            pytest.fail("systemd-journal-remote is missing")
        pytest.skip("systemd-journal-remote is missing: install the package of this name")
    return found


def foreign(number: int) -> Iterator[tuple[str, str]]:
    """The fields of somebody else's entry."""
    yield from TRUSTED.items()
    yield "_SYSTEMD_UNIT", "nginx.service"
    yield "SYSLOG_IDENTIFIER", "nginx"
    yield "PRIORITY", "6"
    yield "MESSAGE", f"request {number} took {number % 977} ms"
