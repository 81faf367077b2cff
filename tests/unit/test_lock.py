# SPDX-License-Identifier: Apache-2.0
"""One instance at a time, which nobody else can block."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from oomkilld.arm import lock
from oomkilld.arm.lock import take_lock
from oomkilld.errors import AlreadyRunning, NoPrivilege, Unusable
from tests.support import live

ROOT = Path(__file__).parents[2]


def modes(directory: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in (directory, directory / lock.NAME)]


@pytest.mark.parametrize("before", [None, 0o755, 0o777])
def test_the_lock_is_closed_to_others_whatever_was_there(tmp_path: Path, before: int | None) -> None:
    directory = tmp_path / "run"
    if before is not None:
        directory.mkdir()
        directory.chmod(before)
    umask = os.umask(0)
    try:
        os.close(take_lock(directory))
    finally:
        os.umask(umask)
    assert modes(directory) == [0o700, 0o600]
    assert (directory / lock.NAME).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("plant", ["link", "fifo", "directory", "readable"])
def test_anything_else_in_its_place_is_replaced(tmp_path: Path, plant: str) -> None:
    name = tmp_path / lock.NAME
    if plant == "link":
        name.symlink_to(tmp_path / "elsewhere")
    elif plant == "fifo":
        os.mkfifo(name, 0o600)
    elif plant == "directory":
        (name / "inside").mkdir(parents=True)
    else:
        name.write_text("1\n")
        name.chmod(0o644)
    os.close(take_lock(tmp_path))
    assert modes(tmp_path) == [0o700, 0o600]
    assert stat.S_ISREG(name.lstat().st_mode)
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        take_lock(tmp_path / "run")


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(NoPrivilege, match=rf"belongs to another user \({owner}\)"):
        take_lock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_root_gets_other_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 0)
        patch.setattr(os, "fstat", lambda _fd: SimpleNamespace(st_uid=1000))
        with pytest.raises(Unusable, match=r"belongs to another user \(1000\)") as refused:
            take_lock(tmp_path)
    assert refused.value.hint == "remove it: the service creates its own"


def test_it_names_another_instance_waits_for_it_and_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = take_lock(tmp_path)
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 1)
    with pytest.raises(AlreadyRunning, match=rf"another oomkilld \(process {os.getpid()}\) is still running after 1 s"):
        take_lock(tmp_path)
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"another oomkilld is running (process {os.getpid()}): waiting" in said
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    os.close(first)
    os.close(take_lock(tmp_path))


def test_it_continues_as_soon_as_the_other_instance_ends(tmp_path: Path) -> None:
    first = take_lock(tmp_path)
    os.pwrite(first, b"no number\n", 0)
    threading.Timer(0.3, os.close, [first]).start()
    began = time.monotonic()
    second = take_lock(tmp_path)
    assert 0.2 < time.monotonic() - began < 10
    with pytest.raises(BlockingIOError), (tmp_path / lock.NAME).open() as third:
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second)


START = """
import sys
from oomkilld import __main__; from oomkilld.service import rundir
rundir.RUNTIME_DIRECTORY = sys.argv[1]
__main__._serve()
"""


def test_a_waiting_start_has_not_loaded_the_compiler_and_ends_at_once_when_asked(tmp_path: Path) -> None:
    held = take_lock(tmp_path)
    command = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr is not None
        assert "s for its end" in second.stderr.readline()
        process = Path("/proc", str(second.pid))
        live.wait_for("sleep", lambda: "\nState:\tS" in (process / "status").read_text(), 5)
        ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        assert (process / "task" / str(second.pid) / "children").read_text() == ""
        assert "libbcc" not in (process / "maps").read_text()
        time.sleep(0.5)
        assert (process / "stat").read_text().rpartition(")")[2].split()[11:13] == ticks, "it polls"
        sent = time.monotonic()
        second.terminate()
        assert second.wait(10) == -signal.SIGTERM
        assert time.monotonic() - sent < 1
    os.close(held)
