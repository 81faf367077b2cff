# SPDX-License-Identifier: Apache-2.0
"""Runs the service in the foreground, beside a private journald: for systems where systemd does not run."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from oomkilld.testkill import mounts
from oomkilld.testkill.failure import TrialFailed
from oomkilld.testkill.interrupts import Interrupts

JOURNALD = "/usr/lib/systemd/systemd-journald"
_READY_WITHIN_SECONDS = 120
_JOURNALD_WITHIN_SECONDS = 10
_END_WITHIN_SECONDS = 10
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_RUN = Path("/run")
_CGROUPS = Path("/sys/fs/cgroup")
# Overrides the machine's files: this journald stores in memory only, and changes no setting of the kernel.
_JOURNALD_SETTINGS = """\
[Journal]
Storage=volatile
Audit=
ReadKMsg=no
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
"""
JOURNALD_ENVIRONMENT = {"SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_LEVEL": "warning"}


class Process(NamedTuple):
    """A running program that reports its state to ``manager``, sd_notify(3)."""

    name: str
    process: "subprocess.Popen[bytes]"
    manager: socket.socket

    def wait_until_ready(self, seconds: float = _READY_WITHIN_SECONDS) -> None:
        """Raises TrialFailed after ``seconds``, or with the exit status if the process ended instead."""
        deadline = time.monotonic() + seconds
        while "READY=1" not in self.told():
            status = self.process.poll()
            if status is not None:
                raise TrialFailed(f"{self.name} ended with status {status}", "its messages say why", max(status, 1))
            if time.monotonic() > deadline:
                raise TrialFailed(f"{self.name} was not ready within {seconds} s", "report this")
            time.sleep(0.05)

    def told(self) -> list[str]:
        """The lines of its next message; empty while there is no message."""
        try:
            return self.manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return []


@contextmanager
def stand_alone(program: Path, interrupts: Interrupts) -> Iterator[None]:
    """The service is ready inside the block. Needs a private mount namespace. Raises TrialFailed."""
    make_run_private()
    with interrupts.guarded(journald()) as journal:
        journal.wait_until_ready(_JOURNALD_WITHIN_SECONDS)
        with interrupts.guarded(running(program)) as service:
            service.wait_until_ready()
            yield


def make_run_private(settings: str = "") -> None:
    """Mount, in a private mount namespace, a /run for journald. ``settings``: more lines for its configuration."""
    mounts.mount("tmpfs", str(_RUN))
    # journald insists on a cgroup hierarchy there; in a chroot the directory may be empty.
    if not _CGROUPS.is_mount():
        mounts.mount("cgroup2", str(_CGROUPS))
    (_RUN / "systemd/journal").mkdir(parents=True)
    file = _RUN / "systemd/journald.conf.d/zzzz-oomkilld-try.conf"
    file.parent.mkdir()
    file.write_text(_JOURNALD_SETTINGS + settings)


def journald() -> AbstractContextManager[Process]:
    """A journald that uses this /run."""
    return running(Path(JOURNALD), JOURNALD_ENVIRONMENT)


@contextmanager
def running(program: Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Runs ``program`` and ends it when the block ends. Its output goes to stderr."""
    # Kernels before 5.11 count BPF maps as locked memory; later ones do not need this limit.
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    address = _RUN / f"{program.name}.notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(address))
        process = subprocess.Popen(
            [program],
            stdin=subprocess.DEVNULL,
            stdout=2,
            env={**_ENVIRONMENT, **(environment or {}), "NOTIFY_SOCKET": str(address)},
            start_new_session=True,  # Ctrl-C must not reach it: we end it, in order
        )
        try:
            yield Process(program.name, process, manager)
        finally:
            process.terminate()
            try:
                process.wait(_END_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # Its compiler may still run, in the same session.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            address.unlink()
