# SPDX-License-Identifier: Apache-2.0
"""The arming stage from start to exec: settings, lock, level, headers, compiler, hand-over."""

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import NoReturn

from oomkilld import lastlevel
from oomkilld.arm import headers
from oomkilld.arm.best import arm_best, none_works
from oomkilld.arm.btf import Btf
from oomkilld.arm.child import arm_in_child
from oomkilld.arm.levels import PER_CPU_OFFSET, wanted_levels, wanted_symbols
from oomkilld.arm.system import System
from oomkilld.console import WARNING, say
from oomkilld.errors import AlreadyRunning, NoPrivilege, NoRoom
from oomkilld.handover import Order, hand_over
from oomkilld.lastlevel import RUNTIME_DIRECTORY
from oomkilld.settings import SYSLOG_LEVELS, Loaded


def run(loaded: Loaded) -> NoReturn:
    """Arm and become the resident stage. Raises OomkilldError when that is not possible."""
    settings = loaded.settings
    levels = wanted_levels(settings.capture.level)
    system = System()
    symbols = system.symbols(wanted_symbols())
    obstacles = {level.name: obstacle for level in levels if (obstacle := level.obstacle(system, symbols))}
    if len(obstacles) == len(levels):
        raise none_works(obstacles)
    lock = take_lock(RUNTIME_DIRECTORY)
    ring_bytes = max(int(settings.capture.ring_size), os.sysconf("SC_PAGESIZE"))
    # Below a directory that only root can write to: nobody else can plant a header.
    tree = RUNTIME_DIRECTORY / "headers"
    shutil.rmtree(tree, ignore_errors=True)  # of a start that was killed
    try:
        constraints = _write_headers(tree, symbols.get(PER_CPU_OFFSET) or None)
        best = arm_best(levels, obstacles, lambda level: arm_in_child(tree, ring_bytes, level))
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    order = Order(
        level=best.level,
        level_before=lastlevel.read(RUNTIME_DIRECTORY) or levels[0].name,
        level_failures=best.failures,
        ring_bytes=ring_bytes,
        priority=SYSLOG_LEVELS.index(settings.entry.priority),
        log_priority=SYSLOG_LEVELS.index(settings.log.level),
        meminfo=None if settings.entry.meminfo == "all" else settings.entry.meminfo,
        constraints=constraints,
    )
    probes = {f"probe-{i}": fd for i, fd in enumerate(best.armed.probes)}
    hand_over(order, {"lock": lock, "ring": best.armed.ring, "counters": best.armed.counters, **probes})


def _write_headers(tree: Path, per_cpu_offset: int | None) -> list[str]:
    """The header tree for this kernel; returns its names of constraints."""
    btf = Btf()
    if per_cpu_offset is None and headers.counts_per_cpu(btf):
        say(WARNING, "addresses of kernel symbols are hidden: the resident memory of victims will be absent, ignoring")
    headers.write_tree(tree, btf, per_cpu_offset)
    constraints = headers.constraint_names(btf)
    btf.close()
    return constraints


def take_lock(directory: Path) -> int:
    """Lock out a second instance for the life of the returned file descriptor.

    Raises AlreadyRunning while another holds it, NoPrivilege where the directory cannot be used.
    """
    try:
        directory.mkdir(mode=0o755, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        kind = NoRoom if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE) else NoPrivilege
        raise kind(
            f"{directory / 'lock'} cannot be opened: {error.strerror}",
            "start it as a service (`systemctl start oomkilld`) or as root",
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 20).decode(errors="replace").strip()
        os.close(fd)
        raise AlreadyRunning(
            f"another oomkilld records already (process {holder or 'unknown'})",
            "one is enough: see `systemctl status oomkilld`",
        ) from None
    os.truncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd
