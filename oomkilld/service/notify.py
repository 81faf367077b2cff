# SPDX-License-Identifier: Apache-2.0
"""Tells the service manager how the service is, sd_notify(3), and gives it files to keep, without ever waiting for it.

Standard library only: both stages import it.
"""

# Not socket, which is the same behind a megabyte of resident enumerations.
import _socket as socket
import os
from array import array
from collections.abc import Mapping, Sequence


class Notifier:
    """``address``: $NOTIFY_SOCKET; None when no manager listens."""

    def __init__(self, address: str | None) -> None:
        self._address = ""
        self._socket = None
        if address:
            # "@" stands for the NUL of an address in the abstract namespace.
            self._address = "\0" + address[1:] if address.startswith("@") else address
            # libsystemd's own function blocks while the manager's queue is full.
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @property
    def listens(self) -> bool:
        """Whether there is a manager."""
        return self._socket is not None

    def send(self, *assignments: str, fds: Sequence[int] = ()) -> bool:
        """False when the manager is too busy to take it; without a manager there is nothing to do."""
        if self._socket is None:
            return True
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            self._socket.sendmsg(["\n".join(assignments).encode()], files, 0, self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Tell it nothing more."""
        if self._socket is not None:
            self._socket.close()


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Within how many seconds the manager wants to hear from this process, sd_watchdog_enabled(3)."""
    if environment.get("WATCHDOG_PID") not in (None, str(os.getpid())):
        return None
    usec = environment.get("WATCHDOG_USEC", "")
    # 64 bits in decimal, of the digits that the manager writes.
    is_number = usec.isascii() and usec.isdigit() and len(usec) <= 20
    return int(usec) / 1e6 if is_number and int(usec) > 0 else None
