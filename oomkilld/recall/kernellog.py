# SPDX-License-Identifier: Apache-2.0
"""The kernel's log of this boot: what it still holds itself, and before that what journald has kept of it."""

import os
from collections.abc import Iterator

from oomkilld.recall.journal import Entries
from oomkilld.record.devkmsg import DevKmsg
from oomkilld.record.kmsg import KERNEL, Line

_DEVICE = "/dev/kmsg"


def lines(boot: str | None) -> Iterator[Line]:
    """Oldest first. ``boot``: the boot's id as the journal has it; None: the journal is not asked."""
    held = list(_held())
    if boot is not None and not (held and held[0].number == 0):
        yield from _kept_by_journald(boot, held[0].usec if held else None)
    if held:
        yield held[0]._replace(after_gap=False)
        yield from held[1:]


def _held() -> Iterator[Line]:
    """Nothing where it cannot be read."""
    try:
        fd = os.open(_DEVICE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            reader = DevKmsg(fd, from_start=True)
            while line := reader.read():
                yield line
        finally:
            os.close(fd)
    except OSError:
        return


def _kept_by_journald(boot: str, until_usec: int | None) -> Iterator[Line]:
    for entry in Entries(f"_BOOT_ID={boot}", "_TRANSPORT=kernel", f"SYSLOG_FACILITY={KERNEL}").forward():
        try:
            usec, text = entry.number("_SOURCE_MONOTONIC_TIMESTAMP"), entry.raw("MESSAGE")
        except (KeyError, ValueError):
            continue
        if until_usec is not None and usec >= until_usec:
            return
        yield Line(usec, text)
