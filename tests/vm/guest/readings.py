# SPDX-License-Identifier: Apache-2.0
"""Values of /proc before, during and after a kill: an entry's sample lies between them."""

import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from oomkilld import schema
from tests.support import live
from tests.vm.guest.kills import LIMIT, MIB, SECONDS

# Rows that depend on the victim's memory, which may come and go between two readings.
_MOVED_BY_THE_VICTIM = {
    *("MemFree", "MemAvailable", "Active", "Inactive", "Active(anon)", "Inactive(anon)", "AnonPages", "Committed_AS"),
    *("AnonHugePages",),
}
# Rows that do not change while this machine does this work.
_CONSTANT = {
    *(
        "MemTotal",
        "SwapTotal",
        "SwapFree",
        "VmallocTotal",
        "CommitLimit",
        "HardwareCorrupted",
        "Unevictable",
        "Mlocked",
    ),
    *("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp", "Hugepagesize", "Hugetlb"),
}
PRESSURE = Path("/proc/pressure")
# The rows for the setting "all": those that explain a kill.
_PRESSURE_FILES = ("memory", "cpu", "io")
_VMSTAT_BEGINNINGS = (
    *("allocstall", "oom_kill", "pgscan", "pgsteal", "pswpin", "pswpout", "workingset_refault"),
    "nr_zspages",  # no sum, but always 0: the guest uses neither zswap nor zram
)
_NUMBER = r"(\d+\.\d\d)"
_PRESSURE_ROW = re.compile(rf"^(some|full) avg10={_NUMBER} avg60={_NUMBER} avg300={_NUMBER} total=(\d+)$", re.MULTILINE)


class Readings(NamedTuple):
    """In the order of reading."""

    loads: list[tuple[str, ...]]
    meminfo: list[dict[str, int]]


@contextmanager
def watching_proc() -> Iterator[Readings]:
    """Read loadavg and meminfo at the beginning, at the end, and as often as possible in between."""
    readings = Readings([], [])
    ended = threading.Event()

    def read() -> None:
        readings.loads.append(loads())
        rows = re.findall(r"^(\S+):\s+(\d+)( kB)?$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        readings.meminfo.append({key: int(number) << (10 if unit else 0) for key, number, unit in rows})

    def watch() -> None:
        while not ended.is_set():
            read()
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    read()
    thread.start()
    try:
        yield readings
    finally:
        ended.set()
        thread.join()
    read()


def loads() -> tuple[str, ...]:
    return tuple(Path("/proc/loadavg").read_text().split()[:3])


def assert_sampled_among(entry: live.Entry, readings: Readings, keys: Collection[str] | None) -> None:
    """The entry's sample lies between the readings around it. ``keys``: the meminfo rows that it has; None: all."""
    assert 0 <= int(entry["OOM_SAMPLE_DELAY_USEC"]) < SECONDS * 1e6
    load = tuple(entry["OOM_LOADAVG"].split()[:3])
    assert load in readings.loads
    assert load == tuple(entry[f"OOM_LOADAVG_{minutes}"] for minutes in (1, 5, 15))
    there = [key for key in readings.meminfo[0] if keys is None or key in keys]
    assert len(there) == len([name for name in entry if name.startswith("OOM_MEMINFO_")]) > 20
    for key in there:
        in_bytes = schema.family_name(schema.MEMINFO_BYTES, key)
        value = int(entry[in_bytes if in_bytes in entry else schema.family_name(schema.MEMINFO_COUNT, key)])
        seen = [reading[key] for reading in readings.meminfo]
        slack = LIMIT if key in _MOVED_BY_THE_VICTIM else 0 if key in _CONSTANT else MIB
        assert min(seen) - slack <= value <= max(seen) + slack, key


class Totals(NamedTuple):
    """By field name: the sums since boot, and the names of the averages."""

    totals: dict[str, int]
    averages: set[str]


def totals(pressure: Collection[str] | None, vmstat: Collection[str] | None) -> Totals:
    """From these files below /proc/pressure and these rows of /proc/vmstat; None: all that are ever recorded."""
    found, averages = {}, set()
    for file in (PRESSURE / name for name in (_PRESSURE_FILES if pressure is None else pressure)):
        for kind, *_averages, total in _PRESSURE_ROW.findall(file.read_text()) if file.exists() else ():
            name = f"OOM_PSI_{file.name}_{kind}".upper()
            found[f"{name}_TOTAL_USEC"] = int(total)
            averages |= {f"{name}_AVG{seconds}" for seconds in (10, 60, 300)}
    for key, count in re.findall(r"^(\w+) (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE):
        if key.startswith(_VMSTAT_BEGINNINGS) if vmstat is None else key in vmstat:
            found[f"OOM_VMSTAT_{key.upper()}"] = int(count)
    return Totals(found, averages)
