# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl stats`` on a real journal."""

import json
from collections import Counter
from pathlib import Path

import pytest

from oomkilld.ctl.columns import width
from tests.support.journals import write
from tests.unit.ctl.samples import AT_USEC, SECOND, Ran, changed, ctl, kill, missed
from tests.unit.ctl.test_terminal import PLAIN, on_terminal

GAPS = "The counts lack 3 kills without an entry, 3 unusable entries.\n"
FIRST, GROUPED, LATE, EDITOR = "13:23:32", "13:24:32", "12:23:32", "13:26:32"


def row(name: str, kills: int, total: str, largest: str, *times: str) -> str:
    first, last = (f"2026-11-27 {time}" for time in times)
    return f"{name} {kills:>6} {total:>8} {largest:>8} {first} {last}\n"


CASES = {
    "comm": [
        row("java    ", 6, "175.9M", "29.3M", GROUPED, GROUPED),
        row("editor  ", 1, "-", "-", EDITOR, EDITOR),
        row("postgres", 1, "29.3M", "29.3M", FIRST, FIRST),
        row("victim  ", 1, "29.3M", "29.3M", LATE, LATE),
    ],
    "slice": [
        row("kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice", 6, "175.9M", "29.3M", GROUPED, GROUPED),
        row("tenants.slice".ljust(54), 2, "58.6M", "29.3M", LATE, FIRST),
        row("user-1000.slice".ljust(54), 1, "-", "-", EDITOR, EDITOR),
    ],
    "pod": [
        row("shop/web-7d9", 6, "175.9M", "29.3M", GROUPED, GROUPED),
        row("-           ", 3, "58.6M", "29.3M", LATE, EDITOR),
    ],
    "container": [
        row("abababababab", 6, "175.9M", "29.3M", GROUPED, GROUPED),
        row("-           ", 3, "58.6M", "29.3M", LATE, EDITOR),
    ],
    "domain": [
        row("shop/web-7d9 ", 6, "175.9M", "29.3M", GROUPED, GROUPED),
        row("tenants.slice", 2, "58.6M", "29.3M", LATE, FIRST),
        row("host         ", 1, "-", "-", EDITOR, EDITOR),
    ],
    "host": [row("web1", 9, "234.5M", "29.3M", LATE, EDITOR)],
    "source": [row("kprobe", 9, "234.5M", "29.3M", LATE, EDITOR)],
    "day": [row("2026-11-27", 9, "234.5M", "29.3M", LATE, EDITOR)],
    "hour": [
        row("2026-11-27 12:00", 1, "29.3M", "29.3M", LATE, LATE),
        row("2026-11-27 13:00", 8, "205.2M", "29.3M", FIRST, EDITOR),
    ],
}


@pytest.mark.parametrize("by", CASES)
def test_kills_are_counted_by(web1: Path, by: str) -> None:
    ran = ctl("-D", web1, "stats", "--by", by)
    head, *lines = ran.out.splitlines(keepends=True)
    assert ran.status == 0
    assert lines == [*CASES[by], "\n", f"9 kills, 1 of them stuck. {GAPS}"]
    assert head.split() == [by.upper(), "KILLS", "RSS", "SUM", "RSS", "MAX", "FIRST", "LAST"]
    assert head.index("FIRST") == lines[0].index("2026-", 10)


def test_units_are_the_default_and_those_of_users_count(web1: Path) -> None:
    names = [line.split()[:2] for line in ctl("-D", web1, "stats", "--no-legend").out.splitlines()]
    container = f"cri-containerd-{'ab' * 32}.scope"
    assert names == [[container, "6"], ["app-editor.service", "1"], ["db.service", "1"], ["victim.service", "1"]]


def test_stats_of_a_selection(web1: Path) -> None:
    out = ctl("-D", web1, "stats", "--by", "comm", "-u", "db.service").out.splitlines()
    assert out[1].startswith("postgres      1 ")
    assert out[-1] == "1 kill, 1 of them stuck. The counts lack 3 kills of unknown processes."


def test_json_has_an_object_for_each_row_and_one_for_what_is_missing(web1: Path) -> None:
    lines = [json.loads(line) for line in ctl("-D", web1, "stats", "--by", "comm", "-j").out.splitlines()]
    assert lines[0] == {
        "comm": "java",
        "kills": 6,
        "resident_bytes_total": 6 * 30736384,
        "resident_bytes_largest": 30736384,
        "first_usec": 1795785872000000,
        "last_usec": 1795785872005000,
    }
    assert lines[1]["resident_bytes_total"] is None
    assert lines[-1] == {"comm": None, "missed": 3}
    assert json.loads(ctl("-D", web1, "stats", "--by", "comm", "--json=pretty").out) == lines


def test_json_names_on_stderr_what_it_cannot_count(web1: Path) -> None:
    said = "oomkillctl: 3 kills of unknown processes have no entry\n"
    for words, err in ((["-u", "db.service"], said), (["-u", "db.service", "-q"], ""), ([], "")):
        assert ctl("-D", web1, "stats", "-j", *words).err.endswith(err)
        assert (said in ctl("-D", web1, "stats", "-j", *words).err) is bool(err)


def test_bare_warns_about_what_it_cannot_read(tmp_path: Path) -> None:
    broken = kill(2, 1, OOM_TIMESTAMP="x")
    said = "oomkillctl: an entry from 2026-11-27 13:23:33 lacks OOM_TIMESTAMP, ignoring\n"
    write(tmp_path / "some/system.journal", [kill(1), broken])
    ran = ctl("-D", tmp_path / "some", "stats", "--bare")
    assert (ran.status, ran.out[:10], ran.err) == (0, "1 OOM kill", said)
    write(tmp_path / "none/system.journal", [broken])
    assert ctl("-D", tmp_path / "none", "stats", "--bare") == Ran(1, "", said)


@pytest.mark.parametrize("form", ["off", "short", "pretty"])
def test_nothing_to_count_has_its_own_status(web1: Path, form: str) -> None:
    ran = ctl("-D", web1, "stats", "-S", "@1795786000", f"--json={form}")
    assert ran == Ran(1, "[]\n" if form == "pretty" else "", "oomkillctl: no kills found\n")


def test_bare_is_one_line_and_none_if_there_is_nothing_to_report(web1: Path, tmp_path: Path) -> None:
    last = "9 OOM kills, the last at 2026-11-27 13:26:32: editor (app-editor.service); 3 more without an entry; "
    assert ctl("-D", web1, "stats", "--bare").out == f"{last}see `oomkillctl list`\n"
    last = "1 OOM kill, the last at 2026-11-27 13:23:32: postgres (db.service); 3 more without an entry; "
    assert ctl("-D", web1, "stats", "--bare", "-u", "db.service").out == f"{last}see `oomkillctl list`\n"
    assert ctl("-D", web1, "stats", "--bare", "-S", "@1795786000") == Ran(1, "", "")
    write(tmp_path / "system.journal", [missed(2, 0)])
    assert ctl("-D", tmp_path, "stats", "--bare").out == "0 OOM kills; 2 more without an entry; see `oomkillctl list`\n"


def test_a_login_without_a_journal_stays_quiet(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "none"):
        assert ctl("-D", where, "stats", "--bare", "-q") == Ran(5, "", "")
        for words in (["--bare"], ["-q"]):
            assert ctl("-D", where, "stats", *words).err.startswith("oomkillctl: found no journal files in ")
    assert "expected one of" in ctl("-D", tmp_path, "stats", "--bare", "-q", "--by", "color").err


def test_what_is_unknown_is_null_in_json(tmp_path: Path) -> None:
    """A process may be named -, too."""
    unknown = {"OOM_VICTIM_COMM": None, "OOM_TIMESTAMP": str(1 << 62)}
    entries = [changed(unknown, 1, 5), kill(2, 1, OOM_VICTIM_COMM="-"), kill(3, 2, OOM_VICTIM_COMM="-"), missed(4, 9)]
    write(tmp_path / "system.journal", entries)
    for by, groups in (("comm", [("-", 2), (None, 1)]), ("hour", [("2026-11-27 13:00", 2), (None, 1)])):
        rows = [json.loads(line) for line in ctl("-D", tmp_path, "stats", "--by", by, "-j").out.splitlines()]
        assert [(row[by], row["kills"]) for row in rows[:-1]] == groups
        assert rows[-1] == {by: None, "missed": 4}
    names = [line.split()[:2] for line in ctl("-D", tmp_path, "stats", "--by", "comm", "--no-legend").out.splitlines()]
    assert names == [["-", "2"], ["-", "1"]]


# Seconds since 1970 of the hour before the clock changes in a zone, and the labels of that hour and of those after it.
CHANGES = [
    ("Europe/Berlin", 1792882800, ["10-25 01:00", "10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00"]),
    ("America/New_York", 1793509200, ["11-01 01:00 -0400", "11-01 01:00 -0500", "11-01 02:00", "11-01 03:00"]),
    ("Europe/Berlin", 1774742400, ["03-29 01:00", "03-29 03:00", "03-29 04:00", "03-29 05:00"]),
    ("UTC", 1792882800, ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]),
]


@pytest.mark.parametrize(("zone", "begin", "labels"), CHANGES)
def test_each_hour_is_a_row_when_the_clock_changes(tmp_path: Path, zone: str, begin: int, labels: list[str]) -> None:
    after = begin - AT_USEC // SECOND
    times = sorted(after + 3600 * hour + minute for hour in range(4) for minute in (0, 1800, 3599))
    write(tmp_path / "system.journal", [kill(number, at) for number, at in enumerate(times, start=1)])
    by_hour = ("-D", tmp_path, "stats", "--by", "hour")
    lines = ctl(*by_hour, "--no-legend", environment={"TZ": zone}).out.splitlines()
    names = [f"2026-{label}" for label in labels]
    longest = max(map(len, names))
    assert [(line[:longest].rstrip(), line[longest:].split()[0]) for line in lines] == [(name, "3") for name in names]
    rows = [json.loads(line) for line in ctl(*by_hour, "-j", environment={"TZ": zone}).out.splitlines()]
    assert [(row["hour"], row["kills"]) for row in rows] == [(name, 3) for name in names]
    assert [row["first_usec"] // SECOND for row in rows] == [begin + 3600 * hour for hour in range(4)]
    # The label does not depend on what else happened.
    (alone,) = ctl(*by_hour, "-jq", "00000004", environment={"TZ": zone}).out.splitlines()
    assert json.loads(alone)["hour"] == names[1]
    by_day = ("-D", tmp_path, "stats", "--by", "day", "--no-legend")
    days = [tuple(line.split()[:2]) for line in ctl(*by_day, environment={"TZ": zone}).out.splitlines()]
    assert days == [(day, str(3 * count)) for day, count in Counter(name[:10] for name in names).items()]


NARROW = {
    (40, "comm"): ["COMM      KILLS  RSS MAX LAST", "java          6    29.3M 11-27 13:24:32"],
    (40, "unit"): ["UNIT                      KILLS  RSS MAX", "cri-containe…babab.scope      6    29.3M"],
    (50, "unit"): [
        "UNIT                 KILLS  RSS MAX LAST",
        "cri-conta…bab.scope      6    29.3M 11-27 13:24:32",
    ],
    (60, "unit"): [
        "UNIT                  KILLS  RSS SUM  RSS MAX LAST",
        "cri-contai…bab.scope      6   175.9M    29.3M 11-27 13:24:32",
    ],
    (80, "unit"): [
        "UNIT                       KILLS  RSS SUM  RSS MAX FIRST          LAST",
        "cri-containe…ababab.scope      6   175.9M    29.3M 11-27 13:24:32 11-27 13:24:32",
    ],
    (80, "comm"): [
        "COMM      KILLS  RSS SUM  RSS MAX FIRST               LAST",
        "java          6   175.9M    29.3M 2026-11-27 13:24:32 2026-11-27 13:24:32",
    ],
}


@pytest.mark.parametrize(("columns", "by"), NARROW, ids=str)
def test_a_narrow_terminal_shows_what_matters_most(web1: Path, columns: int, by: str) -> None:
    seen = on_terminal("-D", web1, *PLAIN, "stats", "--by", by, columns=columns)
    assert seen.lines[:2] == NARROW[columns, by]


@pytest.mark.parametrize("columns", [20, 40, 50, 60, 74, 75, 80, 100, 200])
@pytest.mark.parametrize("by", ["unit", "comm", "hour"])
def test_no_line_is_wider_than_the_terminal(web1: Path, columns: int, by: str) -> None:
    seen = on_terminal("-D", web1, *PLAIN, "stats", "-q", "--by", by, columns=columns)
    lines = [line for line in seen.lines if not line.startswith("oomkillctl: ")]
    assert max(map(width, lines)) <= max(columns, 40)


def test_where_nothing_is_counted_no_column_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [missed(2, 0)])
    lines = on_terminal("-D", tmp_path, *PLAIN, "stats", columns=40).lines
    assert lines == ["", "0 kills.", "The counts lack 2 kills without an", "entry."]


@pytest.mark.parametrize("columns", [40, 50, 60, 80])
def test_a_time_is_never_cut(tmp_path: Path, columns: int) -> None:
    at = 1792886400 - AT_USEC // SECOND
    write(tmp_path / "system.journal", [kill(1, at), kill(2, at + 3600)])
    by_hour = ("-D", tmp_path, *PLAIN, "stats", "--by", "hour", "--no-legend")
    lines = on_terminal(*by_hour, columns=columns, environment={"TZ": "Europe/Berlin"}).lines
    assert [line[:22] for line in lines] == ["2026-10-25 02:00 +0200", "2026-10-25 02:00 +0100"]


def test_the_head_names_the_zone_of_what_is_counted_by_time(web1: Path) -> None:
    for by, title in (("hour", "HOUR"), ("day", "DAY"), ("comm", "COMM")):
        is_time = by != "comm"
        assert ctl("-D", web1, "stats", "--by", by).out.startswith(f"{title} ")
        assert ctl("-D", web1, "stats", "--by", by, "--utc").out.startswith(f"{title} (UTC) ") == is_time


def test_a_wrong_by_names_the_right_ones(web1: Path) -> None:
    ran = ctl("-D", web1, "stats", "--by", "color")
    expected = "unit, container, pod, comm, slice, host, day, hour, domain, source"
    said = f"oomkillctl: --by: found 'color', expected one of {expected}\noomkillctl: see `oomkillctl --help`\n"
    assert ran == Ran(2, "", said)


def test_the_day_is_that_of_the_local_zone(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1), kill(2, 11 * 3600)])
    for zone, days in (("UTC", ["2026-11-27", "2026-11-28"]), ("Pacific/Auckland", ["2026-11-28"])):
        out = ctl("-D", tmp_path, "stats", "--by", "day", "--no-legend", environment={"TZ": zone}).out
        assert [line.split()[0] for line in out.splitlines()] == days
    out = ctl("-D", tmp_path, "stats", "--by", "day", "--utc", environment={"TZ": "Pacific/Auckland"}).out
    assert out.splitlines()[0].endswith("LAST (UTC)")
    assert out.splitlines()[1].startswith("2026-11-27 ")
