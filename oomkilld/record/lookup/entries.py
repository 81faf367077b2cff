# SPDX-License-Identifier: Apache-2.0
"""Reads this service's entries in the journal.

Anyone can send our fields, so only the fields that journald itself adds show which entries are ours.
"""

from collections.abc import Iterator
from itertools import islice

from oomkilld.host.ours import Ours
from oomkilld.record.lookup.journalreader import Entries, Entry
from oomkilld.record.lookup.match import Recorded
from oomkilld.record.lookup.protocol import ID_BYTES

_SENT_BY_ROOT = ("_UID=0", "SYSLOG_IDENTIFIER=oomkilld")


def begins_usec(boot: str) -> int | None:
    """When the oldest entry of this boot arrived (CLOCK_MONOTONIC): earlier ones may be gone. None: there is none."""
    first = next(Entries(f"_BOOT_ID={boot}").forward(), None)
    return first.received_usec() if first else None


def kills(boot: str, ours: Ours) -> Iterator[Recorded]:
    """The kills of this boot that have an entry, oldest first."""
    for entry in Entries(f"_BOOT_ID={boot}", *_SENT_BY_ROOT, "OOM_EVENT=kill").forward():
        try:
            kill_id, tid = entry.text("OOM_KILL_ID"), entry.number("OOM_VICTIM_TID")
            boottime_ns = entry.number("OOM_BOOTTIME_TIMESTAMP") * 1000
        except (KeyError, ValueError, OSError):
            continue
        if _is_ours(entry, ours):
            yield Recorded(kill_id, tid, _text(entry, "OOM_VICTIM_COMM"), boottime_ns)


def newest_ids(entries: int, ours: Ours, *, shown: bool) -> Iterator[bytes]:
    """Ids of the newest ``entries`` entries of kills and spared processes, newest first.

    ``shown``: only entries that ``journalctl -u`` shows. It does not show those that journald read after their sender
    was gone, because journald could not find its unit any more.
    """
    unit = [f"_SYSTEMD_UNIT={ours.unit}"] if shown and ours.unit else []
    sent = Entries(*_SENT_BY_ROOT, "OOM_EVENT=kill", "OOM_EVENT=spared", *unit).backward()
    for entry in islice((entry for entry in sent if _is_ours(entry, ours)), entries):
        try:
            kill_id = bytes.fromhex(entry.text("OOM_KILL_ID"))
        except (KeyError, ValueError, OSError):
            continue
        if len(kill_id) == ID_BYTES:
            yield kill_id


def _is_ours(entry: Entry, ours: Ours) -> bool:
    return ours.sent(_text(entry, "_SYSTEMD_UNIT"), _text(entry, "_SYSTEMD_CGROUP"))


def _text(entry: Entry, name: str) -> str | None:
    try:
        return entry.text(name)
    except (KeyError, OSError):
        return None
