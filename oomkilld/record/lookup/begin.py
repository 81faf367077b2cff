# SPDX-License-Identifier: Apache-2.0
"""What the processes of this room begin with."""

import os
import resource
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from oomkilld.host.syscall import name_process
from oomkilld.record.lookup.protocol import ALIVE, MESSAGE_BYTES, SOCKET

_ALIVE_AFTER_NS, _LOOK_EVERY = 5 * 10**9, 1024

T = TypeVar("T")


def begin(name: bytes) -> socket.socket:
    """The socket that it was started with, to the service."""
    os.closerange(SOCKET + 1, os.sysconf("SC_OPEN_MAX"))
    name_process(name)
    _soft, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return socket.socket(fileno=SOCKET)


def asked_with_log(service: socket.socket) -> tuple[bytes, int | None]:
    """What it is told first, and the kernel's log if that comes along."""
    told, fds, _flags, _address = socket.recv_fds(service, MESSAGE_BYTES, 1)
    return told, fds[0] if fds else None


class Alive:
    """Tells the service so while there is much to do."""

    def __init__(self, service: socket.socket) -> None:
        self._service = service
        self._told_ns = time.monotonic_ns()

    def during(self, work: Iterable[T]) -> Iterator[T]:
        """The same."""
        for number, each in enumerate(work):
            if number % _LOOK_EVERY == 0:
                self.tell()
            yield each

    def tell(self) -> None:
        """When it is time."""
        if (now_ns := time.monotonic_ns()) >= self._told_ns + _ALIVE_AFTER_NS:
            self._service.send(ALIVE)
            self._told_ns = now_ns
