# SPDX-License-Identifier: Apache-2.0
"""Kept files that do not match their names: the service drops all of them, and attaches a new probe."""

import ctypes
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomkilld import recordlayout
from oomkilld.arm import keptarming
from oomkilld.host.levels import LEVELS
from tests.host.service.daemon import Daemon, assert_balanced, beginning, kills_after
from tests.support import live

MIB = 1 << 20
BPF_MAP_CREATE, RINGBUF, ARRAY, MMAPABLE = 0, 27, 2, 1 << 10
BPF = {"x86_64": 321, "aarch64": 280}
HOOKS = next(level.hooks for level in LEVELS if level.name == "tracepoint")
# Neither the shell nor the test has descriptors with such numbers.
OUT_OF_THE_WAY = 100


class Manager:
    """Keeps the files of a service that it starts repeatedly, as systemd does."""

    def __init__(self, program: Path, scratch: Path) -> None:
        self.kept: dict[str, int] = {}
        self.removed: list[str] = []
        self.killed = 0
        self._program = program
        self._said = scratch / "said"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._address = scratch / "notify"
        self._socket.bind(str(self._address))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the service with the kept files: ready when the block begins, killed when it ends."""
        given = " ".join(f"{number}<&{fd}" for number, fd in enumerate(self.kept.values(), start=3))
        names = ":".join(self.kept)
        listen = f"LISTEN_PID=$$ LISTEN_FDS={len(self.kept)} LISTEN_FDNAMES={names}" if names else "PATH=$PATH"
        with self._said.open("wb") as said:
            service = subprocess.Popen(
                ["bash", "-c", f'export {listen}; exec "$0" {given}', self._program],
                stderr=said,
                pass_fds=self.kept.values(),
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self._address)},
            )
        try:
            live.wait_for("readiness", lambda: "READY=1" in self._hear(service), 60, self.said)
            yield
        finally:
            service.send_signal(signal.SIGKILL)
            service.wait()

    def said(self) -> str:
        return self._said.read_text()

    def _hear(self, service: "subprocess.Popen[bytes]") -> list[str]:
        """The lines of the next message."""
        assert service.poll() is None, self.said()
        try:
            message, ancillary, _flags, _address = self._socket.recvmsg(4096, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return []
        lines = message.decode().split("\n")
        names = [line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")]
        if "FDSTOREREMOVE=1" in lines:
            self.removed += names
            self._forget(names[0])
        for _level, _type, sent in ancillary:
            (fd,) = array("i", sent)
            self.keep(names[0], fd)
            os.close(fd)
        return lines

    def keep(self, name: str, fd: int) -> None:
        """Keep a copy of ``fd``, instead of the file of that name."""
        self._forget(name)
        self.kept[name] = fcntl.fcntl(fd, fcntl.F_DUPFD, OUT_OF_THE_WAY)

    def _forget(self, name: str) -> None:
        if (before := self.kept.pop(name, None)) is not None:
            os.close(before)

    def close(self) -> None:
        self._socket.close()
        for name in [*self.kept]:
            self._forget(name)


def bpf_map(kind: int, key_bytes: int, value_bytes: int, entries: int, flags: int) -> int:
    attributes = ctypes.create_string_buffer(struct.pack("5I", kind, key_bytes, value_bytes, entries, flags), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(BPF[os.uname().machine], BPF_MAP_CREATE, attributes, 128)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return int(fd)


def told_of_another_size(manager: Manager, name: str) -> int:
    arming = keptarming.read(os.dup(manager.kept[name]))
    assert arming is not None
    return keptarming.keep(arming._replace(ring_bytes=arming.ring_bytes // 2))


FORGED: dict[str, tuple[str, Callable[[Manager, str], int], str]] = {
    "no map": ("ring", lambda _manager, _name: os.memfd_create("ring"), r"found '/memfd:ring \(deleted\)' as ring"),
    "a smaller map": (
        "counters",
        lambda _manager, _name: bpf_map(ARRAY, 4, 8, 1, MMAPABLE),
        f"found counters with max_entries 1, expected {len(recordlayout.COUNTERS)}",
    ),
    "another size in arming": ("arming", told_of_another_size, r"found ring with max_entries \d+, expected \d+"),
    "another probe": (
        "probe-0",
        lambda manager, name: os.dup(manager.kept[name.replace("probe-0.", "probe-1.")]),
        f"found probe-0 at the tracepoint {HOOKS[1].target}, expected {HOOKS[0].target}",
    ),
}


@pytest.fixture(scope="module")
def manager(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    """The manager of the service, which is stopped otherwise; its first run has stored its files. Checks the books."""
    began = beginning(daemon)
    daemon.stop()
    manager = Manager(daemon.program, tmp_path_factory.mktemp("manager"))
    try:
        with manager.running():
            pass
        yield manager
    finally:
        manager.close()
        daemon.restart()
    assert_balanced(daemon, began, None, manager.killed)


def kill_one(daemon: Daemon, here: live.Moment) -> int:
    with live.cgroup("kept", 4 * MIB) as where:
        live.kill_one(where)
    return len(kills_after(daemon, here, 1))


def test_kept_files_are_taken_over(daemon: Daemon, here: live.Moment, manager: Manager) -> None:
    with manager.running():
        assert "attaching a new one" not in manager.said()
        assert manager.removed == []
        manager.killed += kill_one(daemon, here)


@pytest.mark.parametrize("forged", FORGED)
def test_if_one_kept_file_is_wrong_all_of_them_are_dropped(
    daemon: Daemon, here: live.Moment, manager: Manager, forged: str
) -> None:
    name, make, why = FORGED[forged]
    (full_name,) = (each for each in manager.kept if each.partition(".")[0] == name)
    names = sorted(manager.kept)
    fd = make(manager, full_name)
    manager.keep(full_name, fd)
    os.close(fd)
    manager.removed.clear()
    with manager.running():
        said = re.search(r"Failed to take over the previous probe: (.*), attaching a new one", manager.said())
        assert said, manager.said()
        assert re.match(why, said[1]), said[1]
        assert sorted(manager.removed) == sorted(manager.kept) == names
        manager.killed += kill_one(daemon, here)
