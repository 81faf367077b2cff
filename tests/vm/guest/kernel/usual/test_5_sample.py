# SPDX-License-Identifier: Apache-2.0
"""Pressure and reclaim counters lie between their values in /proc before and after the kill."""

from pathlib import Path

import pytest

from oomkilld import schema
from oomkilld.record.enrich.rows import COMMON_PRESSURE, COMMON_VMSTAT
from tests.support import live
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.readings import PRESSURE, Totals, assert_sampled_among, totals, watching_proc
from tests.vm.guest.service import SETTINGS, file, run, service_restored


@pytest.mark.each_kernel
@pytest.mark.matrix("pressure")
def test_pressure_and_counters_are_read_right_after_the_kill(here: live.Moment, level: str) -> None:
    before = totals(COMMON_PRESSURE, COMMON_VMSTAT)
    with live.cgroup("sample", LIMIT) as where:
        live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    assert_right_after_the_kill(entry, before, totals(COMMON_PRESSURE, COMMON_VMSTAT))
    files = sorted(file.name for file in PRESSURE.iterdir()) if PRESSURE.exists() else "none"
    print(f"pressure files: {files}")


def assert_right_after_the_kill(entry: live.Entry, before: Totals, after: Totals) -> None:
    told = {name for name in entry if name.startswith(("OOM_PSI_", "OOM_VMSTAT_"))}
    assert told == before.totals.keys() | before.averages
    for name, total in before.totals.items():
        assert total <= int(entry[name]) <= after.totals[name], name
    assert all(0 <= float(entry[name]) <= 100 for name in before.averages)
    assert int(entry["OOM_VMSTAT_OOM_KILL"]) == before.totals["OOM_VMSTAT_OOM_KILL"] + 1
    more = {name: int(entry[name]) - total for name, total in before.totals.items() if int(entry[name]) > total}
    print(f"more than before: {more}")


@pytest.mark.each_kernel
def test_with_all_rows_selected_every_row_of_every_table_is_recorded(here: live.Moment, level: str) -> None:
    settings = file(SETTINGS.with_name("rows.toml"), '[entry]\nmeminfo = "all"\nstatistics = "all"\n')
    with service_restored(), settings:
        run("systemctl", "restart", "oomkilld")
        assert live.level() == level
        before = totals(None, None)
        with live.cgroup("all-rows", LIMIT) as where, watching_proc() as readings:
            live.kill_one(where)
            stat = (where.path / "memory.stat").read_text()
            (entry,) = kills_after(here, 1, level)
    assert_right_after_the_kill(entry, before, totals(None, None))
    assert_sampled_among(entry, readings, None)
    keys = [row.split()[0] for row in stat.splitlines()]
    in_bytes = keys[: next(at for at, key in enumerate(keys) if key.startswith(("workingset_", "pg")))]
    kinds = {name for name in entry if name.startswith("OOM_DOMAIN_STAT_")}
    assert kinds == {schema.family_name(schema.DOMAIN_STAT, key) for key in in_bytes}
    print(f"names of fields: {len(entry)}")


def full_files() -> set[str]:
    return {path.name for path in Path("/var/log/journal").glob("*/system@*.journal")}


@pytest.mark.matrix("journal files")
def test_full_entries_begin_no_new_journal_file(here: live.Moment, level: str) -> None:
    """As this systemd's journald does when one file holds 250 field names."""
    run("journalctl", "--rotate")
    before = full_files()
    with live.cgroup("names", LIMIT) as where:
        for _ in range(4):
            live.kill_one(where)
        entries = kills_after(here, 4, level)
    assert {entry["OOM_DETAIL"] for entry in entries} == {"full"}
    print(f"names of fields: {max(len(entry) for entry in entries)}")
    assert full_files() == before
