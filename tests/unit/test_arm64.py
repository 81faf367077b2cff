# SPDX-License-Identifier: Apache-2.0
"""The guest on arm64: how this machine is made to run its programs, and how that ends."""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fieldtable import ROOT
from tests.support.namespaces import NAMESPACES, need_namespaces
from tests.vm import arm64

EXECUTABLE, SHARED = 2, 3  # e_type, elf(5); the programs of Debian are of the second
ARM64, X86 = 183, 62  # e_machine


def header(kind: int, machine: int, *, bits: int = 2) -> bytes:
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HHI", kind, machine, 1)


@pytest.mark.parametrize(
    ("beginning", "is_ours"),
    [
        (header(EXECUTABLE, ARM64), True),
        (header(SHARED, ARM64), True),
        (header(SHARED, X86), False),
        (header(SHARED, ARM64, bits=1), False),
        (b"#!/bin/sh\n" + bytes(20), False),
    ],
)
def test_the_kernel_is_told_to_emulate_programs_for_arm64_and_no_others(beginning: bytes, is_ours: bool) -> None:
    _, _name, how, _offset, magic, mask, _interpreter, flags = arm64._FORMAT.split(":")
    expected, counts = (text.encode().decode("unicode_escape").encode("latin-1") for text in (magic, mask))
    assert len(expected) == len(counts)
    compared = zip(beginning, expected, counts, strict=False)
    assert all(byte & bit == value & bit for byte, value, bit in compared) == is_ours
    assert (how, flags) == ("M", "F")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run; what the kernel is told goes into ordinary files of a directory that stays."""
    said: list[str] = []
    mounted = tmp_path / "binfmt"
    mounted.mkdir()

    class Directory:
        __init__: Callable[..., None] = lambda _self, *_words: None

        def __enter__(self) -> str:
            return str(mounted)

        def __exit__(self, *_error: object) -> None:
            said.append((mounted / "oomkilld-tests-arm64").read_text())

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        said.append(command[0])
        return subprocess.CompletedProcess(command, int(command[0] == "chroot"))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", Directory)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return said


def test_the_machine_runs_no_programs_for_arm64_afterwards_if_it_did_not_before(
    tmp_path: Path, commands: list[str]
) -> None:
    with pytest.raises(OSError, match="full"), arm64._runs_arm64(tmp_path):
        raise OSError("the disk is full")
    assert (tmp_path / "binfmt/register").read_text().endswith(":/usr/bin/qemu-aarch64:F")
    assert commands == ["chroot", "mount", "umount", "-1"]


def test_a_machine_that_runs_them_already_is_left_alone(
    tmp_path: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm64, "_runs", lambda _root: True)
    with arm64._runs_arm64(tmp_path):
        pass
    assert commands == []


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("vm", False),
        ("--full vm", True),
        ("--kernel arm64-16k vm", True),
        ("--full --kernel 6.1 vm", False),
        ("--full unit host", False),
    ],
)
def test_what_it_needs_is_installed_only_if_it_is_chosen(tmp_path: Path, arguments: str, needed: bool) -> None:
    need_namespaces()
    nothing_installed = tmp_path / "dpkg-query"
    nothing_installed.write_text("#!/bin/sh\n")
    nothing_installed.chmod(0o755)
    shown = subprocess.run(
        [*NAMESPACES, ROOT / "tests/run", "--dry-run", *arguments.split()],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = (line for line in shown.stdout.splitlines() if "Debian packages" in line)
    assert {name in line for name in ("qemu-system-arm", "qemu-user", "gcc-aarch64-linux-gnu")} == {needed}


def test_apts_lists_keep_only_the_guests_packages_in_full(tmp_path: Path) -> None:
    archives, lists = tmp_path / "var/cache/apt/archives", tmp_path / "var/lib/apt/lists"
    archives.mkdir(parents=True)
    lists.mkdir(parents=True)
    (archives / "login_1%3a4.16_arm64.deb").touch()
    (archives / "zlib1g_1.3_arm64.deb").touch()
    ours = "Package: login\nVersion: 1:4.16", "Package: zlib1g\nDescription: deflate\n .\n a library"
    listed = lists / "mirror_dists_trixie_main_binary-arm64_Packages"
    listed.write_text("\n\n".join((ours[0], "Package: login.defs\nVersion: 1", ours[1])) + "\n")
    arm64._shorten_lists(tmp_path)
    assert listed.read_text() == f"{ours[0]}\n\n{ours[1]}\n"
