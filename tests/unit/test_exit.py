# SPDX-License-Identifier: Apache-2.0
"""How the resident stage exits after a failure, and what that means for the next run."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from oomkilld.errors import NoRoom, SteppedDown
from oomkilld.record.capture.ring import RingCorrupt
from oomkilld.record.process.exit import run_guarded
from oomkilld.service import rundir

ROOT = Path(__file__).parents[2]


def run(error: BaseException, *, kept: bool = True) -> None:
    def fail() -> NoReturn:
        raise error

    run_guarded(fail, kept=kept)


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rundir, "RUNTIME_DIRECTORY", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "error", [ValueError("?"), OSError(errno.EIO, "?"), KeyboardInterrupt(), RingCorrupt("it is", "report it")]
)
def test_an_unexpected_failure_marks_the_kept_ring_as_bad(notes: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        run(error)
    assert rundir.kept_is_bad(notes)


def test_an_expected_failure_does_not(notes: Path) -> None:
    with pytest.raises(SteppedDown):
        run(SteppedDown("level kprobe is set aside", "report it"))
    assert not rundir.kept_is_bad(notes)


def test_without_a_kept_ring_nothing_is_marked(notes: Path) -> None:
    with pytest.raises(ValueError, match="read"):
        run(ValueError("read"), kept=False)
    assert not rundir.kept_is_bad(notes)


@pytest.mark.parametrize(
    "error", [MemoryError(), *(OSError(code, os.strerror(code)) for code in (errno.ENOMEM, errno.ENFILE))]
)
def test_a_lack_of_memory_or_files_marks_nothing(notes: Path, error: BaseException) -> None:
    with pytest.raises(NoRoom):
        run(error)
    assert not rundir.kept_is_bad(notes)


def test_a_closed_stderr_ends_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    program = "from oomkilld.stderr import ERR, say; say(ERR, 'one'); say(ERR, 'two\\nthree'); print('went on')"
    with open(write, "wb") as broken:
        # As systemd starts it: environment variables of Python could change how it writes.
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, cwd=ROOT, env={}, check=False, stdout=subprocess.PIPE, stderr=broken)
    assert (result.returncode, result.stdout) == (0, b"went on\n")
