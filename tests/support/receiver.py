# SPDX-License-Identifier: Apache-2.0
"""A real systemd-journal-remote on the loopback interface, and senders, each with an address of its own.

systemd-journal-upload cannot choose its address, so its connection passes through a relay that has one.
"""

import fcntl
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.journals import program

SECONDS = 30
_LOOPBACK = "127.0.0.1"
# From linux/sockios.h and linux/if.h.
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def uploader() -> str:
    """The path of systemd-journal-upload, which is in the same package."""
    return str(Path(program()).with_name("systemd-journal-upload"))


def need_loopback() -> None:
    """In a new network namespace, as tests/run makes one, the loopback interface is down."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        _name, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def free_port() -> int:
    with closing(socket.create_server((_LOOPBACK, 0))) as server:
        return int(server.getsockname()[1])


class Receiver:
    """``directory``: where it stores a file for each sender."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port

    @contextmanager
    def running(self, how: str = "http") -> Iterator[None]:
        self.directory.mkdir(exist_ok=True)
        command = [program(), f"--listen-{how}={_LOOPBACK}:{self.port}", "-o", str(self.directory)]
        receiver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._await_start(receiver)
            yield
        finally:
            receiver.terminate()
            receiver.wait(SECONDS)

    def _await_start(self, receiver: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection((_LOOPBACK, self.port)).close()
            except ConnectionRefusedError:
                if receiver.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the receiver does not answer, its status is {receiver.poll()}")
                time.sleep(0.02)
            else:
                return

    def file_of(self, address: str) -> Path:
        return self.directory / f"remote-{address}.journal"

    @contextmanager
    def seen_from(self, address: str) -> Iterator[str]:
        """A URL of the receiver: who connects to it has this address."""
        with closing(socket.create_server((_LOOPBACK, 0))) as server:
            relay = threading.Thread(target=self._relay, args=(server, address))
            relay.start()
            try:
                yield f"http://{_LOOPBACK}:{server.getsockname()[1]}"
            finally:
                server.shutdown(socket.SHUT_RDWR)
                relay.join(SECONDS)

    def _relay(self, server: socket.socket, address: str) -> None:
        """One connection after the other."""
        while True:
            try:
                client, _peer = server.accept()
            except OSError:  # it is shut down
                return
            with (
                client,
                suppress(OSError),  # the receiver is not there
                socket.create_connection((_LOOPBACK, self.port), source_address=(address, 0)) as there,
            ):
                _pump(client, there)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Until either end closes its side."""
    while True:
        readable, _writable, _failed = select.select([one, other], [], [], SECONDS)
        for end in readable or [one]:
            if not (received := end.recv(1 << 16)):
                return
            (other if end is one else one).sendall(received)
