# SPDX-License-Identifier: Apache-2.0
"""As many kills as the machine makes, in some small cgroups at the same time."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import live, pace

CGROUPS = 4
_BYTES = 2 << 20


def door(group: live.Cgroup) -> Path:
    """The file to join the group by.

    In version 1 the one for threads, which takes no lock of all forks on the machine.
    """
    tasks = group.path / "tasks"
    return tasks if tasks.exists() else group.procs


@contextmanager
def storming(*, at_most: int | None = None) -> Iterator[list[int]]:
    """A storm for the duration of the block; afterwards the list has the number of kills per cgroup.

    ``at_most``: kills per second; None: as many as the machine makes, a thousand where it is fast.
    """
    pause = [] if at_most is None else [f"pause={1_000_000 * CGROUPS // at_most}"]
    reaped: list[int] = []
    with ExitStack() as stack:
        groups = [stack.enter_context(live.cgroup(f"storm-{number}", _BYTES)) for number in range(CGROUPS)]
        hogs = [
            subprocess.Popen([live.hog_program(), door(group), "storm=0", *pause], stdout=subprocess.PIPE, text=True)
            for group in groups
        ]
        try:
            yield reaped
        finally:
            for hog in hogs:
                hog.send_signal(signal.SIGTERM)
            reaped += [int(hog.communicate(timeout=30 * pace.patience())[0]) for hog in hogs]
        assert [hog.returncode for hog in hogs] == [0] * CGROUPS


def storm(seconds: float) -> int:
    """A storm of ``seconds``; the number of kills."""
    with storming() as reaped:
        time.sleep(seconds)
    return sum(reaped)
