# SPDX-License-Identifier: Apache-2.0
"""Starts a process that runs out of memory in a cgroup, so that the kernel kills it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from oomkilld.testkill import memorycgroup, mounts
from oomkilld.testkill.failure import TrialFailed
from oomkilld.testkill.interrupts import Interrupts

LIMIT_BYTES = 30 << 20
ATTEMPTS = 10
_END_WITHIN_SECONDS = 20
_REFUSED = 3
# It takes more than the limit, but not enough to hurt the machine if the limit is not in force.
_PROGRAM = f"""
import sys
open(sys.argv[1], "w").write("0")
open("/proc/self/oom_score_adj", "w").write("0")
open("/proc/self/comm", "w").write(sys.argv[2])
try:
    bytearray(100 << 20)
except MemoryError:
    sys.exit({_REFUSED})
"""
_INTERPRETER = ("/usr/bin/python3", "-I", "-S", "-c", _PROGRAM)


class Victim(NamedTuple):
    """The killed process; in a PID namespace, its number on the host differs from ``pid``."""

    name: str
    pid: int
    killed_at: float  # time.time() just before


@contextmanager
def room(scratch: Path) -> Iterator[Path]:
    """A cgroup whose children may have a memory limit. Raises TrialFailed."""
    memory = memorycgroup.hierarchy(Path("/proc/self/cgroup").read_text())
    if memory is None:
        raise TrialFailed("this kernel has no cgroups for memory", "run a kernel with CONFIG_MEMCG=y")
    mounted = scratch / "cgroup"
    mounted.mkdir()
    with ExitStack() as stack:
        try:
            # A mount of our own, in our own mount namespace: a chroot may not show the machine's.
            kind, options = memory.mount_arguments
            mounts.mount(kind, str(mounted), options)
            stack.callback(mounts.unmount, str(mounted))
            parent = stack.enter_context(
                memorycgroup.room_for_groups(mounted, memory.own, unified=memory.controllers is None)
            )
        except OSError as error:
            raise TrialFailed(
                f"failed to create a cgroup with a memory limit: {error}", "in a container, run it on its host"
            ) from error
        yield parent


def kill_one(parent: Path, name: str, interrupts: Interrupts) -> Victim:
    """Let the kernel kill a process called ``name``, in a cgroup of that name below ``parent``. Raises TrialFailed."""
    with interrupts.guarded(memorycgroup.memory_cgroup(parent / name, LIMIT_BYTES)) as group:
        command = (*_INTERPRETER, str(group.procs), name)
        for _attempt in range(ATTEMPTS):
            killed_at = time.time()
            pid, status = _run(command, interrupts)
            # A SIGKILL from elsewhere is no kill by the kernel.
            if status == -signal.SIGKILL and group.kills():
                return Victim(name, pid, killed_at)
            if status == 0:
                raise TrialFailed("the memory limit is not in force here", "in a container, run it on its host")
    raise _spared(status)


def kill_one_in_scope(
    name: str, interrupts: Interrupts, systemd_run: str, kills: Callable[[], int | None]
) -> Victim | None:
    """The same in a scope of systemd. None: systemd runs no scope here, or does not limit its memory.

    ``kills``: the kernel's own count. Raises TrialFailed.
    """
    limits = (f"MemoryMax={LIMIT_BYTES}", "MemorySwapMax=0")
    options = ("--quiet", "--scope", "--collect", *(f"--property={limit}" for limit in limits))
    # systemd moves the process into the cgroup, so it need not do that itself.
    program = (*_INTERPRETER, os.devnull, name)
    for attempt in range(ATTEMPTS):
        before, killed_at, scope = kills(), time.time(), f"{name}-{attempt}.scope"
        with _stopped_if_left_early(scope):
            pid, status = _run((systemd_run, *options, f"--unit={scope}", *program), interrupts)
        if status == -signal.SIGKILL and kills() != before:
            return Victim(name, pid, killed_at)
        if status not in (-signal.SIGKILL, _REFUSED):
            return None
    raise _spared(status)


@contextmanager
def _stopped_if_left_early(scope: str) -> Iterator[None]:
    # With version 1 of cgroups in a container, systemd does not notice that a scope is empty.
    try:
        yield
    except BaseException:
        command = ("systemctl", "stop", scope)
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        raise


def _spared(status: int) -> TrialFailed:
    return TrialFailed(
        f"the kernel killed none of {ATTEMPTS} processes; the last one ended with status {status}",
        "try it once more",
    )


def _run(command: Sequence[str], interrupts: Interrupts) -> tuple[int, int]:
    """Pid and exit status."""
    with interrupts.guarded(_started(command)) as process:
        return process.pid, _end(process)


@contextmanager
def _started(command: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _end(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait(_END_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        raise TrialFailed("the process that was to be killed hangs", "look at the kernel log: dmesg") from None
