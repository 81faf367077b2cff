# SPDX-License-Identifier: Apache-2.0
"""What the journal of this machine has of this boot."""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping

from oomkilld.ctl.boots import this_boot
from oomkilld.ctl.coverage.books import Recorded
from oomkilld.ctl.entries import Reading
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.failures import NoJournal, NotPermitted
from oomkilld.ctl.match import Query
from oomkilld.ctl.say import warn
from oomkilld.ctl.source import HERE, Source
from oomkilld.schema import BEFORE_FIRST_START, NOT_RUNNING

# "Suppressed N messages from UNIT", from journald itself (SD_MESSAGE_JOURNAL_DROPPED).
_DROPPED = (("MESSAGE_ID", "a596d6fe7bfa4994828e72309e95d61e"), ("_TRANSPORT", "driver"))
_OF_THE_SERVICE = "oomkilld.service"
# The priority of entries about kills from before the first start, see record/entry/notices.py.
_NO_FAILURE = 6


def recorded(options: Namespace = HERE, boot: str | None = None, *, count: bool) -> Recorded | None:
    """What the journal has; None: this user may not read it. ``count``: the kills, too, which takes a while."""
    boot = this_boot() if boot is None else boot
    source = Source(options)
    try:
        newest = next(_entries(source, boot, "kill").backward(), None)
        kills = sum(1 for _entry in _entries(source, boot, "kill").forward()) if count else None
        dropped = sum(_dropped(source, boot))
        return Recorded(kills, None if newest is None else newest.usec, _missed(source, boot), dropped)
    except NotPermitted:
        return None
    except NoJournal:
        return Recorded(0, None, {}, 0)


def _missed(source: Source, boot: str) -> Mapping[str, int]:
    """Numbers of kills by reason."""
    found = Counter[str]()
    for entry in _entries(source, boot, "missed").forward():
        found[_reason(entry)] += entry.number("OOM_MISSED") or 0
    return found


def _entries(source: Source, boot: str, event: str) -> Reading:
    return Reading(source, Query(frozenset((event,)), (), None, None, ()), warn, boot)


def _reason(entry: Entry) -> str:
    reason = entry.text("OOM_MISSED_REASON") or "unknown"
    return BEFORE_FIRST_START if (reason, entry.number("PRIORITY")) == (NOT_RUNNING, _NO_FAILURE) else reason


def _dropped(source: Source, boot: str) -> Iterator[int]:
    """Numbers of entries of the service that journald dropped."""
    for _part, reader in source.opened():
        reader.require((*_DROPPED, ("_BOOT_ID", boot)))
        reader.to_begin()
        while reader.next():
            entry = Entry(reader.fields(), reader.received_usec(), None)
            if _OF_THE_SERVICE in (entry.text("MESSAGE") or "").split():
                yield max(entry.number("N_DROPPED") or 1, 1)
