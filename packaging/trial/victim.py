# SPDX-License-Identifier: Apache-2.0
"""A test process that runs out of memory in a cgroup, so that the kernel kills it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from trial import memorycgroup, mounts
from trial.failure import TrialFailed
from trial.interrupts import Interrupts

LIMIT_BYTES = 30 << 20
ATTEMPTS = 10
_END_WITHIN_SECONDS = 20
# It takes more than the limit, but not enough to hurt the machine if the limit is not in force.
_PROGRAM = """
import sys
open(sys.argv[1], "w").write("0")
open("/proc/self/oom_score_adj", "w").write("0")
open("/proc/self/comm", "w").write(sys.argv[2])
bytearray(100 << 20)
"""


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


def kill_one(parent: Path, interrupts: Interrupts) -> Victim:
    """Retries if the kernel refused memory to the process instead of killing it. Raises TrialFailed."""
    name = f"oom-try-{os.getpid()}"
    with interrupts.guarded(memorycgroup.memory_cgroup(parent / name, LIMIT_BYTES)) as group:
        for _attempt in range(ATTEMPTS):
            killed_at = time.time()
            with interrupts.guarded(_eater(group.procs, name)) as process:
                status = _end(process)
            # A SIGKILL from elsewhere is no kill by the kernel.
            if status == -signal.SIGKILL and group.kills():
                return Victim(name, process.pid, killed_at)
            if status == 0:
                raise TrialFailed("the memory limit is not in force here", "in a container, run it on its host")
    raise TrialFailed(
        f"the kernel killed none of {ATTEMPTS} processes; the last one ended with status {status}",
        "try it once more",
    )


@contextmanager
def _eater(procs: Path, name: str) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        ["/usr/bin/python3", "-I", "-S", "-c", _PROGRAM, procs, name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
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
