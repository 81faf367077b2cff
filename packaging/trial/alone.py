# SPDX-License-Identifier: Apache-2.0
"""The service in the foreground, beside a journald of its own: for systems where systemd does not run."""

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

from trial import mounts
from trial.failure import TrialFailed
from trial.interrupts import Interrupts

JOURNALD = "/usr/lib/systemd/systemd-journald"
_READY_WITHIN_SECONDS = 120
_JOURNALD_WITHIN_SECONDS = 10
_END_WITHIN_SECONDS = 10
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_RUN = Path("/run")
_CGROUPS = Path("/sys/fs/cgroup")
# Above every file of the machine's: in memory only, and nothing of the kernel is switched on or off for it.
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
    """One that tells ``manager`` how it is, sd_notify(3)."""

    name: str
    process: "subprocess.Popen[bytes]"
    manager: socket.socket

    def wait_until_ready(self, seconds: float = _READY_WITHIN_SECONDS) -> None:
        """Raises TrialFailed with the status of one that ended instead."""
        deadline = time.monotonic() + seconds
        while "READY=1" not in self.told():
            status = self.process.poll()
            if status is not None:
                raise TrialFailed(f"{self.name} ended with status {status}", "it says why above", max(status, 1))
            if time.monotonic() > deadline:
                raise TrialFailed(f"{self.name} was not ready within {seconds} s", "report this")
            time.sleep(0.05)

    def told(self) -> list[str]:
        """The lines of its next message; none while there is no message."""
        try:
            return self.manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return []


@contextmanager
def stand_alone(program: Path, interrupts: Interrupts) -> Iterator[None]:
    """Ready when this is entered. Needs a mount namespace of our own. Raises TrialFailed."""
    make_run_private()
    with interrupts.guarded(journald()) as journal:
        journal.wait_until_ready(_JOURNALD_WITHIN_SECONDS)
        with interrupts.guarded(running(program)) as service:
            service.wait_until_ready()
            yield


def make_run_private(settings: str = "") -> None:
    """A /run of our own, in a mount namespace of our own, ready for journald. ``settings``: more of journald's."""
    mounts.mount("tmpfs", str(_RUN))
    # journald insists on a hierarchy there; a chroot may show an empty directory.
    if not _CGROUPS.is_mount():
        mounts.mount("cgroup2", str(_CGROUPS))
    (_RUN / "systemd/journal").mkdir(parents=True)
    file = _RUN / "systemd/journald.conf.d/zzzz-oomkilld-try.conf"
    file.parent.mkdir()
    file.write_text(_JOURNALD_SETTINGS + settings)


def journald() -> AbstractContextManager[Process]:
    """The journald of such a /run."""
    return running(Path(JOURNALD), JOURNALD_ENVIRONMENT)


@contextmanager
def running(program: Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """That program, ended in the end. What it says goes to stderr."""
    # Kernels before 5.11 count BPF maps as locked memory; on later ones nothing is lost without the right to it.
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
            start_new_session=True,  # at Ctrl-C it is we who end it, in order
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
            # Its compiler may have been at work, in the same session.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            address.unlink()
