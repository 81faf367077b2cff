# SPDX-License-Identifier: Apache-2.0
"""The entries that a verb shows, and what is known to be missing among them."""

import os
from argparse import Namespace
from collections.abc import Iterator

from oomkilld.ctl.boots import boot_id
from oomkilld.ctl.entries import Reading
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.match import query
from oomkilld.ctl.progress import shown
from oomkilld.ctl.say import note, warn
from oomkilld.ctl.source import Source
from oomkilld.ctl.stuck import Stuck
from oomkilld.text import counted

_COMPLAINTS = 10


class Selection:
    """The entries that are listed. ``kills``: how many of those that were read are kills.

    ``aside``: kills without an entry that may, or may not, have been wanted ones.
    """

    def __init__(self, options: Namespace, source: Source) -> None:
        self._source = source
        self._wanted = query(options)
        self._complaints: list[str] = []
        self._boot = boot_id(options, source)
        self._reading = Reading(source, self._wanted, self.complain, self._boot)
        self._watches = not os.isatty(1) or options.verb == "stats"
        self.aside = self.kills = 0

    def entries(self, *, backward: bool = False) -> Iterator[Entry]:
        """One after the other."""
        entries = self._reading.backward() if backward else self._reading.forward()
        for entry in shown(entries, self._reading.span_usec) if self._watches else entries:
            # Nobody knows which victims a `missed` entry stands for.
            if entry.event == "missed" and not self._wanted.holds(entry.text):
                self.aside += entry.number("OOM_MISSED") or 0
            else:
                self.kills += entry.event == "kill"
                yield entry

    def stuck(self) -> Stuck:
        """The victims that are still there."""
        return Stuck(self._source, self._wanted, self._boot)

    def complain(self, text: str) -> None:
        """Note what is wrong with an entry, which may be read again as one that belongs to another."""
        if len(self._complaints) < _COMPLAINTS and text not in self._complaints:
            self._complaints.append(text)

    def warn(self) -> None:
        """Say which entries could not be used: after the output, so that its lines stay together."""
        for text in self._complaints:
            warn(text)
        if (others := self._reading.broken - len(self._complaints)) > 0:
            warn(f"{counted(others, 'more entry', 'more entries')} cannot be used, ignoring")

    def gaps(self, missed: int) -> str:
        """What a list lacks, for the end of a sentence; empty: nothing. ``missed``: kills that it counts only."""
        why = []
        if missed:
            why.append(f"{counted(missed, 'kill')} without an entry")
        if self.aside:
            why.append(f"{counted(self.aside, 'kill')} of unknown processes")
        if broken := self._reading.broken:
            why.append(f"{counted(broken, 'unusable entry', 'unusable entries')}")
        if unreadable := len(self._source.unreadable):
            why.append(f"what is in {counted(unreadable, 'unreadable file')}")
        return ", ".join(why)


def total(kills: int, stuck: int) -> str:
    """``9 kills, 1 of them stuck.``."""
    return counted(kills, "kill") + (f", {stuck} of them stuck." if stuck else ".")


def say_aside(options: Namespace, kills: int) -> None:
    """On stderr, unless ``-q``: for output that has no line about what it lacks."""
    if kills and not options.quiet:
        note(f"{counted(kills, 'kill')} of unknown processes have no entry")
