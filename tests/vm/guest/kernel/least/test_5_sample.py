# SPDX-License-Identifier: Apache-2.0
"""Pressure and the counters of reclaim: as /proc had them before a kill or later, and after it or earlier."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from oomkilld.record.wanted import COMMON_PRESSURE, COMMON_VMSTAT
from tests.support import live
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.service import run

PRESSURE = Path("/proc/pressure")
_NUMBER = r"(\d+\.\d\d)"
_ROW = re.compile(rf"^(some|full) avg10={_NUMBER} avg60={_NUMBER} avg300={_NUMBER} total=(\d+)$", re.MULTILINE)


class Reading(NamedTuple):
    """Totals by the field's name, and the names of all fields of averages: those that are recorded by default."""

    totals: dict[str, int]
    averages: set[str]


def read() -> Reading:
    totals, averages = {}, set()
    for file in (PRESSURE / name for name in COMMON_PRESSURE):
        for kind, *_averages, total in _ROW.findall(file.read_text()) if file.exists() else ():
            name = f"OOM_PSI_{file.name}_{kind}".upper()
            totals[f"{name}_TOTAL_USEC"] = int(total)
            averages |= {f"{name}_AVG{seconds}" for seconds in (10, 60, 300)}
    for key, count in re.findall(r"^(\w+) (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE):
        if key in COMMON_VMSTAT:
            totals[f"OOM_VMSTAT_{key.upper()}"] = int(count)
    return Reading(totals, averages)


@pytest.mark.matrix("pressure")
def test_pressure_and_counters_are_of_right_after_the_kill(here: live.Moment, level: str) -> None:
    before = read()
    with live.cgroup("sample", LIMIT) as where:
        live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    after = read()
    told = {name for name in entry if name.startswith(("OOM_PSI_", "OOM_VMSTAT_"))}
    assert told == before.totals.keys() | before.averages
    for name, total in before.totals.items():
        assert total <= int(entry[name]) <= after.totals[name], name
    assert all(0 <= float(entry[name]) <= 100 for name in before.averages)
    assert int(entry["OOM_VMSTAT_OOM_KILL"]) == before.totals["OOM_VMSTAT_OOM_KILL"] + 1
    files = sorted(file.name for file in PRESSURE.iterdir()) if PRESSURE.exists() else "none"
    more = {name: int(entry[name]) - total for name, total in before.totals.items() if int(entry[name]) > total}
    print(f"pressure files: {files}; more than before: {more}")


def full_files() -> set[str]:
    return {path.name for path in Path("/var/log/journal").glob("*/system@*.journal")}


@pytest.mark.matrix("journal files")
def test_kills_told_in_full_begin_no_new_file_of_the_journal(here: live.Moment, level: str) -> None:
    """As this systemd's journald does once 250 names of fields are in one."""
    run("journalctl", "--rotate")
    before = full_files()
    with live.cgroup("names", LIMIT) as where:
        for _ in range(4):
            live.kill_one(where)
        entries = kills_after(here, 4, level)
    assert {entry["OOM_DETAIL"] for entry in entries} == {"full"}
    print(f"names of fields: {max(len(entry) for entry in entries)}")
    assert full_files() == before
