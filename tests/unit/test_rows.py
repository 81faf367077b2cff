# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from oomkilld import schema
from oomkilld.record.enrich.memcgusage import TOP
from oomkilld.record.enrich.rows import (
    ALL,
    COMMON_MEMINFO,
    COMMON_PRESSURE,
    COMMON_STAT,
    COMMON_VMSTAT,
    Wanted,
    kept,
    wanted,
)
from oomkilld.schema import pressure_names

# journald begins a new file when one holds this many field names: more than three quarters of 333.
FULL_FILE = 250
# The names of journald itself in this service's entries, of the kernel's entries and of systemd's own.
OF_OTHERS = 50


@pytest.mark.parametrize(
    ("meminfo", "statistics", "expected"),
    [
        ("common", "common", Wanted(COMMON_MEMINFO, COMMON_STAT, COMMON_VMSTAT, COMMON_PRESSURE)),
        ("all", "all", ALL),
        (["MemFree"], "all", Wanted(["MemFree"])),
        ("all", "common", Wanted(None, COMMON_STAT, COMMON_VMSTAT, COMMON_PRESSURE)),
    ],
)
def test_settings_select_rows(meminfo: str | list[str], statistics: str, expected: Wanted) -> None:
    assert wanted(meminfo, statistics) == expected


def test_selected_rows_that_exist_are_kept() -> None:
    rows = {"b": 2, "a": 1, "c": 3}
    assert kept(rows, None) == rows
    assert kept(rows, ["a", "b", "z"]) == {"a": 1, "b": 2}


# The flight recorder is off by default.
OF_THE_RECORDER = ("OOM_GREW_", "OOM_TREND", "OOM_HISTORY_")


def test_the_common_rows_and_a_plain_kill_leave_room_for_the_names_of_others() -> None:
    """The cgroup is a unit in a slice, without container, pod or session, and without protected cgroups below it."""
    not_plain = (
        "SESSION",
        "MACHINE",
        "USER_UNIT",
        "CONTAINER_",
        "POD_",
        "CMDLINE",
        "OOM_PSI_",
        "OOM_MISSED",
        "OOM_LEVEL",
        *OF_THE_RECORDER,
    )
    plain = {field.name for field in schema.FIELDS if not any(part in field.name for part in not_plain)}
    pressure = [
        name for resource in COMMON_PRESSURE for kind in ("some", "full") for name in pressure_names(resource, kind)
    ]
    version_1 = {"rss", "cache", "mapped_file", "swap", "dirty"}
    numbered = TOP * (len(schema.NUMBERED) - 1)
    rows = len(COMMON_MEMINFO) + len(set(COMMON_STAT) - version_1) + len(COMMON_VMSTAT) + len(pressure) + numbered
    print(f"{len(plain) + rows} names")
    assert len(plain) + rows + OF_OTHERS < FULL_FILE


def test_rows_that_say_where_memory_is_that_no_process_has_are_common() -> None:
    assert {"Mlocked", "SecPageTables", "HugePages_Free", "Balloon"} <= {*COMMON_MEMINFO}
    assert "nr_zspages" in COMMON_VMSTAT


def test_values_at_the_kill_have_counterparts_after_it() -> None:
    at_kill = {
        field.name for field in schema.FIELDS if field.name.startswith("OOM_AT_KILL_") if "LOADAVG" not in field.name
    }
    of_domain = {name for name in at_kill if name.startswith("OOM_AT_KILL_DOMAIN_")}
    common = {schema.family_name(schema.MEMINFO_BYTES, key) for key in COMMON_MEMINFO}
    assert {name.replace("AT_KILL", "MEMINFO") for name in at_kill - of_domain} <= common
    common = {schema.family_name(schema.DOMAIN_STAT, key) for key in COMMON_STAT}
    assert {name.replace("AT_KILL_DOMAIN", "DOMAIN_STAT") for name in of_domain} <= common


def test_the_manual_page_names_the_common_rows() -> None:
    page = (Path(__file__).parents[2] / "packaging/man/oomkilld.toml.5").read_text().split()
    words = {word.strip(".,()") for word in page} | {word.strip(".,") for word in page}
    assert {*COMMON_MEMINFO, *COMMON_STAT, *COMMON_VMSTAT} <= words


def test_names_of_rows_that_never_come_again_fill_no_memory() -> None:
    for number in range(2000):
        line = schema.format_row(schema.MEMINFO_COUNT, f"Row {number}", number)
        assert line == f"OOM_MEMINFO_ROW_{number}={number}".encode()
    assert len(schema._row_lines) <= 512
