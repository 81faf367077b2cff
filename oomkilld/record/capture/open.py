# SPDX-License-Identifier: Apache-2.0
"""Opens the source of kills: the ring that a probe writes to or, without a probe, the kernel log."""

from collections.abc import Mapping

from oomkilld import recordlayout
from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.capture.logsource import LogSource
from oomkilld.record.capture.ring import Counters, Ring
from oomkilld.record.capture.source import Source, Tally
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.clock import LogClock
from oomkilld.record.kernlog.grammar import CONSTRAINTS
from oomkilld.record.kernlog.kmsg import DevKmsg
from oomkilld.service.fdstore import COUNTERS, RING
from oomkilld.service.handover import Arming


class Capture(NamedTuple):
    """``fd`` becomes readable with every kill. ``constraints``: names of the constraint numbers in its records."""

    source: Source
    tally: Tally
    fd: int
    constraints: list[str]


def open_capture(arming: Arming, fds: Mapping[str, int], clock: KernelClock, page_bytes: int) -> Capture:
    """Open what the arming stage handed over. Raises OSError."""
    if RING in fds:
        counters = Counters(fds[COUNTERS], recordlayout.COUNTERS)
        return Capture(Ring(fds[RING], arming.ring_bytes), counters, fds[RING], arming.constraints)
    fd = fds["kmsg"]
    source = LogSource(DevKmsg(fd), Assembler(LogClock(clock), page_bytes), clock)
    return Capture(source, source, fd, list(CONSTRAINTS))
