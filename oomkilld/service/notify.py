# SPDX-License-Identifier: Apache-2.0
"""Sends the service's status and the files to store to the service manager, sd_notify(3), and never blocks.

Standard library only: both stages import it.
"""

# Not socket: it adds a megabyte of resident enumerations to this.
import _socket as socket
import os
from array import array
from collections.abc import Mapping, Sequence


class Notifier:
    """``address``: $NOTIFY_SOCKET; None: there is no manager. ``listens``: whether there is one."""

    def __init__(self, address: str | None) -> None:
        self._address = ""
        self._socket = None
        self.listens = bool(address)
        if address:
            # "@" stands for the NUL of an address in the abstract namespace.
            self._address = "\0" + address[1:] if address.startswith("@") else address
            # libsystemd's own function blocks while the manager's queue is full.
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    def send(self, *assignments: str, fds: Sequence[int] = ()) -> bool:
        """Send to the manager, if there is one. False: it did not accept the message, as it is too busy."""
        if self._socket is None:
            return True
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            self._socket.sendmsg(["\n".join(assignments).encode()], files, 0, self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """The manager's watchdog timeout for this process in seconds, sd_watchdog_enabled(3); None: there is none."""
    if environment.get("WATCHDOG_PID") not in (None, str(os.getpid())):
        return None
    usec = environment.get("WATCHDOG_USEC", "")
    # A number of 64 bits in ASCII digits, as the manager writes it.
    is_number = usec.isascii() and usec.isdigit() and len(usec) <= 20
    return int(usec) / 1e6 if is_number and int(usec) > 0 else None
