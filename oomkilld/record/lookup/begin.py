# SPDX-License-Identifier: Apache-2.0
"""How the processes of this room start, and how they report that they are alive."""

import os
import resource
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from oomkilld.host.syscall import name_process
from oomkilld.record.lookup.protocol import ALIVE, SOCKET

_ALIVE_AFTER_NS, _LOOK_EVERY = 5 * 10**9, 1024

T = TypeVar("T")


def begin(name: bytes) -> socket.socket:
    """Prepare this process; returns its socket to the service."""
    os.closerange(SOCKET + 1, os.sysconf("SC_OPEN_MAX"))
    name_process(name)
    _soft, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return socket.socket(fileno=SOCKET)


class Alive:
    """Reports to the service, during long work, that this process is alive."""

    def __init__(self, service: socket.socket) -> None:
        self._service = service
        self._told_ns = time.monotonic_ns()

    def during(self, work: Iterable[T]) -> Iterator[T]:
        """Yields the items of ``work``, and reports in between."""
        for number, each in enumerate(work):
            if number % _LOOK_EVERY == 0:
                self.tell()
            yield each

    def tell(self) -> None:
        if (now_ns := time.monotonic_ns()) >= self._told_ns + _ALIVE_AFTER_NS:
            self._service.send(ALIVE)
            self._told_ns = now_ns
