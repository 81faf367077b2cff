# SPDX-License-Identifier: Apache-2.0
"""The kernel's log of this boot: what it still holds itself, and before that what journald has kept of it."""

import os
from collections.abc import Iterator
from itertools import islice

from oomkilld.recall.journal import Entries
from oomkilld.record.devkmsg import DevKmsg
from oomkilld.record.kmsg import KERNEL, Line

_DEVICE = "/dev/kmsg"
# So many lines are enough for one of them to have been received at once.
_COMPARED = 200


def lines(boot: str) -> Iterator[Line]:
    """Oldest first."""
    held = list(_held())
    if not (held and held[0].number == 0):
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
        except (KeyError, ValueError, OSError):
            continue
        if until_usec is not None and usec >= until_usec:
            return
        yield Line(usec, text)


def behind_usec(boot: str) -> int:
    """By how much printk's clock is behind CLOCK_MONOTONIC, as journald received lines of late; 0: it tells none."""
    found = []
    for entry in islice(Entries(f"_BOOT_ID={boot}", "_TRANSPORT=kernel").backward(), _COMPARED):
        try:
            found.append(entry.received_usec() - entry.number("_SOURCE_MONOTONIC_TIMESTAMP"))
        except (KeyError, ValueError, OSError):
            continue
    return min(found, default=0)
