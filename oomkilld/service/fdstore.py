# SPDX-License-Identifier: Apache-2.0
"""What the service manager keeps of one run for the next: the open files of a probe, in its file-descriptor store.

While they are open the probe stays attached and its ring takes kills, whether the service runs or not. See FDSTORE=1
in sd_notify(3), FileDescriptorStoreMax= in systemd.service(5). Standard library only: both stages may import it.
"""

import os
import time
from collections.abc import Iterable, Mapping

from oomkilld.service.notify import Notifier
from oomkilld.stderr import WARNING, say

_FIRST_FD = 3  # SD_LISTEN_FDS_START
# For so long a manager that is too busy is asked again.
_PATIENCE_SECONDS = 5.0

RING, COUNTERS, ARMING = "ring", "counters", "arming"

# Open files by name, of each probe by its mark, see arm/fingerprint.py.
Kept = dict[str, dict[str, int]]


def probe(number: int) -> str:
    """The name of one of the files that keep the probe attached."""
    return f"probe-{number}"


def take(environment: Mapping[str, str]) -> Kept:
    """What was kept, and is open now. The manager still keeps it, too."""
    kept: Kept = {}
    names = environment.get("LISTEN_FDNAMES")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not names:
        return kept
    for fd, full_name in enumerate(names.split(":"), start=_FIRST_FD):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            say(WARNING, f"Failed to take over file {fd} of $LISTEN_FDNAMES: {error.strerror}, ignoring")
            continue
        name, _dot, mark = full_name.partition(".")
        kept.setdefault(mark, {})[name] = fd
    return kept


def keep(notifier: Notifier, fds: Mapping[str, int], mark: str) -> bool:
    """Have them kept. False: there is no manager, or it takes nothing.

    One that was not told to keep files (FileDescriptorStoreMax=) closes them, and does not say so.
    """
    if not notifier.listens:
        return False
    # Not polled: what is open of a probe looks as if it were at its end.
    return all(_send(notifier, ("FDSTORE=1", "FDPOLL=0", f"FDNAME={name}.{mark}"), fd) for name, fd in fds.items())


def forget(notifier: Notifier, names: Iterable[str], mark: str) -> None:
    """Have them closed."""
    for name in names:
        _send(notifier, ("FDSTOREREMOVE=1", f"FDNAME={name}.{mark}"))


def forget_others(notifier: Notifier, kept: Kept, mark: str) -> None:
    """Have all closed that have another mark."""
    for other, fds in kept.items():
        if other != mark:
            forget(notifier, fds, other)


def _send(notifier: Notifier, assignments: Iterable[str], *fds: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not notifier.send(*assignments, fds=fds):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
