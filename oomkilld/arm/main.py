# SPDX-License-Identifier: Apache-2.0
"""The arming stage with the compiler, from start to exec: level, headers, compiler, settings, handover."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from oomkilld.arm import gfpnames, headers, headertree, keptprogram
from oomkilld.arm.armed import Armed, Found, Made, become_resident
from oomkilld.arm.btf import Btf
from oomkilld.arm.compiler import Compiler, Job
from oomkilld.arm.fingerprint import Fingerprint, program_mark
from oomkilld.arm.keptprogram import KeptProgram, Unusable
from oomkilld.arm.order import wanted_probe
from oomkilld.arm.select import arm_wanted, none_works, set_aside
from oomkilld.config import validated
from oomkilld.errors import CaptureUnavailable
from oomkilld.host.levels import LEVELS, NAMES, Level, lacking_functions, wanted_levels, wanted_symbols
from oomkilld.host.procfs import ProcReader
from oomkilld.host.system import TEXT, System, no_address
from oomkilld.recordlayout import ring_bytes
from oomkilld.service import fdstore, rundir
from oomkilld.stderr import WARNING, say


def run(compiler: Compiler, kept: fdstore.Kept, lock: int, settings: validated.Chosen | None) -> NoReturn:
    """Arm, release ``kept`` and become the resident stage. Raises OomkilldError if that is not possible.

    ``lock``: from take_lock; the resident stage takes it over. ``settings``: if they are loaded already.

    The slow steps run in parallel. The child loads bcc while this process reads facts about the kernel. Then the child
    compiles the most likely job while this process imports pydantic and validates the settings, unless they are
    validated already.
    """
    system = System()
    fingerprint = Fingerprint(system)
    symbols = system.symbols({*wanted_symbols(), *headers.ADDRESSES, TEXT})
    obstacles = {level.name: obstacle for level in LEVELS if (obstacle := level.obstacle(system, symbols))}
    if len(obstacles) == len(LEVELS):
        raise none_works(obstacles)
    lacking = lacking_functions(symbols)
    # The audit starts from this count: a later kill that is not seen is missing.
    found = Found([], {}, ProcReader().oom_kills(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), lacking)
    addresses = tuple(symbols.get(name, 0) for name in headers.ADDRESSES)
    warnings: list[str] = []
    with ExitStack() as stack:
        tree = None
        if any(level.hooks and level.name not in obstacles for level in LEVELS):
            try:
                tree, btf = stack.enter_context(_header_tree())
            except CaptureUnavailable as error:
                obstacles = {level.name: error for level in LEVELS if level.hooks} | obstacles
            else:
                ceiling = rundir.read_ceiling(rundir.RUNTIME_DIRECTORY, NAMES)
                usual = Job(str(tree), 0, "", cmdline=False, lacking=lacking, addresses=addresses)
                _prepare(compiler, usual, obstacles | set_aside(LEVELS, ceiling))
                gfp_names, warnings = _gfp_names(system, btf)
                found = found._replace(constraints=headers.constraint_names(btf), gfp_names=gfp_names)
                warnings += _unlocated(btf, symbols)
                btf.close()
        for warning in warnings:
            say(WARNING, warning)
        settings = settings or validated.load(rundir.lasting_directory())
        wanted = wanted_probe(settings, rundir.RUNTIME_DIRECTORY)

        def arm(level: Level) -> Armed | None:
            if not level.hooks:
                return None
            assert tree is not None  # else it has an obstacle
            job = Job(str(tree), wanted.ring_bytes, level.name, wanted.cmdline, lacking, addresses)
            return compiler.arm(job)

        made = arm_wanted(settings, obstacles, found, arm)
    compiler.close()  # still running if the level has no probe
    mark = fingerprint.mark(wanted)
    _keep(made, mark, system, symbols, warnings)
    become_resident(made, mark, system, lock, kept)


@contextmanager
def _header_tree() -> Iterator[tuple[Path, Btf]]:
    """Make the header tree for this kernel; yield it and the types it was made from. The lock must be held."""
    # Below a directory that only root can read or write: nobody else can plant a header.
    tree = headertree.path(rundir.RUNTIME_DIRECTORY)
    btf = Btf()
    try:
        headers.write_tree(tree, btf)
        yield tree, btf
    finally:
        headertree.remove(rundir.RUNTIME_DIRECTORY)


def _unlocated(btf: Btf, symbols: Mapping[str, int]) -> list[str]:
    """A warning if memory counters are not found. ``symbols``: see System.symbols()."""
    if symbols.get(headers.PER_CPU_OFFSET) or not headers.counts_per_cpu(btf):
        return []
    why = no_address(symbols, headers.PER_CPU_OFFSET)
    return [f"Failed to locate the memory counters of processes: {why}, using the kernel's log instead"]


def _gfp_names(system: System, btf: Btf) -> tuple[dict[str, int], list[str]]:
    """The kernel's names of gfp flags: from tracefs, or else those that BTF has, and a warning if it must have more."""
    event_format = system.event_format(gfpnames.EVENT)
    warnings = []
    if event_format is not None:
        try:
            return gfpnames.flag_list(event_format, btf.enumerators), []
        except gfpnames.NotUnderstood as error:
            warnings.append(
                f"Failed to read the names of GFP flags from tracefs: {error}, "
                "listing single flags in OOM_GFP_FLAGS instead of names such as GFP_KERNEL"
            )
    return gfpnames.single_bits(btf.enumerators), warnings


def _prepare(compiler: Compiler, usual: Job, obstacles: Collection[str]) -> None:
    """Start compiling what the settings will want if they keep the defaults: ``usual``, for a level and a ring."""
    from oomkilld.config import files as configfiles  # imported only when the child is busy: tomllib is slow, too

    if not configfiles.mention("capture") and not configfiles.mention("entry", "cmdline"):
        best = next((level for level in LEVELS if level.name not in obstacles), None)
        if best is not None and best.hooks:
            size = ring_bytes(configfiles.DEFAULT_RING_BYTES)
            compiler.prepare(usual._replace(ring_bytes=size, level=best.name))


def _keep(made: Made, mark: str, system: System, symbols: Mapping[str, int], warnings: list[str]) -> None:
    """Keep the program for the next start, unless a better level was tried in vain: next time it may work."""
    directory, start = rundir.state_directory(), symbols.get(TEXT, 0)
    located = [symbols.get(name, 0) for name in headers.ADDRESSES]
    if directory is None or made.armed is None or not made.by_obstacles or (any(located) and not start):
        return
    try:
        kept = KeptProgram(
            level=made.arming.level,
            program=made.armed.compiled(),
            addresses=[address - start if address else None for address in located],
            functions=sorted(wanted_symbols() & symbols.keys()),
            type_ids=_type_ids(made.arming.level, symbols),
            constraints=made.arming.constraints,
            gfp_names=made.arming.gfp_names,
            warnings=warnings,
        )
        keptprogram.write(Path(directory), program_mark(mark, system, visible=start != 0), kept)
    except (OSError, Unusable) as error:
        say(WARNING, f"Failed to keep the program for the next start: {error}, ignoring")


def _type_ids(level: str, symbols: Mapping[str, int]) -> list[int]:
    """The ids of the hooked functions in the kernel's types; for hooks that need none, 0."""
    (wanted,) = wanted_levels(level)
    lacking = lacking_functions(symbols)
    hooks = [hook for hook in wanted.hooks if hook.target not in lacking]
    if not any(hook.kind in ("fentry", "fexit") for hook in hooks):
        return [0] * len(hooks)
    btf = Btf()
    ids = [btf.function(hook.target) for hook in hooks]
    btf.close()
    return ids
