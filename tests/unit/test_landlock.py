# SPDX-License-Identifier: Apache-2.0
"""Which files Landlock lets a process open, tried on a process of its own; and the versions of its interface."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld.record.process import landlock
from oomkilld.service import rundir

ROOT = Path(__file__).parents[2]
TRY = """
import ctypes, os, sys
from oomkilld.record.process import landlock
landlock.RUNTIME_DIRECTORY = sys.argv[1]
landlock._READABLE_ONCE_THERE = (sys.argv[1] + "/../log/journal",)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
if not landlock.confine():
    sys.exit(3)
def tried(path, flags):
    try:
        os.close(os.open(path, flags, 0o600))
        return "opened"
    except PermissionError:
        return "refused"
for path, write in zip(sys.argv[2::2], sys.argv[3::2]):
    print(tried(path, {"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT, "t": os.O_WRONLY | os.O_TRUNC}[write]))
try:
    os.unlink(sys.argv[1] + "/../outside")
except PermissionError:
    print("not removed")
changes = [(os.unlink, "state/program"), (os.rename, "run/new", "state/program"), (os.mkdir, "state/new")]
for change, *words in changes:
    try:
        change(*(sys.argv[1] + "/../" + word for word in words))
    except OSError as error:
        print("not changed", error.errno in (1, 13, 18))
import json, hashlib
"""


def test_it_allows_writing_to_the_runtime_directory_and_reading_what_is_needed_only(tmp_path: Path) -> None:
    ours, outside, log = tmp_path / "run", tmp_path / "outside", tmp_path / "log"
    program = tmp_path / "state/program"
    program.parent.mkdir()
    program.write_text("compiled")
    ours.mkdir()
    log.mkdir()
    outside.write_text("secret")
    cases = [
        (ours / "new", "w", "opened"),
        (ours / "new", "r", "opened"),
        (ours / "new", "t", "opened"),
        (outside, "r", "refused"),
        (outside, "w", "refused"),
        (outside, "t", "refused"),
        (tmp_path / "new", "w", "refused"),
        (program, "w", "refused"),
        (program, "t", "refused"),
        (program.with_name("program.new"), "w", "refused"),
        (log, "r", "opened"),
        ("/dev/null", "w", "opened"),
        ("/etc/passwd", "r", "refused"),
        ("/proc/self/stat", "r", "opened"),
        ("/proc/self/comm", "w", "refused"),
        ("/usr/bin/env", "r", "opened"),
    ]
    words = [str(word) for path, write, _result in cases for word in (path, write)]
    command = [sys.executable, "-c", TRY, str(ours), *words]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("this kernel has no Landlock")
    assert done.returncode == 0, done.stderr
    last = ["not removed", *["not changed True"] * 3]
    assert done.stdout.splitlines() == [*(result for _path, _write, result in cases), *last]
    assert outside.read_text() == "secret"
    assert program.read_text() == "compiled"
    assert list(program.parent.iterdir()) == [program]


def test_no_rule_allows_a_change_of_the_program_that_later_starts_load() -> None:
    places = re.findall(r"^StateDirectory=(.*)$", (ROOT / "packaging/oomkilld.service").read_text(), re.MULTILINE)
    assert places == ["oomkilld"]
    program = Path("/var/lib", places[0], rundir.PROGRAM)
    reading = landlock._READ | landlock._LIST
    allowing = [path for path, rights in landlock._rules() if rights & ~reading and program.is_relative_to(path)]
    assert allowing == []


@pytest.mark.parametrize(
    ("version", "handled", "more"),
    [
        (1, 0x1FFE, ()),
        (2, 0x3FFE, ()),
        (3, 0x7FFE, ()),
        (4, 0x7FFE, (3,)),
        (5, 0xFFFE, (3,)),
        (6, 0xFFFE, (3, 3)),
        (9, 0xFFFE, (3, 3)),
    ],
)
def test_all_rights_of_each_version_are_handled(
    monkeypatch: pytest.MonkeyPatch, version: int, handled: int, more: tuple[int, ...]
) -> None:
    made: list[tuple[int | bytes, ...]] = []

    def checked(_what: str, _name: str, *arguments: int | bytes) -> int:
        made.append(arguments)
        return 0

    monkeypatch.setattr(landlock, "call", lambda *_arguments: version)
    monkeypatch.setattr(landlock, "checked", checked)
    monkeypatch.setattr(os, "close", lambda _fd: None)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert landlock.confine()
    assert made[0] == (444, struct.pack(f"={1 + len(more)}Q", handled, *more), 8 + 8 * len(more), 0)
    for rule in made[1:-1]:
        assert isinstance(rule[3], bytes)
        rights, _fd = struct.unpack("=Qi", rule[3])
        assert rights
        assert rights & ~handled == 0
    assert made[-1] == (446, 0, 0)


def test_a_manager_at_an_abstract_address_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@manager")
    assert landlock._attributes(6, 0)[0][-8:] == struct.pack("=Q", 2)
