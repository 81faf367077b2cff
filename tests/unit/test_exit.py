# SPDX-License-Identifier: Apache-2.0
"""How the resident stage ends when something fails, and what that means for the next run."""

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
def test_what_was_read_from_may_be_to_blame(notes: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        run(error)
    assert rundir.kept_is_bad(notes)


def test_an_error_of_another_kind_says_nothing_of_it(notes: Path) -> None:
    with pytest.raises(SteppedDown):
        run(SteppedDown("level kprobe is set aside", "report it"))
    assert not rundir.kept_is_bad(notes)


def test_where_nothing_is_kept_nothing_is_noted(notes: Path) -> None:
    with pytest.raises(ValueError, match="read"):
        run(ValueError("read"), kept=False)
    assert not rundir.kept_is_bad(notes)


@pytest.mark.parametrize(
    "error", [MemoryError(), *(OSError(code, os.strerror(code)) for code in (errno.ENOMEM, errno.ENFILE))]
)
def test_it_is_not_where_no_room_was_left(notes: Path, error: BaseException) -> None:
    with pytest.raises(NoRoom):
        run(error)
    assert not rundir.kept_is_bad(notes)


def test_that_nobody_reads_what_is_said_ends_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    program = "from oomkilld.stderr import ERR, say; say(ERR, 'one'); say(ERR, 'two\\nthree'); print('went on')"
    with open(write, "wb") as broken:
        # As systemd starts it: a setting of Python's could change how it writes.
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, cwd=ROOT, env={}, check=False, stdout=subprocess.PIPE, stderr=broken)
    assert (result.returncode, result.stdout) == (0, b"went on\n")
