# SPDX-License-Identifier: Apache-2.0
"""What the journal has of this service. Only entries that journald vouches for count: anyone can send our fields."""

from collections.abc import Iterator
from itertools import islice

from oomkilld.recall.journal import Entries
from oomkilld.recall.match import Recorded
from oomkilld.recall.messages import ID_BYTES

_OURS = ("_UID=0", "SYSLOG_IDENTIFIER=oomkilld")


def begins_usec(boot: str) -> int | None:
    """Since when the journal has this boot (CLOCK_MONOTONIC): of before, entries may be gone. None: it has nothing."""
    first = next(Entries(f"_BOOT_ID={boot}").forward(), None)
    return first.received_usec() if first else None


def kills(boot: str) -> Iterator[Recorded]:
    """Those of which it has an entry."""
    for entry in Entries(f"_BOOT_ID={boot}", *_OURS, "OOM_EVENT=kill").forward():
        try:
            kill_id, tid = entry.text("OOM_KILL_ID"), entry.number("OOM_VICTIM_TID")
            boottime_ns = entry.number("OOM_BOOTTIME_TIMESTAMP") * 1000
        except (KeyError, ValueError, OSError):
            continue
        try:
            comm = entry.text("OOM_VICTIM_COMM")
        except (KeyError, OSError):
            comm = None
        yield Recorded(kill_id, tid, comm, boottime_ns)


def newest_ids(entries: int, *, of_unit: bool) -> Iterator[bytes]:
    """Of so many, of kills and of processes that were spared.

    ``of_unit``: without those that ``journalctl -u`` does not show, for journald read them when their sender was gone,
    and knew nothing any more of its unit.
    """
    for entry in islice(Entries(*_OURS, "OOM_EVENT=kill", "OOM_EVENT=spared").backward(), entries):
        try:
            if of_unit:
                entry.raw("_SYSTEMD_UNIT")
            kill_id = bytes.fromhex(entry.text("OOM_KILL_ID"))
        except (KeyError, ValueError, OSError):
            continue
        if len(kill_id) == ID_BYTES:
            yield kill_id
