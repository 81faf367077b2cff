# SPDX-License-Identifier: Apache-2.0
"""The kernel settings of the machine, which a layer restores.

A systemd that boots in a container changes settings of the whole machine (systemd-sysctl, and what PID 1 raises
itself). Tests that pass only with these would fail on a fresh machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SETTINGS = Path("/proc/sys")
# The kernel itself writes these: it counts in the first, and lowers the second when sampling takes too long.
_OF_THE_KERNEL = ("kernel/ns_last_pid", "kernel/perf_event_max_sample_rate")


def settings() -> dict[str, str]:
    """Every setting that can be read and written, by its path below /proc/sys."""
    found = {}
    for directory, _names, files in os.walk(_SETTINGS):
        for path in (Path(directory, name) for name in files):
            with suppress(OSError):  # some belong to hardware that is missing
                if path.stat().st_mode & 0o600 == 0o600:
                    found[str(path.relative_to(_SETTINGS))] = path.read_text(errors="surrogateescape")
    return {name: value for name, value in found.items() if name not in _OF_THE_KERNEL}


@contextmanager
def given_back() -> Iterator[None]:
    """Restore all settings after the block."""
    before = settings()
    try:
        yield
    finally:
        for name, value in settings().items():
            if value != before.get(name, value):
                (_SETTINGS / name).write_text(before[name], errors="surrogateescape")


@contextmanager
def console_silent() -> Iterator[None]:
    """During the block, the kernel writes no line to the console, which takes 2 ms per line on many virtual machines.

    A kill would take that much longer, and delay everything that waits for memory.
    """
    with given_back():
        (_SETTINGS / "kernel/printk").write_text("1\n")
        yield
