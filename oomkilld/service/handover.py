# SPDX-License-Identifier: Apache-2.0
"""From stage to stage in one process: open files, named as systemd names them, and a sealed order.

The stages agree on systemd's own convention (LISTEN_FDS, LISTEN_FDNAMES, sd_listen_fds(3)), so that file
descriptors kept by systemd's store can take the same way. Standard library only: both stages import it.
"""

import fcntl
import marshal
import os
import sys
from collections.abc import Mapping

from oomkilld.errors import OomkilldError
from oomkilld.lighttyping import Any, NamedTuple, NoReturn

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
# Where a new interpreter finds the package.
PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_FIRST_FD = 3
_ORDER = "order"
_BOOTSTRAP = """
import sys
sys.path.insert(0, sys.argv[1])
from oomkilld.__main__ import resident
sys.exit(resident())
"""


class Arming(NamedTuple):
    """What arming found out; true as long as its probe is attached."""

    level: str
    level_failures: dict[str, str]  # why each better level does not work, by name
    level_below: str | None  # to be taken when this one turns out to be wrong
    exact: bool  # whether a kill that the kernel counts and this one does not see means that it is
    ring_bytes: int
    probes: int  # how many files keep it attached; 0: it is no probe
    made_boottime_ns: int  # right before it was made
    kills_before: int | None  # that the kernel had counted then; None: it does not tell
    constraints: list[str]  # the kernel's names of oom_control.constraint, by number
    gfp_names: dict[str, int]  # the kernel's names of masks of gfp flags, in its order; empty: not known


class Recording(NamedTuple):
    """The settings that the resident stage needs."""

    priority: int
    log_priority: int
    meminfo: str | list[str]  # "common", "all", or keys of rows
    statistics: str  # "common" or "all"
    outcome: str  # which ends of victims to tell of: "stuck" or "all"
    reduce_from: int  # how many kills of one owner are a flood; 0: never
    cmdline: str  # "off", "first-argument" or "full"
    redact: list[str]  # patterns, see patterns.py

    @property
    def meminfo_keys(self) -> list[str]:
        """Those that were asked for by name."""
        return [] if isinstance(self.meminfo, str) else self.meminfo


class Order(NamedTuple):
    """What the resident stage is told: validated settings, and what arming found out."""

    arming: Arming
    kept: bool  # whether the manager has the files of the probe for the next run
    level_before: str | None  # of the run before in this boot; None: this is the first
    recording: Recording
    instead: str  # which settings these are where the configuration is not valid; empty: it is


class BrokenHandover(OomkilldError):
    """The resident stage was started without what the arming stage hands over."""

    exit_status = 2


def hand_over(order: Order, fds: Mapping[str, int]) -> NoReturn:
    """Become the resident stage: the same process, with ``fds`` open under their names."""
    told = {**order._asdict(), "arming": order.arming._asdict(), "recording": order.recording._asdict()}
    # Not JSON, whose reader stays resident: 130 kB. Only this stage can have written it.
    fds = {**fds, _ORDER: seal(marshal.dumps(told))}
    # First out of the way of the numbers they shall have, then onto them.
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD + len(fds)) for fd in fds.values()]
    for target, fd in enumerate(parked, start=_FIRST_FD):
        os.dup2(fd, target, inheritable=True)
    environment = {
        **os.environ,
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(fds)),
        "LISTEN_FDNAMES": ":".join(fds),
    }
    # -I: neither PYTHONPATH nor the current directory can put another module in place of ours.
    os.execve(sys.executable, [sys.executable, "-I", "-c", _BOOTSTRAP, PACKAGE_ROOT], environment)


def receive() -> tuple[Order, dict[str, int]]:
    """The order and the named file descriptors. Raises BrokenHandover when this process was given none."""
    environment = os.environ
    if environment.get("LISTEN_PID") != str(os.getpid()):
        raise BrokenHandover("the resident stage is not started by hand", "run `oomkilld`")
    names = environment["LISTEN_FDNAMES"].split(":")
    fds = {name: _FIRST_FD + i for i, name in enumerate(names)}
    for fd in fds.values():
        os.set_inheritable(fd, False)
    told = _unseal(fds.pop(_ORDER))
    arming, recording = Arming(**told.pop("arming")), Recording(**told.pop("recording"))
    return Order(arming=arming, recording=recording, **told), fds


def seal(content: bytes) -> int:
    """A file in memory that nobody can change any more."""
    fd = os.memfd_create("oomkilld-order", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def _unseal(fd: int) -> dict[str, Any]:
    with open(fd, "rb") as file:
        file.seek(0)
        told: dict[str, Any] = marshal.load(file)
        return told
