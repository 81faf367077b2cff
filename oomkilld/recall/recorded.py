# SPDX-License-Identifier: Apache-2.0
"""What the journal has of this service. Only entries that journald vouches for count: anyone can send our fields."""

from collections.abc import Iterator

from oomkilld.recall.journal import Entries
from oomkilld.recall.match import Recorded

_OURS = ("_UID=0", "SYSLOG_IDENTIFIER=oomkilld")


def boot_of(pid: int) -> str | None:
    """The boot's id, as journald knows it, of what this process of root's has said last; None: there is nothing."""
    last = Entries(f"_PID={pid}", *_OURS).last()
    return last.text("_BOOT_ID") if last else None


def begins_usec(boot: str) -> int:
    """Since when the journal has this boot (CLOCK_MONOTONIC): of before, entries may be gone."""
    first = next(Entries(f"_BOOT_ID={boot}").forward(), None)
    return first.received_usec() if first else 0


def kills(boot: str) -> Iterator[Recorded]:
    """Those of which it has an entry."""
    for entry in Entries(f"_BOOT_ID={boot}", *_OURS, "OOM_EVENT=kill").forward():
        try:
            yield Recorded(
                entry.text("OOM_KILL_ID"),
                entry.number("OOM_VICTIM_TID"),
                entry.text("OOM_VICTIM_COMM"),
                entry.number("OOM_BOOTTIME_TIMESTAMP") * 1000,
            )
        except (KeyError, ValueError):
            continue
