# SPDX-License-Identifier: Apache-2.0
"""The kernel log of this boot: what the kernel still holds, and before that journald's copy."""

from collections.abc import Iterator
from itertools import islice

from oomkilld.record.kernlog.kmsg import KERNEL, DevKmsg, Line
from oomkilld.record.lookup.joined import joined
from oomkilld.record.lookup.journalreader import Entries
from oomkilld.record.lookup.whole import Whole

# Among this many lines, journald received at least one without delay.
_COMPARED = 200
_CLOCKS_APART_USEC = 600 * 10**6
# SD_MESSAGE_JOURNAL_MISSED, "Missed 612 kernel messages": the kernel overwrote them before journald read them.
_MISSED = "e9bf28e6e834481bb6f48f548ad13606"


class KernelLog:
    """All lines of this boot. What the kernel holds is read only once, because it may be overwritten.

    ``device``: /dev/kmsg; None: it cannot be read.
    """

    def __init__(self, boot: str, device: int | None) -> None:
        self._boot = boot
        self._whole = Whole()
        self._held: list[Line] = []
        self._is_read = device is not None and _read_all(device, self._held)

    @property
    def whole_since_usec(self) -> int | None:
        """See Whole. None also if the kernel's part could not be read."""
        return self._whole.since_usec if self._is_read else None

    def lines(self, since_usec: int = 0) -> Iterator[Line]:
        """Oldest first; may begin before ``since_usec``."""
        held = self._held
        from_boot = bool(held) and held[0].number == 0
        if from_boot and not any(line.after_gap for line in held):
            return self._whole.during(held, from_boot=True)
        return self._whole.during(joined(_kept_by_journald(self._boot, since_usec), held), from_boot=from_boot)


def _read_all(device: int, lines: list[Line]) -> bool:
    """Whether the log could be read to its end."""
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
    # journald receives a line after it was written; the two clocks have drifted apart by no more than this.
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
    """How far printk's clock is behind CLOCK_MONOTONIC, by the lines that journald received last; 0: unknown."""
    found = []
    for entry in islice(Entries(f"_BOOT_ID={boot}", "_TRANSPORT=kernel").backward(), _COMPARED):
        try:
            found.append(entry.received_usec() - entry.number("_SOURCE_MONOTONIC_TIMESTAMP"))
        except (KeyError, ValueError, OSError):
            continue
    return min(found, default=0)
