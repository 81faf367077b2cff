# SPDX-License-Identifier: Apache-2.0
"""Parts that only some settings want. They are imported only then: with the defaults, they would only take memory."""

from oomkilld.host.clock import KernelClock
from oomkilld.host.procfs import ProcReader
from oomkilld.lighttyping import TYPE_CHECKING
from oomkilld.record.deliver.sink import Sink
from oomkilld.record.enrich.enrich import CommandLines
from oomkilld.record.entry.origin import Origin
from oomkilld.record.log import Log
from oomkilld.record.processes import KernelProcesses
from oomkilld.service.handover import Recording

if TYPE_CHECKING:
    from oomkilld.record.cmdline.reader import VictimReader
    from oomkilld.record.history.recorder import Recorder


def command_lines(
    recording: Recording, proc: ProcReader, processes: KernelProcesses, clock: KernelClock, log: Log
) -> "tuple[CommandLines | None, VictimReader | None]":
    """What reads command lines, and the part of it that entries wait for; None: off, or not possible."""
    if recording.cmdline == "off":
        return None, None
    from oomkilld.record.cmdline import commandlines
    from oomkilld.record.cmdline.helper import Helper
    from oomkilld.record.cmdline.reader import VictimReader
    from oomkilld.record.cmdline.redact import Redactor

    reader = None
    if processes.obstacle:
        log.warning(f"Failed to read command lines of victims: {processes.obstacle}, reading only those of triggers")
    else:
        reader = VictimReader(lambda: Helper(proc), processes.ticks, clock, log.warning)
    only_first = recording.cmdline == "first-argument"
    return commandlines.CommandLines(Redactor(recording.redact), reader, only_first=only_first), reader


def recorder(recording: Recording, clock: KernelClock, origin: Origin, sink: Sink, log: Log) -> "Recorder | None":
    """The flight recorder; None: off, or not possible. Call it before the privileges are dropped."""
    if not recording.recorder_cgroups:
        return None
    from oomkilld.record.history.recorder import Target, begin

    return begin(recording.recorder_cgroups, clock, origin, Target(sink, log.warning))
