# SPDX-License-Identifier: Apache-2.0
"""The service for the length of a trial: a transient unit, or in the foreground beside a journald of its own."""

import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from trial import mounts
from trial.failure import TrialFailed
from trial.interrupts import Interrupts

JOURNALD = "/usr/lib/systemd/systemd-journald"
ALREADY_RUNNING = 75
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
# Of packaging/oomkilld.service: what it runs, and how it is run again, are other here.
_OWN_DIRECTIVES = ("ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus", "RuntimeDirectoryPreserve")


class _Process(NamedTuple):
    """One that tells ``manager`` when it is ready."""

    name: str
    process: "subprocess.Popen[bytes]"
    manager: socket.socket


@contextmanager
def transient_unit(program: Path, unit_file: Path, interrupts: Interrupts) -> Iterator[None]:
    """Ready when this is entered. Raises TrialFailed with the service's own status."""
    unit = f"oomkilld-try-{os.getpid()}.service"
    # Its directory is kept only if it was there.
    kept = "yes" if (_RUN / "oomkilld").exists() else "no"
    properties = [*directives(unit_file), f"RuntimeDirectoryPreserve={kept}"]
    words = [word for each in properties for word in ("-p", each)]
    with interrupts.guarded(_taken_away(unit)):
        started = _run("systemd-run", "--quiet", f"--unit={unit}", *words, str(program))
        if started.returncode:
            status = _run("systemctl", "show", "--value", "-p", "ExecMainStatus", unit).stdout.strip()
            said = _run("journalctl", "--no-pager", "-o", "cat", "-u", unit, "SYSLOG_IDENTIFIER=oomkilld").stdout
            raise TrialFailed(said.strip() or started.stderr.strip(), "", int(status or 0) or 1)
        yield


@contextmanager
def stand_alone(program: Path, interrupts: Interrupts) -> Iterator[None]:
    """Ready when this is entered. Needs a mount namespace of our own. Raises TrialFailed."""
    mounts.mount("tmpfs", str(_RUN))
    # journald insists on a hierarchy there; a chroot may show an empty directory.
    if not _CGROUPS.is_mount():
        mounts.mount("cgroup2", str(_CGROUPS))
    (_RUN / "systemd/journal").mkdir(parents=True)
    settings = _RUN / "systemd/journald.conf.d/zzzz-oomkilld-try.conf"
    settings.parent.mkdir()
    settings.write_text(_JOURNALD_SETTINGS)
    # Kernels before 5.11 count BPF maps as locked memory; on later ones nothing is lost without the right to it.
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log = {"SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_LEVEL": "warning"}
    with interrupts.guarded(_running(JOURNALD, log)) as journald:
        _wait_until_ready(journald, _JOURNALD_WITHIN_SECONDS)
        with interrupts.guarded(_running(str(program), {})) as service:
            _wait_until_ready(service, _READY_WITHIN_SECONDS)
            yield


def directives(unit_file: Path) -> Iterator[str]:
    """The [Service] section but for what a trial does its own way."""
    section = ""
    for line in unit_file.read_text().splitlines():
        if line.startswith("["):
            section = line
        name, assigned, _value = line.partition("=")
        if section == "[Service]" and assigned and name not in _OWN_DIRECTIVES and not name.startswith("#"):
            yield line


@contextmanager
def _taken_away(unit: str) -> Iterator[None]:
    try:
        yield
    finally:
        _run("systemctl", "--quiet", "stop", unit)
        _run("systemctl", "--quiet", "reset-failed", unit)


@contextmanager
def _running(program: str, environment: Mapping[str, str]) -> Iterator[_Process]:
    """That program, ended in the end. What it says goes to stderr."""
    name = Path(program).name
    address = _RUN / f"{name}.notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(address))
        process = subprocess.Popen(
            [program],
            stdin=subprocess.DEVNULL,
            stdout=2,
            env={**_ENVIRONMENT, **environment, "NOTIFY_SOCKET": str(address)},
            start_new_session=True,  # at Ctrl-C it is we who end it, in order
        )
        try:
            yield _Process(name, process, manager)
        finally:
            process.terminate()
            try:
                process.wait(_END_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: _Process, seconds: float) -> None:
    """Until it says so, sd_notify(3)."""
    deadline = time.monotonic() + seconds
    while b"READY=1" not in _told(process.manager):
        status = process.process.poll()
        if status is not None:
            raise TrialFailed(f"{process.name} ended with status {status}", "it says why above", max(status, 1))
        if time.monotonic() > deadline:
            raise TrialFailed(f"{process.name} was not ready within {seconds} s", "report this")
        time.sleep(0.05)


def _told(manager: socket.socket) -> list[bytes]:
    try:
        return manager.recv(4096).split(b"\n")
    except BlockingIOError:
        return []


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
