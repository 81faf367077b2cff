# SPDX-License-Identifier: Apache-2.0
"""Prepares the command lines of victim and trigger for the entry: shortens them as configured, and hides secrets."""

from oomkilld.record.cmdline.reader import VictimReader
from oomkilld.record.cmdline.redact import Redactor
from oomkilld.record.enrich.enrich import ShownCommandLines
from oomkilld.record.kill import CommandLine, KillRecord

_CUT = "…".encode()


class CommandLines:
    """``only_first``: show the program and only the first argument.

    ``reader``: reads the command line of a victim that is not the trigger; None: it is not read.
    """

    def __init__(self, redactor: Redactor, reader: VictimReader | None = None, *, only_first: bool) -> None:
        self._redactor = redactor
        self._only_first = only_first
        self.reader = reader

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether ``shown()`` can be called without waiting; ``more``: other kills wait behind this one."""
        return self.reader is None or _is_trigger(kill) or self.reader.ready(kill, more=more)

    def shown(self, kill: KillRecord) -> ShownCommandLines:
        """The trigger's command line was read in the kernel; if the victim is the same process, it is the victim's."""
        trigger = self._show(kill.trigger_cmdline)
        if _is_trigger(kill):
            return ShownCommandLines(trigger, trigger)
        return ShownCommandLines(trigger, self._show(self.reader.found(kill)) if self.reader else None)

    def _show(self, line: CommandLine | None) -> bytes | None:
        if line is None:
            return None
        if self._only_first:
            line = _first(line)
        arguments = self._redactor.redact(line.text).rstrip(b"\0")
        return arguments.replace(b"\0", b" ") + (_CUT if line.cut else b"") if arguments else None


def _is_trigger(kill: KillRecord) -> bool:
    return kill.victim_pid == kill.trigger_pid


def _first(line: CommandLine) -> CommandLine:
    """The program with one argument; the first two words of a title that the process gave itself."""
    title = line.text.rstrip(b"\0")
    if b"\0" not in title:
        words = title.split(b" ", 2)
        return CommandLine(b" ".join(words[:2]), cut=line.cut and len(words) < 3)
    arguments = line.text.split(b"\0", 2)
    if len(arguments) < 3:
        return line
    return CommandLine(b"\0".join(arguments[:2]) + b"\0", cut=False)
