# SPDX-License-Identifier: Apache-2.0
"""Runs the service as a transient unit of this machine's systemd, with the directives of the shipped unit file."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oomkilld.testkill.failure import TrialFailed
from oomkilld.testkill.interrupts import Interrupts

_RUNTIME_DIRECTORY = Path("/run/oomkilld")
# The trial sets these directives of packaging/oomkilld.service (by their beginnings) itself: program, restart, and that
# nothing is kept for a later start.
_OWN_DIRECTIVES = ("Exec", "Restart", "RuntimeDirectoryPreserve", "StateDirectory")


@contextmanager
def transient_unit(program: Path, unit_file: Path, interrupts: Interrupts) -> Iterator[None]:
    """The service is ready inside the block. Raises TrialFailed with the service's exit status."""
    unit = f"oomkilld-try-{os.getpid()}.service"
    # Preserve its directory only if it existed before.
    kept = "yes" if _RUNTIME_DIRECTORY.exists() else "no"
    properties = [*directives(unit_file), f"RuntimeDirectoryPreserve={kept}"]
    words = [word for each in properties for word in ("-p", each)]
    with interrupts.guarded(_taken_away(unit)):
        started = _run("systemd-run", "--quiet", f"--unit={unit}", *words, str(program))
        if started.returncode:
            status = _run("systemctl", "show", "--value", "-p", "ExecMainStatus", unit).stdout.strip()
            said = _run("journalctl", "--no-pager", "-o", "cat", "-u", unit, "SYSLOG_IDENTIFIER=oomkilld").stdout
            raise TrialFailed(said.strip() or started.stderr.strip(), "", int(status or 0) or 1)
        yield


def directives(unit_file: Path) -> Iterator[str]:
    """The lines of the [Service] section, except _OWN_DIRECTIVES."""
    section = ""
    for line in unit_file.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", *_OWN_DIRECTIVES)):
            yield line


@contextmanager
def _taken_away(unit: str) -> Iterator[None]:
    try:
        yield
    finally:
        _run("systemctl", "--quiet", "stop", unit)
        _run("systemctl", "--quiet", "reset-failed", unit)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
