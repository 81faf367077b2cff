# SPDX-License-Identifier: Apache-2.0
"""Files that the service manager keeps: how the service stores them, removes them and gets them back."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.arm import fingerprint as marks
from oomkilld.arm.fingerprint import Fingerprint, Wanted
from oomkilld.host.system import System
from oomkilld.service import fdstore
from oomkilld.service.notify import Notifier
from tests.unit.test_levels import system

ROOT = Path(__file__).parents[2]
WANTED = Wanted("auto", 4096, cmdline=False, ceiling=None)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(str(tmp_path / "notify"))
        yield listening


def test_files_are_stored_by_name_and_not_polled(manager: socket.socket, tmp_path: Path) -> None:
    file = os.memfd_create("some")
    os.write(file, b"kept")
    notifier = Notifier(str(tmp_path / "notify"))
    assert fdstore.keep(notifier, {"ring": file, "probe-0": file}, "abc")
    for name in ("ring", "probe-0"):
        message, fds, _flags, _address = socket.recv_fds(manager, 1000, 4)
        assert message == f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}.abc".encode()
        (fd,) = fds
        assert os.pread(fd, 10, 0) == b"kept"
        os.close(fd)
    os.close(file)
    fdstore.forget_others(notifier, {"abc": {"ring": 3}, "old": {"ring": 4, "counters": 5}}, "abc")
    for name in ("ring", "counters"):
        assert manager.recv(1000) == f"FDSTOREREMOVE=1\nFDNAME={name}.old".encode()
    with pytest.raises(BlockingIOError):
        manager.recv(1000)
    notifier.close()


def test_without_a_manager_that_takes_them_nothing_is_kept(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not fdstore.keep(Notifier(None), {"ring": 0}, "abc")
    monkeypatch.setattr(fdstore, "_PATIENCE_SECONDS", 0.05)
    notifier = Notifier(str(tmp_path / "notify"))
    while notifier.send("X=1"):
        pass
    assert not fdstore.keep(notifier, {"ring": 0}, "abc")
    assert manager.recv(1000) == b"X=1"
    notifier.close()


TAKE = """
import os, sys
from oomkilld.service import fdstore
pid = {"own": str(os.getpid()), "other": "1"}[sys.argv[1]]
kept = fdstore.take({"LISTEN_PID": pid, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "ring.abc:counters.abc:ring.old"})
print(kept, *(os.get_inheritable(fd) for fds in kept.values() for fd in fds.values()))
"""


def test_a_closed_descriptor_is_reported_and_the_others_come_back() -> None:
    command = ["sh", "-c", f'exec {sys.executable} -c "$0" own 3</dev/null 5</dev/null', TAKE]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout == "{'abc': {'ring': 3}, 'old': {'ring': 5}} False False\n"
    assert result.stderr.endswith("Failed to take over file 4 of systemd's: Bad file descriptor, attaching anew\n")


@pytest.mark.parametrize(
    ("whose", "taken"),
    [
        ("own", "{'abc': {'ring': 3, 'counters': 4}, 'old': {'ring': 5}} False False False\n"),
        ("other", "{}\n"),
    ],
)
def test_files_come_back_by_mark_and_only_to_their_own_process(whose: str, taken: str) -> None:
    command = ["sh", "-c", f'exec {sys.executable} -c "$0" {whose} 3</dev/null 4</dev/null 5</dev/null', TAKE]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert output == taken


def mark(wanted: Wanted, where: System) -> str:
    return Fingerprint(where).mark(wanted)


@pytest.mark.parametrize(
    "change",
    [
        WANTED._replace(level="tracepoint"),
        WANTED._replace(ring_bytes=8192),
        WANTED._replace(cmdline=True),
        WANTED._replace(ceiling="tracepoint"),
    ],
)
def test_a_changed_setting_changes_the_mark(tmp_path: Path, change: Wanted) -> None:
    where = system(tmp_path)
    assert mark(WANTED, where) == mark(WANTED, where)
    assert mark(change, where) != mark(WANTED, where)
    assert len(mark(WANTED, where)) == 16


def test_a_changed_restriction_of_the_system_changes_the_mark(tmp_path: Path) -> None:
    found = [
        mark(WANTED, system(tmp_path / "a")),
        mark(WANTED, system(tmp_path / "b", paranoid=2)),
        mark(WANTED, system(tmp_path / "c", lockdown="none [integrity]")),
        mark(WANTED, system(tmp_path / "d", capabilities=0)),
    ]
    assert len(set(found)) == len(found)


def test_another_program_or_kernel_changes_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = system(tmp_path)
    before = mark(WANTED, where)
    parts = {path.decode() for path in list(marks._program())[::2]}
    assert {"oomkill.bpf.c", "task.h", "headers.py", "recordlayout.py", "levels.py", "system.py"} <= parts
    monkeypatch.setattr(marks, "_program", lambda: iter([b"another"]))
    other = mark(WANTED, where)
    assert other != before
    uname = os.uname()
    monkeypatch.setattr(
        os, "uname", lambda: os.uname_result((uname.sysname, uname.nodename, "7.9", uname.version, uname.machine))
    )
    assert mark(WANTED, where) not in (before, other)
