# SPDX-License-Identifier: Apache-2.0
"""Makes the probe from the program that an earlier start compiled and kept, maybe in an earlier boot."""

import os
import time
from pathlib import Path

from oomkilld.arm import keptfiles, keptprogram, loader
from oomkilld.arm.armed import Armed, Found, Made, become_resident
from oomkilld.arm.fingerprint import Fingerprint, program_mark
from oomkilld.arm.keptprogram import KeptProgram, Program, Unusable
from oomkilld.arm.order import wanted_probe
from oomkilld.arm.select import arm_wanted
from oomkilld.config import validated
from oomkilld.errors import NO_ROOM
from oomkilld.host.levels import LEVELS, Level, lacking_functions
from oomkilld.host.procfs import ProcReader
from oomkilld.host.system import System
from oomkilld.service import fdstore, rundir
from oomkilld.stderr import INFO, WARNING, say


def run(state: str, kept: fdstore.Kept, lock: int, settings: validated.Chosen | None) -> validated.Chosen:
    """Become the resident stage with the program that is kept in the directory ``state``.

    If it cannot be used: log why, remove it, and return the settings. Other arguments: see main.run.
    Raises OomkilldError.
    """
    settings = settings or validated.load(rundir.lasting_directory())
    system, directory = System(), Path(state)
    mark = Fingerprint(system).mark(wanted_probe(settings, rundir.RUNTIME_DIRECTORY))
    made = None
    try:
        text_address = system.text_address()
        made = _made(_read(directory, system, mark, text_address), system, settings, text_address)
    except loader.Forbidden:
        pass  # the compiler meets the same, and reports it
    except Unusable as error:
        say(error.priority, f"Failed to use the kept program: {error}, compiling it")
        keptprogram.remove(directory)
    if made is not None:
        say(INFO, "attached the kept program, without compiling it")
        become_resident(made, mark, system, lock, kept)
    return settings


def _read(directory: Path, system: System, mark: str, text_address: int) -> KeptProgram:
    try:
        expected = program_mark(mark, system, visible=text_address != 0)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise Unusable(f"{error.filename}: {error.strerror}") from error
    return keptprogram.read(directory, expected)


def _made(kept: KeptProgram, system: System, settings: validated.Chosen, text_address: int) -> Made:
    """Attach the program, if its level is the best that works now. Raises Unusable, Forbidden and OomkilldError."""
    symbols = dict.fromkeys(kept.functions, text_address)
    obstacles = {level.name: obstacle for level in LEVELS if (obstacle := level.obstacle(system, symbols))}
    # The audit starts from this count, as in main.py.
    kills, now = ProcReader().oom_kills(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    found = Found(kept.constraints, kept.gfp_names, kills, now, lacking_functions(symbols))

    def arm(level: Level) -> Armed:
        if level.name != kept.level:
            raise Unusable(f"it was made for level {kept.level}, and {level.name} is now the best")
        hooks = [hook for hook in level.hooks if hook.target not in found.lacking]
        addresses = [0 if each is None or not text_address else text_address + each for each in kept.addresses]
        return loader.load(Program.parse(kept.program), hooks, kept.type_ids, addresses)

    made = arm_wanted(settings, obstacles, found, arm)
    _check(made)
    for warning in kept.warnings:
        say(WARNING, warning)
    return made


def _check(made: Made) -> None:
    """Raises Unusable, with the probe detached, if its files are not those of the level."""
    assert made.armed is not None  # a program has a level with hooks
    probes = {fdstore.probe(number): fd for number, fd in enumerate(made.armed.probes)}
    fds = {fdstore.RING: made.armed.ring, fdstore.COUNTERS: made.armed.counters, **probes}
    if wrong := keptfiles.wrong(made.arming, fds):
        for fd in fds.values():
            os.close(fd)
        raise Unusable(wrong)
