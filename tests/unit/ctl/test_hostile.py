# SPDX-License-Identifier: Apache-2.0
"""Names that strangers chose: in every form of output they are harmless, and in JSON they are valid."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from oomkilld.ctl.columns import width
from oomkilld.schema import FIELDS
from tests.support.journals import write
from tests.unit.ctl.around import OOM, by_kernel, by_oomd, by_systemd
from tests.unit.ctl.samples import Sent, changed, ctl, kill
from tests.unit.ctl.test_terminal import PLAIN, on_terminal
from tests.unit.records import kill_of

NAMES = [
    b"a\nPRIORITY=0",
    b"\x1b[2J\x1b]0;t\x07",
    b"\x9b31m",
    b"\xff\xfe",
    b"x) total-vm:0kB",
    b"p,pid=1,uid=0",
    "\u202egnp.exe".encode(),
    "a\u200bb\ufeffc".encode(),
    "e\u0301\u0301\u0301".encode(),
    "日本語".encode(),
    "\U0001f469\u200d\U0001f680".encode(),
    b"",
    b"\xff" * 15,
    b'"\\"}\x7f',
    b"=",
    b"-rf",
]
LEGEND = "--no-legend"
KERNEL_SAYS = b") total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0"
TEXT = [
    [],
    ["-r", "-n", "5"],
    ["--all-members"],
    ["--oneline"],
    ["--event", "all"],
    ["-F", "OOM_VICTIM_COMM"],
    ["-F", "OOM_VICTIM_CGROUP"],
    ["-F", "MESSAGE"],
    ["stats"],
    ["stats", "--by", "comm"],
    ["stats", "--by", "domain"],
    ["stats", "--bare"],
    ["info"],
    ["info", "-n", "all", "--event", "all"],
    ["info", "-a", "-n", "all"],
    ["info", "-n", "all", "-F", "OOM_VICTIM_COMM"],
]
# Fields that the table of a list shows.
SHOWN = (
    *("OOM_VICTIM_COMM", "OOM_VICTIM_UNIT", "OOM_VICTIM_CGROUP", "OOM_VICTIM_POD_NAME", "OOM_VICTIM_POD_NAMESPACE"),
    *("OOM_VICTIM_PID", "OOM_VICTIM_UID", "OOM_DOMAIN", "OOM_DOMAIN_UNIT", "OOM_TRIGGER_COMM", "OOM_LOADAVG"),
    *("OOM_TOTAL_PAGES", "OOM_MISSED_REASON", "MESSAGE", "_HOSTNAME", "OOM_VICTIM_CONTAINER_ID", "OOM_SOURCE"),
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the service records such names."""
    cgroups = [b"/a.slice/" + (name.replace(b"/", b"").replace(b"\0", b"") or b"x") for name in NAMES]
    kills = [
        kill_of(victim_comm=name[:15], trigger_comm=name[:15], victim_exe=name, victim_cgroup=path, domain_cgroup=path)
        for name, path in zip(NAMES, cgroups, strict=True)
    ]
    directory = tmp_path_factory.mktemp("recorded")
    write(directory / "system.journal", [kill(number, number, each) for number, each in enumerate(kills, start=1)])
    return directory


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As root of another machine may send them: every field holds the name as it is."""
    directory = tmp_path_factory.mktemp("raw")
    entries = [changed(dict.fromkeys(SHOWN, name), number, number) for number, name in enumerate(NAMES, start=1)]
    stuck = [changed(dict.fromkeys(SHOWN, name) | {"OOM_EVENT": "stuck"}, 1, 99) for name in NAMES]
    missed = [changed(dict.fromkeys(SHOWN, name) | {"OOM_EVENT": "missed", "OOM_MISSED": "1"}, 1, 99) for name in NAMES]
    write(directory / "remote-\x1b[2J\u202e.journal", entries + stuck + missed)
    return directory


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every field that may be anything is the name, and what others wrote at that time is, too."""
    names = {field.name for field in FIELDS} - {"OOM_EVENT", "OOM_KILL_ID", "OOM_TIMESTAMP", "OOM_VICTIM_TID"}
    names |= {"OOM_TOP_1_CGROUP", "OOM_TOP_1_BYTES", "OOM_DOMAIN_STAT_ANON_BYTES", "OOM_MEMINFO_MEMTOTAL_BYTES"}
    names |= {"OOM_VMSTAT_OOM_KILL", "OOM_TOP_1_MIN_BYTES"}
    entries: list[Sent] = []
    for number, name in enumerate(NAMES, start=1):
        at = 300 * number
        hostile: dict[str, str | bytes | None] = dict.fromkeys(sorted(names - {"SYSLOG_IDENTIFIER"}), name)
        hostile["OOM_DECISION_ID"] = f"{number:032x}"
        entries += [
            changed({**hostile, "OOM_VICTIM_UNIT": "db.service"}, number, at),
            changed({**hostile, "OOM_EVENT": "stuck"}, number, at),
            changed({**hostile, "OOM_EVENT": "gone"}, number, at),
            changed({**hostile, "OOM_EVENT": "spared"}, number + 100, at),
            by_kernel(at, b"Memory cgroup out of memory: Killed process 4243 (" + name[:15] + KERNEL_SAYS),
            by_systemd(at, "db.service", OOM, "", MESSAGE=name),
            by_oomd(at, name),
        ]
    directory = tmp_path_factory.mktemp("everywhere")
    write(directory / "system.journal", entries)
    return directory


def assert_harmless(text: str, lines: int | None = None) -> None:
    for char in text.replace("\n", ""):
        assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Mn", "Me", "Zl", "Zp"), repr(char)
    if lines is not None:
        assert len(text.splitlines()) == lines == text.count("\n")


@pytest.mark.parametrize("words", TEXT, ids=str)
@pytest.mark.parametrize("which", ["recorded", "raw"])
def test_no_name_reaches_the_terminal_as_it_is(request: pytest.FixtureRequest, which: str, words: list[str]) -> None:
    ran = ctl("-D", request.getfixturevalue(which), *words)
    assert ran.status == 0
    assert ran.out.strip()
    assert_harmless(ran.out + ran.err)


@pytest.mark.parametrize("words", [[], ["-a"]], ids=str)
def test_whatever_a_sheet_shows_is_harmless(everywhere: Path, words: list[str]) -> None:
    ran = ctl("-D", everywhere, "info", "-n", "all", *words)
    assert ran.status == 0
    assert_harmless(ran.out + ran.err)
    assert ran.out.count("Killed: ") == len(NAMES)
    # What belongs to it is there, as one line each: of the first kill before the second one comes.
    first = ran.out.split("\n\n")[0]
    for label in ("Outcome", "Others", "Related"):
        assert f"{label}: " in first
    assert first.count("kernel: ") == 1
    assert r"a\x0aPRIORITY=0" in first
    seen = on_terminal("-D", everywhere, *PLAIN, "info", "-n", "all", *words)
    assert_harmless("\n".join(seen.lines))


def test_json_of_a_sheet_is_valid_and_holds_the_names(everywhere: Path) -> None:
    short, pretty = (ctl("-D", everywhere, "info", "-n", "all", form) for form in ("-j", "--json=pretty"))
    assert_harmless(short.out + pretty.out)
    objects = [json.loads(line) for line in short.out.splitlines()]
    assert objects == json.loads(pretty.out)
    assert [each["OOM_VICTIM_COMM"] for each in objects] == [name.decode(errors="backslashreplace") for name in NAMES]


def test_a_name_makes_no_line_of_its_own(recorded: Path) -> None:
    assert_harmless(ctl("-D", recorded, LEGEND).out, lines=len(NAMES))
    assert_harmless(ctl("-D", recorded, "--oneline").out, lines=len(NAMES))
    assert_harmless(ctl("-D", recorded, "-j").out, lines=len(NAMES))


@pytest.mark.parametrize("which", ["recorded", "raw"])
def test_json_is_valid_and_holds_the_names(request: pytest.FixtureRequest, which: str) -> None:
    directory = request.getfixturevalue(which)
    short, pretty = (ctl("-D", directory, form, "--event", "all") for form in ("-j", "--json=pretty"))
    assert_harmless(short.out + pretty.out)
    assert (short.out + pretty.out).isascii()
    objects = [json.loads(line) for line in short.out.splitlines()]
    assert objects == json.loads(pretty.out)
    if which == "raw":
        assert objects[6]["OOM_VICTIM_COMM"] == "\u202egnp.exe"
        assert objects[3]["OOM_VICTIM_COMM"] == "\\xff\\xfe"


@pytest.mark.parametrize("words", [["--by", "comm", "-j"], ["--by", "unit", "--json=pretty"]], ids=str)
def test_json_of_stats_is_valid(raw: Path, words: list[str]) -> None:
    out = ctl("-D", raw, "stats", *words).out
    objects = json.loads(out) if "--json=pretty" in words else [json.loads(line) for line in out.splitlines()]
    assert sum(each.get("kills", 0) for each in objects) == len(NAMES)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_as_an_argument_a_name_is_harmless_too(recorded: Path, name: bytes) -> None:
    for option in ([], ["-u"], ["--event"], ["-S"], ["--source"], ["-F"], ["-n"], ["--host"], ["--by"], ["--json"]):
        ran = ctl("-D", recorded, *option, os.fsdecode(name))
        assert_harmless(ran.err)
        assert "Traceback" not in ran.err
        assert ran.status in (0, 1, 2)


def test_wide_characters_keep_the_columns(recorded: Path) -> None:
    head, *lines = ctl("-D", recorded).out.splitlines()[: len(NAMES) + 1]
    japanese = next(line for line in lines if "日本語" in line)
    columns = [width(japanese.partition(mark)[0]) for mark in ("日本語", "29.3M", "30.0M")]
    assert columns == [head.index("VICTIM"), head.index("RSS") - 2, head.index("LIMIT")]
