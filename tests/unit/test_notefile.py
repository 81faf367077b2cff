# SPDX-License-Identifier: Apache-2.0
"""Notes of one run for the next, in a directory where something else may have been planted."""

import os
import socket
from pathlib import Path

import pytest

from oomkilld.service import notefile, rundir
from oomkilld.service.rundir import Ceiling

LEVELS = ["kprobe", "fentry", "tracepoint", "kmsg"]


def test_only_root_can_read_a_note_and_a_new_one_replaces_it(tmp_path: Path) -> None:
    for content in (b"first", b"2"):
        notefile.write(tmp_path, "note", content)
        assert notefile.read(tmp_path, "note", 5) == content
    assert (tmp_path / "note").stat().st_mode & 0o777 == 0o600
    assert notefile.read(tmp_path, "note", 0) is None, "larger"
    assert notefile.read(tmp_path, "none", 5) is None
    assert os.listdir(tmp_path) == ["note"]


def plant(path: Path, kind: str) -> None:
    """Put something there that is no note."""
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as planted:
                planted.bind(str(path))
        case _:
            path.symlink_to(kind)


KINDS = ["fifo", "directory", "socket", "/dev/zero", "/etc/hostname", "/proc/self/mem"]


@pytest.mark.parametrize("kind", KINDS)
def test_anything_else_counts_as_no_note_and_does_not_block(tmp_path: Path, kind: str) -> None:
    for name in ("level", "last-level"):
        plant(tmp_path / name, kind)
    assert rundir.read_ceiling(tmp_path, LEVELS) is None
    assert rundir.read_last(tmp_path, LEVELS) is None


def test_a_link_to_a_note_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("fentry why\n")
    (tmp_path / "level").symlink_to(tmp_path / "note")
    assert rundir.read_ceiling(tmp_path, LEVELS) is None


@pytest.mark.parametrize("kind", ["fifo", "socket", "link"])
def test_anything_planted_where_a_note_is_written_is_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    for name in ("level", "level.new"):
        plant(tmp_path / name, str(target) if kind == "link" else kind)
    rundir.write_ceiling(tmp_path, Ceiling("fentry", "why"))
    assert rundir.read_ceiling(tmp_path, LEVELS) == Ceiling("fentry", "why")
    assert target.read_text() == "as it was"


def test_a_reason_is_one_line_of_bounded_length_whoever_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "level").write_bytes(b"fentry a\n<0>b\x1b[2J\xff")
    found = rundir.read_ceiling(tmp_path, LEVELS)
    assert found == Ceiling("fentry", "a <0>b [2J\ufffd")
    rundir.write_ceiling(tmp_path, Ceiling("kmsg", "x" * 100_000))
    found = rundir.read_ceiling(tmp_path, LEVELS)
    assert found is not None
    assert len(found.reason) < 1024
    (tmp_path / "level").write_bytes(b"fentry " + b"x" * 100_000)
    assert rundir.read_ceiling(tmp_path, LEVELS) is None
