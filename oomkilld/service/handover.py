# SPDX-License-Identifier: Apache-2.0
"""Hands over from stage to stage in one process: open files with names, and a sealed order.

The stages use systemd's own convention (LISTEN_FDS, LISTEN_FDNAMES, sd_listen_fds(3)), the one by which systemd passes
stored files. Standard library only: both stages import it.
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
    """The facts that arming established; they hold as long as its probe is attached."""

    level: str
    level_failures: dict[str, str]  # why each better level does not work, by name
    level_below: str | None  # the level to step down to if this one proves unreliable
    exact: bool  # whether the level is unreliable if it misses a kill that the kernel counts
    ring_bytes: int
    probes: int  # number of files that keep the probe attached; 0: the level has no probe
    made_boottime_ns: int  # time right before the probe was made
    kills_before: int | None  # the kernel's count of kills at that time; None: the kernel has no count
    constraints: list[str]  # the kernel's names of oom_control.constraint, by number
    gfp_names: dict[str, int]  # the kernel's names of masks of gfp flags, in its order; empty: unknown


class Recording(NamedTuple):
    """The settings that the resident stage needs."""

    priority: int
    log_priority: int
    meminfo: str | list[str]  # "common", "all", or keys of rows
    statistics: str  # "common" or "all"
    outcome: str  # which outcomes of victims get an entry: "stuck" or "all"
    reduce_from: int  # number of kills of one owner that make a flood; 0: never
    cmdline: str  # "off", "first-argument" or "full"
    redact: list[str]  # patterns, see patterns.py
    recorder_cgroups: int  # at most so many cgroups are sampled; 0: the flight recorder is off

    @property
    def meminfo_keys(self) -> list[str]:
        return [] if isinstance(self.meminfo, str) else self.meminfo


class Order(NamedTuple):
    """The order to the resident stage: validated settings, and the facts that arming established."""

    arming: Arming
    kept: bool  # whether the manager keeps the probe's files for the next run
    level_before: str | None  # of the previous run in this boot; None: this is the first
    recording: Recording
    instead: str  # which settings are used in place of an invalid configuration; empty: the configuration is valid


class BrokenHandover(OomkilldError):
    """The resident stage was started without an order of the arming stage."""

    exit_status = 2


def hand_over(order: Order, fds: Mapping[str, int]) -> NoReturn:
    """Become the resident stage: the same process, with ``fds`` open and known by their names."""
    told = {**order._asdict(), "arming": order.arming._asdict(), "recording": order.recording._asdict()}
    # Not JSON: its parser would stay resident, 130 kB. marshal is safe here: only this stage can write the order.
    fds = {**fds, _ORDER: seal(marshal.dumps(told))}
    # Move each file out of the way first, then to its final number.
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD + len(fds)) for fd in fds.values()]
    for target, fd in enumerate(parked, start=_FIRST_FD):
        os.dup2(fd, target, inheritable=True)
    environment = {
        **os.environ,
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(fds)),
        "LISTEN_FDNAMES": ":".join(fds),
    }
    # -I: neither PYTHONPATH nor the current directory can replace a module.
    os.execve(sys.executable, [sys.executable, "-I", "-c", _BOOTSTRAP, PACKAGE_ROOT], environment)


def receive() -> tuple[Order, dict[str, int]]:
    """Return the order and the file descriptors by name. Raises BrokenHandover if this process got none."""
    environment = os.environ
    if environment.get("LISTEN_PID") != str(os.getpid()):
        raise BrokenHandover("the resident stage cannot be started by hand", "run `oomkilld`")
    names = environment["LISTEN_FDNAMES"].split(":")
    fds = {name: _FIRST_FD + i for i, name in enumerate(names)}
    for fd in fds.values():
        os.set_inheritable(fd, False)
    told = _unseal(fds.pop(_ORDER))
    arming, recording = Arming(**told.pop("arming")), Recording(**told.pop("recording"))
    return Order(arming=arming, recording=recording, **told), fds


def seal(content: bytes) -> int:
    """Write ``content`` to a memory file that nobody can change any more."""
    fd = os.memfd_create("oomkilld-order", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def _unseal(fd: int) -> dict[str, Any]:
    with open(fd, "rb") as file:
        file.seek(0)
        told: dict[str, Any] = marshal.load(file)
        return told
