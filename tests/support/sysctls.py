# SPDX-License-Identifier: Apache-2.0
"""The settings of the machine's kernel, which a layer gives back as it found them.

A systemd that boots in a container sets those of the whole machine (systemd-sysctl, and what PID 1 raises itself): what
passes only with them would fail on a machine on which nothing was run yet.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SETTINGS = Path("/proc/sys")
# The kernel writes these itself: it counts in the first, and lowers the second when sampling takes it too long.
_OF_THE_KERNEL = ("kernel/ns_last_pid", "kernel/perf_event_max_sample_rate")


def settings() -> dict[str, str]:
    """Every one that can be read and set, by its path below /proc/sys."""
    found = {}
    for directory, _names, files in os.walk(_SETTINGS):
        for path in (Path(directory, name) for name in files):
            with suppress(OSError):  # some are of hardware that is not there
                if path.stat().st_mode & 0o600 == 0o600:
                    found[str(path.relative_to(_SETTINGS))] = path.read_text(errors="surrogateescape")
    return {name: value for name, value in found.items() if name not in _OF_THE_KERNEL}


@contextmanager
def given_back() -> Iterator[None]:
    """Afterwards they are as they were before."""
    before = settings()
    try:
        yield
    finally:
        for name, value in settings().items():
            if value != before.get(name, value):
                (_SETTINGS / name).write_text(before[name], errors="surrogateescape")


@contextmanager
def console_silent() -> Iterator[None]:
    """Until this is left: the kernel writes no line to the console, which many a virtual machine has at 2 ms a line.

    A kill would take that much longer, and all that waits for memory with it.
    """
    with given_back():
        (_SETTINGS / "kernel/printk").write_text("1\n")
        yield
