# SPDX-License-Identifier: Apache-2.0
"""The verb ``selftest``: lets the kernel kill one process of its own, and waits for the entry of that kill.

The kill is confined: the process alone is in a cgroup of 30 MiB, a scope of systemd or one that this program makes.
"""

import os
import shutil
import signal
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from oomkilld.ctl.entries import Reading
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.failures import NoJournal, NotPermitted
from oomkilld.ctl.match import Query, Term
from oomkilld.ctl.say import warn
from oomkilld.ctl.source import HERE, Source
from oomkilld.errors import OomkilldError
from oomkilld.host.procfs import ProcReader
from oomkilld.stderr import put
from oomkilld.testkill import mounts, victim
from oomkilld.testkill.failure import Interrupted, TrialFailed
from oomkilld.testkill.interrupts import Interrupts
from oomkilld.testkill.victim import Victim

_RECORDED = 0
_WITHIN_SECONDS = 20
_EVERY_SECONDS = 0.02
_BOOTED_WITH_SYSTEMD = "/run/systemd/system"
_MOMENT_USEC = 1_000_000  # by which clocks may differ


class NotRecorded(OomkilldError):
    """The kernel killed, and there is no entry (status 1)."""


class NoKill(OomkilldError):
    """Nothing was tested (status 3)."""

    exit_status = 3


def run(options: Namespace) -> int:
    """Return the exit status. Raises NotPermitted, NoKill, NotRecorded."""
    if os.geteuid():
        raise NotPermitted("only root may let the kernel kill a process in a cgroup of its own", "use sudo")
    try:
        killed = _kill(Interrupts())
    except TrialFailed as failure:
        raise NoKill(failure.message, failure.hint) from None
    except Interrupted as interrupted:
        _end_by_signals()
        os.kill(os.getpid(), interrupted.number)
        raise
    finally:
        _end_by_signals()
    entry = awaited(killed, Source(HERE))
    if entry is None:
        raise NotRecorded(
            f"no entry {_WITHIN_SECONDS} s after the kernel killed process {killed.pid} ({killed.name})",
            "run `oomkillctl check`",
        )
    if not options.quiet:
        put(f"{said(entry, time.time())}\n")
    return _RECORDED


def _kill(interrupts: Interrupts) -> Victim:
    """Raises TrialFailed, and Interrupted; nothing is left behind then."""
    name = f"oomtest-{os.getpid()}"  # at most 15 characters, the kernel's limit
    systemd_run = shutil.which("systemd-run") if os.path.isdir(_BOOTED_WITH_SYSTEMD) else None
    if systemd_run and (killed := victim.kill_one_in_scope(name, interrupts, systemd_run, ProcReader().oom_kills)):
        return killed
    with ExitStack() as stack:
        try:
            mounts.enter_private_namespace()
        except OSError as error:
            hint = "in a container, run it on its host"
            raise TrialFailed(f"failed to create a mount namespace: {error}", hint) from error
        scratch = stack.enter_context(interrupts.guarded(tempfile.TemporaryDirectory(prefix="oomkillctl-")))
        parent = stack.enter_context(interrupts.guarded(victim.room(Path(scratch))))
        return victim.kill_one(parent, name, interrupts)


def _end_by_signals() -> None:
    """Nothing is left that would have to be removed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def awaited(
    killed: Victim, source: Source, seconds: float = _WITHIN_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> Entry | None:
    """The entry of that kill, as soon as it can be read; None: there is none after ``seconds``."""
    # In a PID namespace the entry has another number, so the name decides.
    of_victim = ((Term("OOM_VICTIM_COMM", killed.name),),)
    since_usec = int(killed.killed_at * 1e6) - _MOMENT_USEC
    query = Query(frozenset(("kill",)), (of_victim,), since_usec, None, ())
    deadline = time.monotonic() + seconds
    while True:
        try:
            # Opened anew each time: journald may begin another file at any moment.
            entry = next(Reading(source, query, warn).forward(), None)
        except NoJournal:
            entry = None
        if entry is not None or time.monotonic() > deadline:
            return entry
        sleep(_EVERY_SECONDS)


def said(entry: Entry, now: float) -> str:
    """The result in one line; ``now``: when the entry was read, in seconds since 1970."""
    delay_ms = max(0, now * 1000 - entry.usec / 1000)
    level = entry.text("OOM_SOURCE") or "unknown"
    return f"recorded: readable {delay_ms:.0f} ms after the kill, level {level}: {entry.text('MESSAGE')}"
