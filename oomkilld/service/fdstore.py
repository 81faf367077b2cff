# SPDX-License-Identifier: Apache-2.0
"""The service manager's file-descriptor store, which keeps the open files of a probe for the next run.

While they are open, the probe stays attached and its ring records kills, even if the service is stopped. See FDSTORE=1
in sd_notify(3), FileDescriptorStoreMax= in systemd.service(5). Standard library only: both stages may import it.
"""

import os
import time
from collections.abc import Iterable, Mapping

from oomkilld.service.notify import Notifier
from oomkilld.stderr import WARNING, say

_FIRST_FD = 3  # SD_LISTEN_FDS_START
# How long to retry while the manager is too busy.
_PATIENCE_SECONDS = 5.0

RING, COUNTERS, ARMING = "ring", "counters", "arming"

# Mark of a probe (see arm/fingerprint.py) -> name -> open file.
Kept = dict[str, dict[str, int]]


def probe(number: int) -> str:
    """The name of a file that keeps the probe attached."""
    return f"probe-{number}"


def take(environment: Mapping[str, str]) -> Kept:
    """Take over the files that the manager kept. The manager still keeps them, too."""
    kept: Kept = {}
    names = environment.get("LISTEN_FDNAMES")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not names:
        return kept
    for fd, full_name in enumerate(names.split(":"), start=_FIRST_FD):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            say(WARNING, f"Failed to take over file {fd} of systemd's: {error.strerror}, attaching anew")
            continue
        name, _dot, mark = full_name.partition(".")
        kept.setdefault(mark, {})[name] = fd
    return kept


def keep(notifier: Notifier, fds: Mapping[str, int], mark: str) -> bool:
    """Store the files with the manager. False: there is no manager, or it accepts nothing.

    A manager that is not configured to keep files (FileDescriptorStoreMax=) closes them without an error.
    """
    if not notifier.listens:
        return False
    # FDPOLL=0: polling a probe's files reports an end, and the manager would drop them.
    return all(_send(notifier, ("FDSTORE=1", "FDPOLL=0", f"FDNAME={name}.{mark}"), fd) for name, fd in fds.items())


def forget(notifier: Notifier, names: Iterable[str], mark: str) -> None:
    """Make the manager close these files."""
    for name in names:
        _send(notifier, ("FDSTOREREMOVE=1", f"FDNAME={name}.{mark}"))


def forget_others(notifier: Notifier, kept: Kept, mark: str) -> None:
    """Make the manager close all files of probes with another mark."""
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
