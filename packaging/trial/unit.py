# SPDX-License-Identifier: Apache-2.0
"""The service as a transient unit of the systemd that runs here, with the directives of the installed one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trial.failure import TrialFailed
from trial.interrupts import Interrupts

_RUNTIME_DIRECTORY = Path("/run/oomkilld")
# Of packaging/oomkilld.service, by their beginnings: what it runs, and how it is run again, are other here.
_OWN_DIRECTIVES = ("Exec", "Restart", "RuntimeDirectoryPreserve")


@contextmanager
def transient_unit(program: Path, unit_file: Path, interrupts: Interrupts) -> Iterator[None]:
    """Ready when this is entered. Raises TrialFailed with the service's own status."""
    unit = f"oomkilld-try-{os.getpid()}.service"
    # Its directory is kept only if it was there.
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
    """The [Service] section but for what a trial does its own way."""
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
