# SPDX-License-Identifier: Apache-2.0
"""A level that works, and how its probe reaches stage record and the service manager's store."""

import os
from typing import NamedTuple, NoReturn

from oomkilld.arm import keptarming
from oomkilld.arm.keptprogram import Unusable
from oomkilld.arm.order import resident_order
from oomkilld.config import validated
from oomkilld.host.system import System
from oomkilld.service import fdstore, rundir
from oomkilld.service.handover import Arming, hand_over
from oomkilld.service.notify import Notifier


class Armed(NamedTuple):
    """Open file descriptors of the attached program. ``program``: see Program.dump(); or why there is none."""

    ring: int
    counters: int
    probes: list[int]
    program: bytes | str = ""

    def compiled(self) -> bytes:
        """The program. Raises Unusable."""
        if isinstance(self.program, str):
            raise Unusable(self.program)
        return self.program


class Found(NamedTuple):
    """Facts about the kernel, read before a probe is attached.

    Its names for numbers in the records; its count of kills (None: it has none) and the time of that reading since
    boot, which identifies the source that is made now; the functions that it lacks.
    """

    constraints: list[str]
    gfp_names: dict[str, int]
    kills: int | None
    asked_boottime_ns: int
    lacking: tuple[str, ...]


class Made(NamedTuple):
    """A level that works: the settings it was made for, the facts that arming established, and its probe, if any.

    ``by_obstacles``: no better level was tried in vain.
    """

    settings: validated.Chosen
    arming: Arming
    armed: Armed | None
    by_obstacles: bool


def become_resident(made: Made, mark: str, system: System, lock: int, kept: fdstore.Kept) -> NoReturn:
    """Drop the old probe only after the new one is attached and stored. ``mark``: see fingerprint.py."""
    notifier = Notifier(os.environ.get("NOTIFY_SOCKET"))
    fdstore.forget(notifier, kept.get(mark, {}), mark)  # incomplete: adopt.py did not take it over
    if made.armed is None:
        fds, is_kept = {"kmsg": system.open_kernel_log()}, False
    else:
        probes = {fdstore.probe(i): fd for i, fd in enumerate(made.armed.probes)}
        fds = {fdstore.RING: made.armed.ring, fdstore.COUNTERS: made.armed.counters, **probes}
        is_kept = fdstore.keep(notifier, {**fds, fdstore.ARMING: keptarming.keep(made.arming)}, mark)
    fdstore.forget_others(notifier, kept, mark)
    rundir.forget_kept_is_bad(rundir.RUNTIME_DIRECTORY)
    hand_over(resident_order(made.settings, made.arming, rundir.RUNTIME_DIRECTORY, kept=is_kept), {"lock": lock, **fds})
