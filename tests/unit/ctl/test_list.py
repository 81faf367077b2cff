# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl list`` on a real journal: each row of the table is a call, and what it must print."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from oomkilld.ctl.options import VERBS
from tests.support.journals import BOOT, write
from tests.unit.ctl import conftest
from tests.unit.ctl.samples import (
    ARRIVAL_USEC,
    AT_USEC,
    JAVA,
    LOAD,
    PYTHON,
    ROOT,
    SECOND,
    changed,
    ctl,
    environment_of,
    group,
    kill,
    kill_id,
)

HEAD = "ID       TIME                    PID   UID VICTIM          UNIT                        RSS  LIMIT OF\n"
DB = "00000001 2026-11-27 13:23:32     553    26 postgres        db.service                29.3M  30.0M tenants.slice"
DB += " stuck\n"
WEB = "00000010 2026-11-27 13:24:32     700  1000 java            shop/web-7d9              29.3M  30.0M shop/web-7d9"
EDIT = "00000002 2026-11-27 13:26:32 4194303  1000 editor          app-editor.service            -  30.0M host\n"
VICTIM = "victim          victim.service            29.3M  30.0M tenants.slice\n"
LATE = f"00000003 2026-11-27 12:23:32    4242  1000 {VICTIM}"
MISSED = "-        2026-11-27 13:25:32 3 kills without an entry (ring-full)\n"
STUCK = f"00000001 2026-11-27 13:23:32 stuck: {conftest.STUCK}\n"
GAPS = " The list lacks 3 kills without an entry, 3 unusable entries.\n"
ASIDE = " The list lacks 3 kills of unknown processes"
MEMBERS = "".join(f"0000001{n} {WEB[9:].replace(' 700 ', f' 70{n} ')}\n" for n in range(1, 6))
GROUP = f"{WEB} +5 more\n"
BROKEN = """\
oomkillctl: an entry from 2026-11-27 13:26:02 lacks OOM_KILL_ID, ignoring
oomkillctl: an entry from 2026-11-27 13:26:12 lacks OOM_TIMESTAMP, ignoring
oomkillctl: an entry from 2026-11-27 13:26:22 lacks OOM_KILL_ID, ignoring
"""
SEE = "oomkillctl: see `oomkillctl --help`\n"
BCC = f'Triggered by PID 4240 ("trigger"), OOM kill of PID {{}} ("{{}}"), 7680 pages, loadavg: {LOAD}\n'


class Case(NamedTuple):
    """A row. ``err``: without the warnings about broken entries."""

    words: str
    out: str
    err: str = ""
    status: int = 0


def table(*lines: str, kills: int, gaps: str = GAPS) -> str:
    stuck = ", 1 of them stuck" * (DB in lines)
    return HEAD + "".join(lines) + f"\n{kills} kill{'s' * (kills != 1)}{stuck}.{gaps}"


def no(*lines: str) -> str:
    return "".join(f"oomkillctl: {line}\n" for line in lines)


ASIDE_NONE = OF_UNKNOWN = "3 kills of unknown processes have no entry"
NO_NAME = "as the name of a process or a pod"
FOR_READING = "it is for list, info, follow, stats"
SCHEMA = "`oomkillctl schema` lists them"
UPPER = "fields are in upper case"
NO_FIELD = "`__…` are no fields"
NO_ENTRY = f"found no entry that matches 'nobody' ({NO_NAME}) and the options; for a unit: -u nobody"
ONE_VERB = "only one verb, as the first word: 'info' was read as a MATCH"
TOO_SHORT = "'{}': an id needs at least 8 digits"

MEANT = [
    ("statz", f"'statz' ({NO_NAME}); for a unit: -u statz", ["'statz' is a MATCH; did you mean the verb stats?"]),
    ("cheese", f"'cheese' ({NO_NAME}); for a unit: -u cheese", []),
    ("show", f"'show' ({NO_NAME})", ["'show' is a MATCH; did you mean the verb info?"]),
    ("tail", f"'tail' ({NO_NAME})", ["'tail' is a MATCH; did you mean the verb follow?"]),
    ("watch", f"'watch' ({NO_NAME})", ["'watch' is a MATCH; did you mean the verb follow?"]),
    ("list info", f"'info' ({NO_NAME})", [ONE_VERB]),
    (
        "db info",
        f"'db' or 'info' ({NO_NAME}); for a unit: -u db",
        [ONE_VERB],
    ),
    (
        "postgres 4242",
        f"'postgres' ({NO_NAME}) and '4242' (as a process id); for a unit: -u postgres",
        ["'4242': an id needs at least 8 digits"],
    ),
    ("b21c", f"'b21c' ({NO_NAME}); for a unit: -u b21c", ["'b21c': an id needs at least 8 digits"]),
    ("B21C0FF", f"'B21C0FF' ({NO_NAME}); for a unit: -u B21C0FF", ["'B21C0FF': an id needs at least 8 digits"]),
    ("b21", f"'b21' ({NO_NAME}); for a unit: -u b21", []),
    ("b21cfb43", "'b21cfb43' (as the beginning of an id)", []),
    ("x.service", "'x.service' (as a unit)", []),
    ("OOM_DOMAIN=hots", "'OOM_DOMAIN=hots'", []),
    ("/usr/bin/db", f"'/usr/bin/db' ({NO_NAME})", []),
    ("d*b", f"'d*b' ({NO_NAME}); for a unit: -u 'd*b'", []),
    ("5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a12", "'5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a12' (as the uid of a pod)", []),
    ("-u db.service editor", f"'editor' ({NO_NAME}) and the options; for a unit: -u editor", []),
    ("stats postgres 12", f"'postgres' ({NO_NAME}) and '12' (as a process id); for a unit: -u postgres", []),
]


@pytest.mark.parametrize(("words", "searched", "hints"), MEANT, ids=str)
def test_what_was_searched_is_named(web1: Path, words: str, searched: str, hints: list[str]) -> None:
    ran = ctl("-D", web1, *words.split())
    err = "".join(line for line in ran.err.splitlines(keepends=True) if line not in BROKEN)
    assert (ran.status, err) == (1, no(f"found no kill that matches {searched}", ASIDE_NONE, *hints))
    assert not ctl("-D", web1, "-q", *words.split()).err.replace(BROKEN, "")


def test_a_file_among_the_matches_was_meant_as_one(web1: Path, tmp_path: Path) -> None:
    for name in ("a.journal", "b.journal"):
        (tmp_path / name).symlink_to(next(web1.iterdir()))
    other = f"{tmp_path}/b.journal"
    said = ctl("--file", f"{tmp_path}/a.journal", other).err.splitlines()[-1]
    assert said == f"oomkillctl: '{other}' is a file: quote the pattern, or repeat --file"
    assert ctl("-D", web1, other).err.splitlines()[-1] == f"oomkillctl: '{other}' is a file: use --file"
    assert "is a file" not in ctl("-D", web1, "/bin/sh").err


NO_FORM = "--json: found 'xml', expected one of short, pretty, off"
NO_TIME = (
    "-S: found 'nonsense', expected a time",
    "see systemd.time(7): such as '2026-11-27 13:00', 'yesterday', '-2h' or '@1795785812'",
)
NO_EVENT = (
    "--event: found 'boom', expected one of kill, spared, unkillable, stuck, gone, missed, level, history, or 'all'",
    "separate several by commas",
)
NO_LEVEL = "--source: found 'magic', expected one of kprobe, fentry, tracepoint, kmsg", "see oomkilld(8)"

CASES = [
    Case("", table(DB, GROUP, MISSED, EDIT, LATE, kills=9)),
    Case("list", table(DB, GROUP, MISSED, EDIT, LATE, kills=9)),
    Case("-r", table(LATE, EDIT, MISSED, GROUP, DB, kills=9)),
    Case("--no-legend", DB + GROUP + MISSED + EDIT + LATE),
    Case("--no-legend -n 2", EDIT + LATE),
    Case("--no-legend -n 2 -r", LATE + EDIT),
    Case("--no-legend -1", EDIT),
    Case("--no-legend -1 -r", EDIT),
    Case("--no-legend -n 9223372036854775808", DB + GROUP + MISSED + EDIT + LATE),
    Case("--no-legend -rn 9223372036854775808", LATE + EDIT + MISSED + GROUP + DB),
    Case("--no-legend -rn4", LATE + EDIT + MISSED + GROUP),
    Case("--no-legend -n 4", GROUP + MISSED + EDIT + LATE),
    Case("--no-legend -n all", DB + GROUP + MISSED + EDIT + LATE),
    Case("-n 2", table(EDIT, LATE, kills=2, gaps="\n")),
    Case("--no-legend --all-members -n 5 java", MEMBERS),
    # MATCH, as coredumpctl tells them apart.
    Case("postgres", table(DB, kills=1, gaps=f"{ASIDE}.\n")),
    Case("/usr/lib/postgresql/bin/postgres", table(DB, kills=1, gaps=f"{ASIDE}.\n")),
    Case("--no-legend victim-bin", DB + GROUP + EDIT + LATE),
    Case("--no-legend 553", DB),
    Case("--no-legend 00553", DB),
    Case("--no-legend 00000001", DB),
    Case("--no-legend 0000000100000", DB),
    Case("--no-legend abababab", GROUP),
    Case("--no-legend ABABABAB", GROUP),
    Case("--no-legend --container ABAB", GROUP),
    Case("--no-legend 5B2C1D9A-8D2E-4C60-8E5E-1F1B8C0A7A11", GROUP),
    Case("--no-legend db.service", DB),
    Case("--no-legend tenants.slice", DB + LATE),
    Case("--no-legend app-editor.service", EDIT),
    Case("--no-legend web-7d9", GROUP),
    Case("--no-legend 5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11", GROUP),
    Case("--no-legend OOM_VICTIM_UID=26", DB),
    Case("--no-legend OOM_MISSED_REASON=ring-full", MISSED),
    # Several of one kind are alternatives, different kinds must all hold.
    Case("--no-legend postgres editor", DB + EDIT),
    Case("--no-legend postgres editor 553", DB),
    Case("--no-legend postgres 553 4242", DB),
    Case("--no-legend OOM_VICTIM_UID=26 OOM_VICTIM_UID=27 OOM_DOMAIN=cgroup", DB),
    # Options that select.
    Case("--no-legend -u db", DB),
    Case("--no-legend -u db.service --unit victim.service", DB + LATE),
    Case("--no-legend -u d*", DB),
    Case("--no-legend -u tenants.slice", DB + LATE),
    Case("--no-legend -u tenan*", DB + LATE),
    Case("--no-legend -u *.slice", DB + GROUP + EDIT + LATE),
    Case("--no-legend -u *.service", DB + EDIT + LATE),
    Case("-u tenants", "", no("no kills found", ASIDE_NONE), 1),
    Case("--no-legend -u db.service postgres", DB),
    Case("--no-legend --user-unit app-editor", EDIT),
    Case("--no-legend --slice tenants", DB + LATE),
    Case("--no-legend --container abab", GROUP),
    Case("--no-legend --container web", GROUP),
    Case("--no-legend --pod web-*", GROUP),
    Case("--no-legend --pod shop/web-7d9", GROUP),
    Case("--pod store/web-7d9", "", no("no kills found", ASIDE_NONE), 1),
    Case("--no-legend --source kprobe -n 1", LATE),
    Case("--source kmsg", "", no("no kills found", ASIDE_NONE), 1),
    Case("--no-legend --host web1 -n 1", LATE),
    Case("--host web2", "", no("no kills found"), 1),
    Case("--no-legend --event stuck", STUCK),
    Case("--no-legend --event stuck,missed", MISSED + STUCK),
    Case("--no-legend --event all -n 3", STUCK + EDIT + LATE),
    # Times are those of the kills, not those of the entries.
    Case("--no-legend -S @1795785932", MISSED + EDIT),
    Case("--no-legend -S @1795785932.000001", EDIT),
    Case("--no-legend -U @1795785812", DB + LATE),
    Case("--no-legend -U @1795785811.999999", LATE),
    Case("--no-legend -S @1795785840 -U @1795785900", GROUP),
    Case("-S -2h -U @1", "", no("-S is later than -U", "swap them"), 2),
    Case("-S @1795786000 -U @1795787000", "", no("no kills found"), 1),
    Case("-q -S @1795786000 -U @1795787000", "", "", 1),
    # Forms.
    Case("--oneline -1", f"13:26:32 {BCC.format(4194303, 'editor')}"),
    Case("--oneline db.service", f"13:23:32 {BCC.format(553, 'postgres')}", no(OF_UNKNOWN)),
    Case("-q --oneline db.service", f"13:23:32 {BCC.format(553, 'postgres')}"),
    Case("-F OOM_VICTIM_PID db.service", "553\n", no(OF_UNKNOWN)),
    Case("-F OOM_VICTIM_COMM -1", "editor\n"),
    Case("-F OOM_VICTIM_COMM -r", "victim\neditor\njava\npostgres\n"),
    Case("-F OOM_VICTIM_COMM -n 2", "editor\nvictim\n"),
    Case("--oneline OOM_MISSED=3", "13:25:32 3 kills without an entry (ring-full)\n"),
    Case("-F OOM_VICTIM_COMM", "postgres\njava\neditor\nvictim\n"),
    Case("-F OOM_VICTIM_POD_NAME", "web-7d9\n"),
    Case("-F _BOOT_ID", f"{BOOT}\n"),
    Case(f"--no-legend -1 _BOOT_ID={BOOT}", EDIT),
    Case("-F OOM_VICTIM_CMDLINE", "", no("none of 9 kills has the field OOM_VICTIM_CMDLINE"), 1),
    Case("-F OOM_VICTIM_CMDLINE postgres", "", no("the kill has no field OOM_VICTIM_CMDLINE"), 1),
    Case("-F OOM_VICTIM_CMDLINE -S @1795786000", "", no("no kills found"), 1),
    Case("-F OOM_MEMINFO_NEW_BYTES", "", no("none of 9 kills has the field OOM_MEMINFO_NEW_BYTES"), 1),
    Case("-F MESSAG", "", no("none of 9 kills has the field MESSAG"), 1),
    Case("-F OOM_DOMAINS", "", no("no field OOM_DOMAINS; did you mean OOM_DOMAIN?", SCHEMA), 2),
    Case("OOM_DOMAINS=host", "", no("no field OOM_DOMAINS; did you mean OOM_DOMAIN?", SCHEMA), 2),
    Case("follow OOM_DOMAINS=host", "", no("no field OOM_DOMAINS; did you mean OOM_DOMAIN?", SCHEMA), 2),
    Case("OOM_NOTHING=1", "", no("no field OOM_NOTHING", SCHEMA), 2),
    Case("MESSAG=1", "", no("found no kill that matches 'MESSAG=1'", ASIDE_NONE), 1),
    Case(
        "--event stuck nobody",
        "",
        no(NO_ENTRY),
        1,
    ),
    Case(
        "--utc -1",
        table(EDIT, kills=1, gaps=" The list lacks 3 unusable entries.\n").replace("TIME      ", "TIME (UTC)"),
    ),
    Case("--json=off --no-legend -1", EDIT),
    Case("-j -S @1795786000", "", no("no kills found"), 1),
    Case("--json=pretty -S @1795786000", "[]\n", no("no kills found"), 1),
    Case("-b 22222222222222222222222222222222", "", no("no kills found"), 1),
    Case("--no-legend -1 -b 11111111111111111111111111111111", EDIT),
    Case("--no-legend -1 -b", EDIT),
    Case("--no-legend -1 -b 1", EDIT),
    Case(
        "-b nobody",
        "",
        no(NO_ENTRY.replace("entry", "kill"), ASIDE_NONE),
        1,
    ),
    # What must fail.
    Case("--bogus", "", no("no option --bogus") + SEE, 2),
    Case("-n", "", no("-n: expected one argument") + SEE, 2),
    Case("-n x", "", no("-n: found 'x', expected a number or 'all'") + SEE, 2),
    Case("-n -1", "", no("-n: found '-1', expected a number or 'all'") + SEE, 2),
    Case("--lines x", "", no("--lines: found 'x', expected a number or 'all'") + SEE, 2),
    Case("--untl yesterday", "", no("no option --untl; did you mean --until?") + SEE, 2),
    Case("--jsn=short", "", no("no option --jsn; did you mean --json?") + SEE, 2),
    Case("-rx", "", no("no option -x") + SEE, 2),
    Case("--quiet=x", "", no("--quiet: ignored explicit argument 'x'") + SEE, 2),
    Case("stats -rS yesterday", "", no("-r has no meaning for stats", "it is for list, info"), 2),
    Case("-1 -n 3", "", no("-n and -1 exclude each other") + SEE, 2),
    Case("--root /x", "", no("-D and --root exclude each other") + SEE, 2),
    Case("-F MESSAGE -j", "", no("-F and -j exclude each other") + SEE, 2),
    Case("-F message", "", no("-F: found 'message', expected a field's name", UPPER), 2),
    Case(
        "--event stuck,boom",
        "",
        no(*NO_EVENT),
        2,
    ),
    Case("--source magic", "", no(*NO_LEVEL), 2),
    Case(
        "-S nonsense",
        "",
        no(*NO_TIME),
        2,
    ),
    Case("lower=x", "", no("found 'lower=x', expected FIELD=VALUE", UPPER), 2),
    Case("__CURSOR=x", "", no("found '__CURSOR=x', expected FIELD=VALUE", NO_FIELD), 2),
    Case("-F __CURSOR", "", no("-F: found '__CURSOR', expected a field's name", NO_FIELD), 2),
    Case("-F __REALTIME_TIMESTAMP", "", no("-F: found '__REALTIME_TIMESTAMP', expected a field's name", NO_FIELD), 2),
    Case("--field=__x", "", no("--field: found '__x', expected a field's name", NO_FIELD), 2),
    Case("--bare", "", no("--bare has no meaning for list", "it is for stats"), 2),
    Case("stats -r", "", no("-r has no meaning for stats", "it is for list, info"), 2),
    Case("--json=xml", "", no(NO_FORM) + SEE, 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
def test_a_call_prints_this(web1: Path, case: Case) -> None:
    ran = ctl("-D", web1, *case.words.split())
    err = "".join(line for line in ran.err.splitlines(keepends=True) if line not in BROKEN)
    assert (ran.status, ran.out, err) == (case.status, case.out, case.err)


STAYED = [
    ([], ""),
    ([("stuck", {})], " stuck"),
    ([("stuck", {}), ("gone", {})], ""),
    ([("gone", {})], ""),
    ([("stuck", {}), ("gone", {"_UID": "1000"})], " stuck"),
    ([("stuck", {"_UID": "1000"})], ""),
    ([("stuck", {"OOM_KILL_ID": kill_id(2)})], ""),
    ([("stuck", {"_MACHINE_ID": "b" * 32})], ""),
]


@pytest.mark.parametrize(("ends", "mark"), STAYED, ids=str)
def test_a_victim_that_stays_is_marked(tmp_path: Path, ends: list[tuple[str, dict[str, str]]], mark: str) -> None:
    entries = [changed({"OOM_EVENT": event, **changes}, 1) for event, changes in ends]
    write(tmp_path / "system.journal", [kill(1), *((fields, at + 20 * SECOND) for fields, at in entries)])
    for words in ([], ["-r"], ["-n", "1"], ["victim"], ["-S", f"@{AT_USEC // SECOND}"]):
        _head, line, _blank, end = ctl("-D", tmp_path, *words).out.splitlines()
        assert line.endswith(f" tenants.slice{mark}")
        assert end == ("1 kill, 1 of them stuck." if mark else "1 kill.")
    # Its `stuck` entry, on a line of its own, is no other victim.
    assert ctl("-D", tmp_path, "--event", "all").out.splitlines()[-1] == end


def test_of_a_group_it_is_counted_how_many_stay(tmp_path: Path) -> None:
    members = [*group(0x10, 6, 0, JAVA)]
    stuck = [({**fields, "OOM_EVENT": "stuck"}, at + 20 * SECOND) for fields, at in members[3:5]]
    write(tmp_path / "system.journal", [*members, *stuck])
    assert ctl("-D", tmp_path).out.endswith(" shop/web-7d9 +5 more 2 stuck\n\n6 kills, 2 of them stuck.\n")
    lines = ctl("-D", tmp_path, "--all-members").out.splitlines()[1:7]
    assert [line.endswith(" stuck") for line in lines] == [False, False, False, True, True, False]
    out = ctl("-D", tmp_path, "stats").out
    assert out.endswith("\n6 kills, 2 of them stuck.\n")


def test_an_entry_without_its_mandatory_fields_is_warned_about_and_skipped(web1: Path) -> None:
    assert ctl("-D", web1).err == BROKEN
    assert ctl("-D", web1, "-q").err == BROKEN


def test_an_empty_match_is_wrong(web1: Path) -> None:
    assert ctl("-D", web1, "").status == 2


def test_after_two_dashes_no_word_is_an_option_or_a_verb(web1: Path) -> None:
    assert ctl("-D", web1, "--no-legend", "--", "postgres").out == DB
    assert ctl("-D", web1, "list", "--", "-n").err.startswith(no(f"found no kill that matches '-n' ({NO_NAME})")[:-1])


def test_the_time_of_a_line_finds_that_kill(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, 0.629), kill(2, 1)])
    at = "2026-11-27 13:23:32"
    for words in (["-U", at], ["-S", at, "-U", at], ["-U", f"@{AT_USEC // SECOND}"]):
        assert conftest.ids(ctl("-D", tmp_path, "--no-legend", *words)) == ["00000001"]
    assert ctl("-D", tmp_path, "-U", f"{at}.5").status == 1


@pytest.mark.parametrize("after_seconds", [1800, -86_400 * 30], ids=["before the kill", "a month after it"])
def test_a_kill_is_found_by_its_own_time_whenever_its_entry_came(tmp_path: Path, after_seconds: int) -> None:
    """Before it: the wall clock was set back meanwhile. After it: the service was down."""
    fields, _received = kill(1, after_seconds)
    write(tmp_path / "system.journal", [(fields, AT_USEC + ARRIVAL_USEC)])
    at = AT_USEC // SECOND + after_seconds
    for words in ((), ("-r",), ("-n1",)):
        assert ctl("-D", tmp_path, "-S", f"@{at}", "-U", f"@{at}", *words).status == 0
        assert ctl("-D", tmp_path, "-S", f"@{at + 1}", *words).status == 1
        assert ctl("-D", tmp_path, "-U", f"@{at - 1}", *words).status == 1


@pytest.mark.parametrize(
    ("redirection", "why"),
    [
        (">/dev/full", "No space left on device"),
        (">&-", "Bad file descriptor"),
        # A file that is opened then gets the number 1; it is opened for reading.
        ("<&- >&-", "Bad file descriptor"),
    ],
)
@pytest.mark.parametrize("words", ["", "-j", "stats", "--help"])
def test_output_that_cannot_be_written_is_a_failure(web1: Path, redirection: str, why: str, words: str) -> None:
    command = f'exec {PYTHON} -m oomkilld.ctl -D "$0" -S @1795785872 {words} {redirection}'
    run = subprocess.run(
        ["bash", "-c", command, web1], env=environment_of(), stderr=subprocess.PIPE, check=False, text=True
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[0] == f"oomkillctl: Failed to write the output: {why}"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["stats", "--help"]])
def test_help_needs_no_journal(words: list[str]) -> None:
    ran = ctl(*words)
    assert (ran.status, ran.err) == (0, "")
    for verb in VERBS:
        assert f"\n  {verb} " in ran.out


@pytest.mark.parametrize(("typed", "named"), [("--json=pretty", "--json"), ("-j", "-j"), ("-qj", "-j")])
def test_an_option_is_named_as_it_was_typed(typed: str, named: str) -> None:
    assert ctl("schema", typed).err == no(f"{named} has no meaning for schema", FOR_READING)


def test_version_needs_no_journal() -> None:
    ran = ctl("--version")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("oomkillctl ")


def test_a_library_that_is_missing_is_named(web1: Path, tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/__init__.py").touch()
    ran = ctl("-D", web1, environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "oomkillctl: Failed to import a library: No module named 'systemd._reader'",
        "oomkillctl: install the package python3-systemd",
    ]


def test_local_time_is_the_default(web1: Path) -> None:
    ran = ctl("-D", web1, "--no-legend", "-1", environment={"TZ": "Asia/Tokyo"})
    assert ran.out == EDIT.replace("2026-11-27 13:26", "2026-11-27 22:26")
    ran = ctl("-D", web1, "--no-legend", "-S", "2026-11-27 22:25:00", environment={"TZ": "Asia/Tokyo"})
    assert ran.out == MISSED.replace("13:25", "22:25") + EDIT.replace("13:26", "22:26")


def test_the_newest_kill_is_looked_for_among_the_last_64_entries(tmp_path: Path) -> None:
    """The first one recorded is the newest; the others, with which the service caught up, are older."""
    for others, newest in ((63, 1), (64, 65)):
        entries = [kill(1, 100), *((kill(n, n / 10)[0], AT_USEC + (200 + n) * SECOND) for n in range(2, others + 2))]
        write(tmp_path / f"{others}/system.journal", entries)
        for words in ([], ["-r"]):
            ran = ctl("-D", tmp_path / str(others), "-1", "--no-legend", *words)
            assert ran.out.startswith(kill_id(newest)[:8])
        assert kill_id(newest) in ctl("-D", tmp_path / str(others), "info").out
        assert ctl("-D", tmp_path / str(others), "info", "-1", "-F", "OOM_KILL_ID").out == f"{kill_id(newest)}\n"
