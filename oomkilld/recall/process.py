# SPDX-License-Identifier: Apache-2.0
"""What the processes of this package begin with."""

import os
import resource
import socket

from oomkilld.record.looker import SOCKET

# The first to go: what it looks for is there when it is tried again.
_SCORE_ADJUST = 500


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
