# SPDX-License-Identifier: Apache-2.0
"""The trial, from its start to the end of its last process; packaging/try prepares it and removes its files."""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from oomkilld.host.ours import Ours, own_unit
from oomkilld.testkill import mounts, victim
from oomkilld.testkill.failure import Interrupted, TrialFailed
from oomkilld.testkill.interrupts import Interrupts
from trial.alone import stand_alone
from trial.show import readable
from trial.unit import transient_unit

_ALREADY_RUNNING = 75
_ENTRY_WITHIN_SECONDS = 20
_CHECKOUT = Path(__file__).parents[2]
_UNIT_FILE = _CHECKOUT / "packaging/oomkilld.service"


class Options(NamedTuple):
    """The arguments that packaging/try passes."""

    scratch: Path
    json: bool
    systemd: bool
    running: bool


def main() -> int:
    """Returns the exit status; packaging/try lists them."""
    options = _options()
    interrupts = Interrupts()
    status = 0
    try:
        with ExitStack() as stack:
            stack.callback(interrupts.ignore)
            _write_out(_trial(options, interrupts, stack), options)
    except TrialFailed as failure:
        for line in (*failure.message.splitlines(), failure.hint):
            if line:
                _say(line)
        status = failure.exit_status
    except Interrupted as signalled:
        _say("interrupted: removed everything")
        status = 128 + signalled.number
    if not status:
        _tell_how_to_install(options)
    return status


def _options() -> Options:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--systemd", action="store_true")
    parser.add_argument("--running", action="store_true")
    return Options(**vars(parser.parse_args()))


def _trial(options: Options, interrupts: Interrupts, stack: ExitStack) -> str:
    """The entry: one line of ``journalctl -o json``."""
    try:
        mounts.enter_private_namespace()
    except OSError as error:
        raise TrialFailed(
            f"failed to create a mount namespace: {error}", "in a container, run it on its host", 77
        ) from error
    parent = stack.enter_context(interrupts.guarded(victim.room(options.scratch)))
    if not options.running:
        _say("starting oomkilld; compiling its probe takes some seconds")
        _start(options, interrupts, stack)
    _say("oomkilld is ready; a test process now runs out of memory")
    killed = victim.kill_one(parent, f"oom-try-{os.getpid()}", interrupts)
    _say(f"the kernel killed it; the entry of {killed.name}:")
    return _entry(killed)


def _start(options: Options, interrupts: Interrupts, stack: ExitStack) -> None:
    program = options.scratch / "program/bin/oomkilld"
    running = transient_unit(program, _UNIT_FILE, interrupts) if options.systemd else stand_alone(program, interrupts)
    try:
        stack.enter_context(running)
    except TrialFailed as failure:
        if failure.exit_status != _ALREADY_RUNNING:
            raise
        _say("another oomkilld runs already: using its entry")


def _entry(killed: victim.Victim) -> str:
    since = f"--since=@{int(killed.killed_at)}"
    kills = ("_UID=0", "OOM_EVENT=kill")
    matches = (*kills, f"OOM_VICTIM_COMM={killed.name}", "+", *kills, f"OOM_VICTIM_PID={killed.pid}")
    ours = Ours(own_unit())
    deadline = time.monotonic() + _ENTRY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        found = subprocess.run(
            ["journalctl", "--quiet", "--no-pager", "-o", "json", since, *matches],
            check=False,
            capture_output=True,
            text=True,
        )
        for line in reversed(found.stdout.splitlines()):
            entry = json.loads(line)
            if ours.sent(entry.get("_SYSTEMD_UNIT"), entry.get("_SYSTEMD_CGROUP")):
                return line + "\n"
        time.sleep(0.1)
    raise TrialFailed(
        f"no entry of the kill of process {killed.pid} within {_ENTRY_WITHIN_SECONDS} s {found.stderr.strip()}",
        "report this, with the kernel release",
    )


def _write_out(entry: str, options: Options) -> None:
    sys.stdout.write(entry if options.json else "\n" + readable(json.loads(entry)) + "\n")
    sys.stdout.flush()


def _tell_how_to_install(options: Options) -> None:
    if options.running:
        _say("to see the entries of all kills: journalctl -u oomkilld -o verbose")
        return
    where = "" if options.systemd else ", on a machine where systemd runs"
    _say(f"to record every kill from now on{where}:")
    _say("  sudo packaging/install")
    _say("  sudo systemctl enable --now oomkilld")
    _say("  journalctl -u oomkilld -o verbose")


def _say(text: str) -> None:
    sys.stderr.write(f"packaging/try: {text}\n")
    sys.stderr.flush()
