# SPDX-License-Identifier: Apache-2.0
"""What the processes of this package begin with."""

import os
import resource
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from oomkilld.recall.messages import ALIVE
from oomkilld.record.looker import SOCKET

# The first to go: what it looks for is there when it is tried again.
_SCORE_ADJUST = 500
_ALIVE_AFTER_NS, _LOOK_EVERY = 5 * 10**9, 1024

T = TypeVar("T")


def begin(name: bytes) -> socket.socket:
    """The socket that it was started with, to the service."""
    os.closerange(SOCKET + 1, os.sysconf("SC_OPEN_MAX"))
    with open("/proc/self/comm", "wb") as file:
        file.write(name)
    with open("/proc/self/oom_score_adj", "wb") as file:
        file.write(b"%d" % _SCORE_ADJUST)
    _soft, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return socket.socket(fileno=SOCKET)


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
