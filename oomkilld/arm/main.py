# SPDX-License-Identifier: Apache-2.0
"""The arming stage from start to exec: level, headers, compiler, settings, handover."""

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from oomkilld.arm import gfpnames, headers, headertree, keptarming
from oomkilld.arm.btf import Btf
from oomkilld.arm.compiler import Armed, Compiler, Job
from oomkilld.arm.fingerprint import Fingerprint
from oomkilld.arm.order import resident_order, wanted_probe
from oomkilld.arm.select import arm_best, level_below, none_works, set_aside
from oomkilld.config import validated
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoPrivilege, OomkilldError
from oomkilld.host.levels import LEVELS, NAMES, Level, lacking_functions, wanted_levels, wanted_symbols
from oomkilld.host.procfs import ProcReader
from oomkilld.host.system import System, no_address
from oomkilld.recordlayout import ring_bytes
from oomkilld.service import fdstore, rundir
from oomkilld.service.handover import Arming, hand_over
from oomkilld.service.notify import Notifier
from oomkilld.service.rundir import Ceiling
from oomkilld.stderr import WARNING, say

_DIRECTORY = Path(rundir.RUNTIME_DIRECTORY)


class _Found(NamedTuple):
    """Facts about the kernel, read before a probe is attached.

    Its names for numbers in the records; its count of kills (None: it has none) and the time of that reading since
    boot, which identifies the source that is made now; the functions that it lacks.
    """

    constraints: list[str]
    gfp_names: dict[str, int]
    kills: int | None
    asked_boottime_ns: int
    lacking: tuple[str, ...]


class _Made(NamedTuple):
    """A level that works: the settings it was made for, the facts that arming established, and its probe, if any."""

    settings: validated.Chosen
    arming: Arming
    armed: Armed | None


def run(compiler: Compiler, kept: fdstore.Kept, lock: int, settings: validated.Chosen | None) -> NoReturn:
    """Arm, release ``kept`` and become the resident stage. Raises OomkilldError if that is not possible.

    ``lock``: from take_lock; the resident stage takes it over. ``settings``: if they are loaded already.

    The slow steps run in parallel. The child loads bcc while this process reads facts about the kernel. Then the child
    compiles the most likely job while this process imports pydantic and validates the settings, unless they are
    validated already.
    """
    system = System()
    fingerprint = Fingerprint(system)
    symbols = system.symbols({*wanted_symbols(), *headers.ADDRESSES})
    obstacles = {level.name: obstacle for level in LEVELS if (obstacle := level.obstacle(system, symbols))}
    if len(obstacles) == len(LEVELS):
        raise none_works(obstacles)
    lacking = lacking_functions(symbols)
    # The audit starts from this count: a later kill that is not seen is missing.
    found = _Found([], {}, ProcReader().oom_kills(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), lacking)
    with ExitStack() as stack:
        tree = None
        if any(level.hooks and level.name not in obstacles for level in LEVELS):
            try:
                tree, btf = stack.enter_context(_header_tree(symbols))
            except CaptureUnavailable as error:
                obstacles = {level.name: error for level in LEVELS if level.hooks} | obstacles
            else:
                _prepare(compiler, tree, obstacles | set_aside(LEVELS, _ceiling()), found.lacking)
                found = found._replace(constraints=headers.constraint_names(btf), gfp_names=_gfp_names(system, btf))
                btf.close()
        made = _arm(compiler, tree, obstacles, found, settings or validated.load(_DIRECTORY))
    compiler.close()  # still running if the level has no probe
    _hand_over(made, fingerprint, system, lock, kept)


def _hand_over(made: _Made, fingerprint: Fingerprint, system: System, lock: int, kept: fdstore.Kept) -> NoReturn:
    """Drop the old probe only after the new one is attached and stored."""
    notifier = Notifier(os.environ.get("NOTIFY_SOCKET"))
    mark = fingerprint.mark(wanted_probe(made.settings, _DIRECTORY))
    fdstore.forget(notifier, kept.get(mark, {}), mark)  # incomplete: adopt.py did not take it over
    if made.armed is None:
        fds, is_kept = {"kmsg": system.open_kernel_log()}, False
    else:
        probes = {fdstore.probe(i): fd for i, fd in enumerate(made.armed.probes)}
        fds = {fdstore.RING: made.armed.ring, fdstore.COUNTERS: made.armed.counters, **probes}
        is_kept = fdstore.keep(notifier, {**fds, fdstore.ARMING: keptarming.keep(made.arming)}, mark)
    fdstore.forget_others(notifier, kept, mark)
    rundir.forget_kept_is_bad(_DIRECTORY)
    hand_over(resident_order(made.settings, made.arming, _DIRECTORY, kept=is_kept), {"lock": lock, **fds})


@contextmanager
def _header_tree(symbols: Mapping[str, int]) -> Iterator[tuple[Path, Btf]]:
    """Make the header tree for this kernel; yield it and the types it was made from. The lock must be held.

    ``symbols``: see System.symbols().
    """
    # Below a directory that only root can read or write: nobody else can plant a header.
    tree = headertree.path(_DIRECTORY)
    btf = Btf()
    addresses = {name: symbols[name] for name in headers.ADDRESSES if symbols.get(name)}
    if headers.PER_CPU_OFFSET not in addresses and headers.counts_per_cpu(btf):
        why = no_address(symbols, headers.PER_CPU_OFFSET)
        say(WARNING, f"Failed to locate the memory counters of processes: {why}, using the kernel's log instead")
    try:
        headers.write_tree(tree, btf, addresses)
        yield tree, btf
    finally:
        headertree.remove(_DIRECTORY)


def _gfp_names(system: System, btf: Btf) -> dict[str, int]:
    """The kernel's names of gfp flags: from tracefs, or else those that BTF has."""
    event_format = system.event_format(gfpnames.EVENT)
    if event_format is not None:
        try:
            return gfpnames.flag_list(event_format, btf.enumerators)
        except gfpnames.NotUnderstood as error:
            say(
                WARNING,
                f"Failed to read the names of GFP flags from tracefs: {error}, "
                "listing single flags in OOM_GFP_FLAGS instead of names such as GFP_KERNEL",
            )
    return gfpnames.single_bits(btf.enumerators)


def _prepare(compiler: Compiler, tree: Path, obstacles: Collection[str], lacking: tuple[str, ...]) -> None:
    """Start compiling what the settings will want if they keep the defaults."""
    from oomkilld.config import files as configfiles  # imported only when the child is busy: tomllib is slow, too

    if not configfiles.mention("capture") and not configfiles.mention("entry", "cmdline"):
        best = next((level for level in LEVELS if level.name not in obstacles), None)
        if best is not None and best.hooks:
            size = ring_bytes(configfiles.DEFAULT_RING_BYTES)
            compiler.prepare(Job(str(tree), size, best.name, cmdline=False, lacking=lacking))


def _arm(
    compiler: Compiler,
    tree: Path | None,
    obstacles: dict[str, OomkilldError],
    found: _Found,
    settings: validated.Chosen,
) -> _Made:
    """Attach the best level that the settings allow. Raises the errors of arm_best."""
    wanted = wanted_probe(settings, _DIRECTORY)
    levels = wanted_levels(wanted.level)
    # A level that the settings name is tried even if an earlier run set it aside.
    aside = set_aside(levels, _ceiling()) if len(levels) > 1 else {}

    def arm(level: Level) -> Armed | None:
        if not level.hooks:
            return None
        assert tree is not None  # else it has an obstacle
        return compiler.arm(Job(str(tree), wanted.ring_bytes, level.name, wanted.cmdline, found.lacking))

    try:
        best = arm_best(levels, aside | obstacles, arm)
    except (CaptureBroken, CaptureUnavailable, NoPrivilege):
        if not aside:
            raise
        best = arm_best(levels, obstacles, arm)
    arming = Arming(
        level=best.level,
        level_failures=best.failures,
        level_below=level_below(best.level, levels, obstacles),
        exact=next(level.exact for level in levels if level.name == best.level),
        ring_bytes=wanted.ring_bytes,
        probes=len(best.armed.probes) if best.armed else 0,
        made_boottime_ns=found.asked_boottime_ns,
        kills_before=found.kills,
        constraints=found.constraints,
        gfp_names=found.gfp_names,
    )
    return _Made(settings, arming, best.armed)


def _ceiling() -> Ceiling | None:
    return rundir.read_ceiling(_DIRECTORY, NAMES)
