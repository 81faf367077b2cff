# SPDX-License-Identifier: Apache-2.0
"""The kernel's log of this boot: what it still holds itself, and before that what journald has kept of it."""

from collections.abc import Iterator
from itertools import islice

from oomkilld.record.kernlog.kmsg import KERNEL, DevKmsg, Line
from oomkilld.record.lookup.joined import joined
from oomkilld.record.lookup.journalreader import Entries
from oomkilld.record.lookup.whole import Whole

# So many lines are enough for one of them to have been received at once.
_COMPARED = 200
_CLOCKS_APART_USEC = 600 * 10**6
# SD_MESSAGE_JOURNAL_MISSED, "Missed 612 kernel messages": they were written over before journald read them.
_MISSED = "e9bf28e6e834481bb6f48f548ad13606"


class KernelLog:
    """All lines of this boot. What the kernel holds itself is read once, for it may be written over.

    ``device``: /dev/kmsg; None where it cannot be read.
    """

    def __init__(self, boot: str, device: int | None) -> None:
        self._boot = boot
        self._whole = Whole()
        self._held: list[Line] = []
        self._is_read = device is not None and _read_all(device, self._held)

    @property
    def whole_since_usec(self) -> int | None:
        """See Whole; None: what the kernel holds itself could not be read."""
        return self._whole.since_usec if self._is_read else None

    def lines(self, since_usec: int = 0) -> Iterator[Line]:
        """Oldest first; some from before ``since_usec``, too."""
        held = self._held
        if held and held[0].number == 0:
            return self._whole.during(held, from_boot=True)
        return self._whole.during(joined(_kept_by_journald(self._boot, since_usec), held), from_boot=False)


def _read_all(device: int, lines: list[Line]) -> bool:
    """Whether it could be read to its end."""
    try:
        reader = DevKmsg(device, from_start=True)
        while line := reader.read():
            lines.append(line)
    except OSError:
        return False
    return True


def _kept_by_journald(boot: str, since_usec: int) -> Iterator[Line]:
    kept = Entries(
        f"_BOOT_ID={boot}",
        either=(
            ("_TRANSPORT=kernel", f"SYSLOG_FACILITY={KERNEL}"),
            ("_TRANSPORT=driver", f"MESSAGE_ID={_MISSED}"),
        ),
    )
    gap = False
    # It receives none before it is written, by clocks that have not drifted apart by more than that.
    for entry in kept.forward(boot, since_usec - _CLOCKS_APART_USEC):
        try:
            if entry.text("_TRANSPORT") == "driver":
                gap = True
                continue
            line = Line(entry.number("_SOURCE_MONOTONIC_TIMESTAMP"), entry.raw("MESSAGE"), after_gap=gap)
        except (KeyError, ValueError, OSError):
            gap = True
            continue
        gap = False
        yield line


def behind_usec(boot: str) -> int:
    """By how much printk's clock is behind CLOCK_MONOTONIC, as journald received lines of late; 0: it tells none."""
    found = []
    for entry in islice(Entries(f"_BOOT_ID={boot}", "_TRANSPORT=kernel").backward(), _COMPARED):
        try:
            found.append(entry.received_usec() - entry.number("_SOURCE_MONOTONIC_TIMESTAMP"))
        except (KeyError, ValueError, OSError):
            continue
    return min(found, default=0)
