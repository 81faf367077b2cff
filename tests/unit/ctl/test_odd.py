# SPDX-License-Identifier: Apache-2.0
"""What neither the service nor journald writes, but a sender, a damaged file or another clock may bring."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import exported, write, writing
from tests.unit.ctl.around import FAILED, RUN, by_oomd, by_systemd
from tests.unit.ctl.conftest import ids, shown
from tests.unit.ctl.samples import (
    AT_USEC,
    JAVA,
    POSTGRES,
    SECOND,
    Change,
    Sent,
    changed,
    ctl,
    environment_of,
    kill,
    kill_id,
    missed,
)
from tests.unit.ctl.test_info import sheet, values

LEGEND = "--no-legend"
NAMES = [
    (b"__RECEIVED_FROM", b"web9"),
    (b"__REALTIME_TIMESTAMP", b"1"),
    (b"__CURSOR", b"x"),
    (b"OOM_MEMINFO_a", b"12345"),
    (b"OOM_MEMINFO_" + b"A" * 60, b"12345"),
]


def binary(name: bytes, value: bytes) -> bytes:
    """A field in the form that takes any name."""
    return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def write_with(file: Path, sent: Sent, *fields: tuple[bytes, bytes]) -> Path:
    """An entry with further fields, whose names may be anything."""
    with writing(file) as stream:
        stream.write(exported(*sent)[:-1] + b"".join(binary(*field) for field in fields) + b"\n")
    return file


@pytest.mark.parametrize("field", NAMES, ids=lambda field: str(field[0]))
def test_a_name_that_is_none_is_left_out(tmp_path: Path, field: tuple[bytes, bytes]) -> None:
    write_with(tmp_path / "remote-web1.journal", kill(1), field)
    (plain,) = ctl("--file", write(tmp_path / "plain.journal", [kill(1)]), "-j").out.splitlines()
    (line,) = ctl("--file", f"{tmp_path}/remote-web1.journal", "-j").out.splitlines()
    assert json.loads(line) == json.loads(plain) | {"__RECEIVED_FROM": "web1"}


@pytest.mark.parametrize("name", ["OOM_MEMINFO_\x1b[31mR", "OOM_VMSTAT_\u202eZZZZZ", "OOM_DOMAIN_STAT_\x1b]0;_BYTES"])
def test_a_name_does_not_reach_the_terminal(tmp_path: Path, name: str) -> None:
    """The receiver refuses such names; a file may hold them."""
    raw, stands_for = name.encode(), "OOM_MEMINFO_Q".ljust(len(name.encode()), "Q")
    file = write(tmp_path / "system.journal", [changed({stands_for: "99887766"}, 1)])
    assert stands_for.removeprefix("OOM_MEMINFO_").lower() in ctl("-D", tmp_path, "info", "-a").out
    content = file.read_bytes()
    assert content.count(stands_for.encode()) == 2
    file.write_bytes(content.replace(stands_for.encode(), raw))
    for words in (["info", "-a"], ["info"], ["-j"]):
        out = ctl("-D", tmp_path, *words).out
        assert kill_id(1) in out
        assert "99887766" not in out


MEMBER: dict[str, Any] = {"OOM_GROUP_KILL": "1", "OOM_DECISION_ID": "d" * 32}


@pytest.mark.parametrize("other", [{"_MACHINE_ID": "b" * 32}, {"_BOOT_ID": "2" * 32}], ids=str)
def test_kills_of_another_machine_or_boot_are_no_members_of_a_group(tmp_path: Path, other: dict[str, Any]) -> None:
    entries = [kill(1, 0, JAVA, **MEMBER), kill(2, 1, **MEMBER, **other), kill(3, 2, POSTGRES, **MEMBER)]
    write(tmp_path / "system.journal", entries)
    lines = ctl("-D", tmp_path, LEGEND).out.splitlines()
    assert [(line[:8], line.endswith(" +1 more")) for line in lines] == [(shown(1), True), (shown(2), False)]
    assert re.findall(r"Killed: \d+ \((\w+)", ctl("-D", tmp_path, "info", "-n", "all").out) == ["java", "victim"]


def test_kills_of_another_sender_are_no_members_of_a_group(tmp_path: Path) -> None:
    write(tmp_path / "remote-evil.journal", [kill(9, -1, **MEMBER)])
    write(tmp_path / "remote-web1.journal", [kill(1, 0, JAVA, **MEMBER), kill(2, 0.1, POSTGRES, **MEMBER)])
    lines = ctl("-D", tmp_path, LEGEND).out.splitlines()
    assert [(line[:8], line.endswith(" +1 more")) for line in lines] == [(shown(9), False), (shown(1), True)]


def test_a_machine_cannot_hide_the_kill_of_another_by_its_id(tmp_path: Path) -> None:
    """Both are in one directory without a receiver's names, as copies are."""
    write(tmp_path / "system.journal", [kill(1, 0, _MACHINE_ID="b" * 32), kill(1, 1), kill(1, 1)])
    assert ids(ctl("-D", tmp_path, LEGEND)) == [shown(1), shown(1)]


IDS = ["zz", "", "   " + "a" * 32, "aa " * 16, "ABCDEF12" + "0" * 24]


@pytest.mark.parametrize("event", ["kill", "missed", "level", "stuck"])
@pytest.mark.parametrize("kill_id_", IDS)
def test_an_id_that_is_none_is_warned_about_and_left_out(tmp_path: Path, event: str, kill_id_: str) -> None:
    odd = changed({"OOM_EVENT": event, "OOM_KILL_ID": kill_id_, "OOM_MISSED": "1"}, 9, 5)
    write(tmp_path / "remote-evil.journal", [odd])
    write(tmp_path / "remote-web1.journal", [kill(1), kill(2, 10)])
    ran = ctl("-D", tmp_path, LEGEND, "--event", "all")
    assert ran.err == "oomkillctl: an entry from 2026-11-27 13:23:37 lacks OOM_KILL_ID, ignoring\n"
    assert ids(ran) == [shown(1), shown(2)]


def test_an_id_that_is_there_twice_is_none(tmp_path: Path) -> None:
    sent = missed(1, 5, OOM_KILL_ID=kill_id(8))
    write_with(tmp_path / "remote-evil.journal", sent, (b"OOM_KILL_ID", kill_id(9).encode()))
    write(tmp_path / "remote-web1.journal", [kill(1)])
    ran = ctl("-D", tmp_path, LEGEND)
    assert (ran.status, ids(ran)) == (0, [shown(1)])
    assert ran.err == "oomkillctl: an entry from 2026-11-27 13:23:37 lacks OOM_KILL_ID, ignoring\n"


def test_what_systemd_wrote_about_another_run_of_the_unit_does_not_belong_to_a_kill(tmp_path: Path) -> None:
    entries = [
        by_systemd(0.1, "db.service", FAILED, "this run"),
        by_systemd(0.2, "db.service", FAILED, "without one", INVOCATION_ID=None),
        by_systemd(3, "db.service", FAILED, "the next run", INVOCATION_ID="2" * 32),
        by_systemd(4, "tenants.service", FAILED, "the limit's", INVOCATION_ID="3" * 32),
    ]
    changes: dict[str, Change] = {"OOM_DOMAIN_UNIT": "tenants.service"}
    for run, expected in (
        (RUN, ["this run", "the limit's"]),
        ("no id", ["this run", "without one", "the next run", "the limit's"]),
    ):
        changes["OBJECT_SYSTEMD_INVOCATION_ID"] = run
        directory = tmp_path / run
        write(directory / "system.journal", [kill(1, 0, POSTGRES, **changes), *entries])
        assert [line.rpartition("service: ")[2] for line in values(sheet("-D", directory), "Related")] == expected


def test_what_systemd_wrote_before_a_kill_does_not_take_the_place_of_what_it_wrote_then(tmp_path: Path) -> None:
    """A unit without an invocation that is killed again and again."""
    before = [by_systemd(-9 + number / 2, "db.service", FAILED, f"old {number}") for number in range(15)]
    of_oomd = [by_oomd(-9 + number / 2, f"Killed /{number}") for number in range(12)]
    after = [by_systemd(-0.5, "db.service", FAILED, "0"), by_systemd(0.1, "db.service", FAILED, "1")]
    at = kill(1, 0, POSTGRES, OBJECT_SYSTEMD_INVOCATION_ID=None)
    write(tmp_path / "system.journal", [*before, *of_oomd, *after, at])
    found = [line.rpartition(": ")[2] for line in values(sheet("-D", tmp_path), "Related")]
    assert found == [*(f"Killed /{number}" for number in range(10)), "0", "1"]


def test_a_report_of_missed_kills_that_came_twice_counts_once(tmp_path: Path) -> None:
    fields, at_usec = missed(3, 5)
    once = (fields, at_usec)
    again = (fields, at_usec + 60 * SECOND)
    others = [
        missed(3, 6, _BOOT_ID="2" * 32),
        missed(3, 7, _MACHINE_ID="b" * 32),
        missed(4, 8),
        missed(3, 9, MESSAGE="x"),
    ]
    write(tmp_path / "remote-web1.journal", [once, kill(1), once, again, *others])
    write(tmp_path / "remote-web2.journal", [once])
    ran = ctl("-D", tmp_path)
    assert ran.out.endswith("The list lacks 19 kills without an entry.\n")
    assert json.loads(ctl("-D", tmp_path, "stats", "-j").out.splitlines()[-1])["missed"] == 19


def test_an_entry_without_an_id_that_came_twice_counts_once(tmp_path: Path) -> None:
    level = {"OOM_EVENT": "level", "OOM_KILL_ID": None, "OOM_TIMESTAMP": None}
    unkillable = {"OOM_EVENT": "unkillable", "OOM_KILL_ID": None}
    entries = [changed(changes, 1, after) for changes in (level, unkillable) for after in (0, 0, 5)]
    write(tmp_path / "system.journal", entries)
    lines = ctl("-D", tmp_path, LEGEND, "--event", "all").out.splitlines()
    assert [line[20:].split()[:2] for line in lines] == [
        ["13:23:32", "level:"],
        ["13:23:37", "level:"],
        ["13:23:32", "unkillable:"],
        ["13:23:37", "unkillable:"],
    ]


def test_a_link_to_nothing_does_not_hide_the_other_files(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1)])
    (tmp_path / "old.journal").symlink_to(tmp_path / "none")
    ran = ctl("-D", tmp_path)
    assert (ran.status, ids(ran)[1]) == (0, shown(1))
    assert ran.out.endswith("1 kill. The list lacks what is in 1 unreadable file.\n")
    assert ran.err == f"oomkillctl: Failed to open {tmp_path}/old.journal: No such file or directory, ignoring\n"


@pytest.mark.parametrize("words", [["-r"], ["-n", "9"]], ids=str)
def test_a_clock_that_was_far_back_for_a_while_ends_no_search(tmp_path: Path, words: list[str]) -> None:
    entries = [
        kill(1, 10),
        *((kill(n, 20 + n)[0], AT_USEC - 10**6 * SECOND + n) for n in range(2, 900)),
        kill(900, 900),
    ]
    write(tmp_path / "system.journal", entries)
    since = ["-S", f"@{AT_USEC // SECOND}"]
    assert {shown(1), shown(900)} <= {*ids(ctl("-D", tmp_path, LEGEND, *since, *words))}


def test_of_what_is_too_old_a_thousand_entries_are_read(tmp_path: Path) -> None:
    old = [kill(number, -20_000 + number) for number in range(2, 1003)]
    write(tmp_path / "system.journal", [kill(1, 10), *old])
    assert ids(ctl("-D", tmp_path, LEGEND, "-r", "-S", f"@{AT_USEC // SECOND}")) == []


def many(directory: Path, files: int) -> None:
    one = write(directory / "remote-h0.journal", [kill(1)])
    for number in range(1, files):
        shutil.copy(one, directory / f"remote-h{number}.journal")


def limited(limit: str, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = f'ulimit {limit}; exec /usr/bin/python3 -m oomkilld.ctl -D "$@"'
    return subprocess.run(
        ["bash", "-c", command, "ctl", directory, *words],
        env=environment_of(),
        capture_output=True,
        check=False,
        text=True,
    )


@pytest.mark.parametrize("words", [[LEGEND], [LEGEND, "-r"], [LEGEND, "--oneline"], ["-j"]], ids=str)
def test_more_files_are_open_than_the_soft_limit_allows(tmp_path: Path, words: list[str]) -> None:
    many(tmp_path, 60)
    run = limited("-Sn 40", tmp_path, *words)
    assert (run.returncode, len(run.stdout.splitlines()), run.stderr) == (0, 60, "")
    few = limited("-n 50", tmp_path, *words)
    assert few.returncode == 0
    assert len(few.stdout.splitlines()) + few.stderr.count(": Too many open files, ignoring\n") == 60
    assert len(few.stderr.splitlines()) == few.stderr.count("Failed to open ")


def test_of_one_machine_too_many_files_are_a_failure_that_says_so(tmp_path: Path) -> None:
    many(tmp_path / "received", 60)
    for file in (tmp_path / "received").iterdir():
        file.rename(tmp_path / f"{file.name.removeprefix('remote-')}")
    run = limited("-n 50", tmp_path)
    assert (run.returncode, run.stdout) == (5, "")
    assert "Too many open files" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("count", ["0", "-6", "x", "1_0", " 7 "])
def test_a_number_of_missed_kills_that_is_none_is_warned_about_and_left_out(tmp_path: Path, count: str) -> None:
    write(tmp_path / "system.journal", [missed(6, 1), missed(6, 2, OOM_MISSED=count)])
    for words in ([], ["stats"]):
        ran = ctl("-D", tmp_path, *words)
        assert re.search(r" lacks? 6 kills without an entry, 1 unusable entry\.\n$", ran.out)
        assert ran.err == "oomkillctl: an entry from 2026-11-27 13:23:34 lacks OOM_MISSED, ignoring\n"


def test_a_negative_size_is_unknown(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, OOM_VICTIM_RSS_BYTES="-1", OOM_DOMAIN_USAGE_BYTES="-9")])
    assert " - " in ctl("-D", tmp_path, LEGEND).out
    text = sheet("-D", tmp_path)
    assert values(text, "Usage") == ["a limit of 30.0M"]
    assert "resident" not in text


def test_a_negative_count_or_duration_is_unknown(tmp_path: Path) -> None:
    names = ("CANDIDATES", "DOMAIN_EVENTS_MAX", "VICTIM_AGE_USEC", "SAMPLE_DELAY_USEC", "GREW_WINDOW_USEC")
    odd: dict[str, Change] = {f"OOM_{name}": "-1" for name in names}
    odd |= {"OOM_GREW_1_CGROUP": "/a", "OOM_GREW_1_BYTES": "1024"}
    end: dict[str, Change] = {"OOM_EVENT": "gone", "OOM_EXIT_AFTER_USEC": "-1"}
    write(tmp_path / "system.journal", [changed(odd, 1), changed(end, 1, 9)])
    text = sheet("-D", tmp_path)
    assert "-1 " not in text
    assert (values(text, "Chosen from"), values(text, "Grew")) == ([], ["   1.0K /a"])
    assert values(text, "Outcome") == ["2026-11-27 13:23:41 gone, nobody saw when"]


NUMBERS = [
    ("OOM_LOADAVG_1", "nan", "nan"),
    ("OOM_LOADAVG_1", "-inf", "-inf"),
    ("OOM_LOADAVG_1", "1e999", "1e999"),
    ("OOM_LOADAVG_1", "9" * 400, "9" * 400),
    ("OOM_LOADAVG_1", "-1.5", -1.5),
    ("OOM_LOADAVG_1", "2", 2.0),
    ("OOM_LOADAVG_1", "2.", "2."),
    ("OOM_VICTIM_PID", "1_0", "1_0"),
    ("OOM_VICTIM_UID", " 7 ", " 7 "),
    ("OOM_VICTIM_UID", "+7", "+7"),
    ("OOM_VICTIM_RSS_BYTES", "9" * 21, "9" * 21),
    ("OOM_VICTIM_RSS_BYTES", "9" * 20, int("9" * 20)),
]


@pytest.mark.parametrize(("name", "value", "expected"), NUMBERS)
def test_in_json_a_number_is_what_every_program_reads_as_one(
    tmp_path: Path, name: str, value: str, expected: object
) -> None:
    write(tmp_path / "system.journal", [changed({name: value}, 1)])

    def refuse(text: str) -> object:
        raise AssertionError(text)

    found = json.loads(ctl("-D", tmp_path, "-j").out, parse_constant=refuse)[name]
    assert (found, type(found)) == (expected, type(expected))
