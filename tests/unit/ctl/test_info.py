# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl info`` on real journals."""

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from oomkilld.ctl.columns import width
from tests.support.journals import TRUSTED, exported, foreign, write, writing
from tests.unit.ctl.around import (
    EXITED,
    FAILED,
    OOM,
    RESTART,
    WAS_KILLED,
    by_kernel,
    by_oomd,
    by_systemd,
    by_user_manager,
    chosen,
    invoked,
    killed,
    reaped,
)
from tests.unit.ctl.conftest import FORGED, STUCK
from tests.unit.ctl.samples import (
    AT_USEC,
    EDITOR,
    JAVA,
    POSTGRES,
    PYTHON,
    ROOT,
    SECOND,
    Change,
    Sent,
    changed,
    ctl,
    environment_of,
    group,
    kill,
    kill_id,
    missed,
)
from tests.unit.ctl.test_terminal import PLAIN, on_terminal
from tests.unit.records import kill_of

# The victim's own thread, which the kernel's lines name.
TID = 4243
AGO = re.compile(r" \(\d+ (second|minute|hour|day)s? ago\)$", re.MULTILINE)


def sheet(*words: str | Path) -> str:
    """What it prints, without how long ago that was."""
    ran = ctl(words[0], words[1], "info", *words[2:])
    assert (ran.status, ran.err) == (0, "")
    return AGO.sub("", ran.out)


def values(text: str, label: str) -> list[str]:
    """The lines of a label."""
    found: list[str] = []
    for line in text.splitlines():
        before, value = line[:12].strip(), line[14:]
        if before == label or (found and not before and line):
            found.append(value)
        elif found:
            break
    return found


def ended(number: int, event: str, after_seconds: float, **changes: Change) -> Sent:
    """A `stuck` or `gone` entry of that kill."""
    fields, _received = kill(number, 0, POSTGRES, OOM_EVENT=event, MESSAGE=STUCK, **changes)
    return fields, AT_USEC + int(after_seconds * SECOND)


class Case(NamedTuple):
    """A row: the victims of the sheets, in order; a number is that of kills without an entry."""

    words: str
    shown: str
    err: str = ""
    status: int = 0


ASIDE = "oomkillctl: 3 kills of unknown processes have no entry\n"
NOBODY = "oomkillctl: found no kill that matches 'nobody' (as the name of a process or a pod); for a unit: -u nobody\n"
NOBODY += ASIDE
CASES = [
    Case("", "editor"),
    Case("-1", "editor"),
    Case("-n 3", "3 editor victim"),
    Case("-n 3 -r", "victim editor 3"),
    Case("-n all", "postgres java 3 editor victim"),
    Case("java", "java", ASIDE),
    Case("postgres editor", "postgres editor", ASIDE),
    Case("postgres editor -r", "editor postgres", ASIDE),
    Case("postgres editor -1", "editor", ASIDE),
    Case("-q postgres", "postgres"),
    Case("701", "java", ASIDE),
    Case("00000001", "postgres", ASIDE),
    Case("-u db.service", "postgres", ASIDE),
    Case("--slice tenants", "postgres victim", ASIDE),
    Case("-S @1795785840 -U @1795785900", "java"),
    Case("-S @1795785932", "3 editor"),
    Case("--event missed", "3"),
    Case("-b 11111111111111111111111111111111", "postgres java 3 editor victim"),
    Case("--host web1", "postgres java 3 editor victim"),
    Case("nobody", "", NOBODY, 1),
    Case("-S @1795786000", "", "oomkillctl: no kills found\n", 1),
    Case("-q -S @1795786000", "", "", 1),
    Case(
        "-F message",
        "",
        "oomkillctl: -F: found 'message', expected a field's name\noomkillctl: fields are in upper case\n",
        2,
    ),
    Case(
        "-F __CURSOR",
        "",
        "oomkillctl: -F: found '__CURSOR', expected a field's name\noomkillctl: `__…` are no fields\n",
        2,
    ),
    Case("--bare", "", "oomkillctl: --bare has no meaning for info\noomkillctl: it is for stats\n", 2),
    Case("--oneline", "", "oomkillctl: --oneline has no meaning for info\noomkillctl: it is for list, follow\n", 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
def test_a_call_shows_these_kills(web1: Path, case: Case) -> None:
    ran = ctl("-D", web1, "info", *case.words.split())
    err = "".join(line for line in ran.err.splitlines(keepends=True) if ", ignoring" not in line)
    shown = re.findall(r"^      (?:Killed: \d+ \((\w+)|Missed: (\d+) )", ran.out, re.MULTILINE)
    assert (ran.status, " ".join(a or b for a, b in shown), err) == (case.status, case.shown, case.err)
    # A blank line stands between two sheets, and nowhere else.
    assert f"\n{ran.out}".count("\n\n") == max(len(shown) - 1, 0)


def test_the_newest_kill_comes_with_what_is_missing_since_then(tmp_path: Path) -> None:
    file = tmp_path / "system.journal"
    write(
        file, [missed(9, -5), kill(1), kill(2, 1, POSTGRES), *(missed(number, 10 + number) for number in range(1, 13))]
    )
    more = "oomkillctl: and 2 more entries about missed kills: see `oomkillctl list --event missed`\n"
    assert [ctl("-D", tmp_path, "info", *words).err for words in ([], ["-q"], ["-j"])] == [more, "", more]
    shown = re.findall(r"(postgres|\d+ kills?) ", sheet("-D", tmp_path, "-q"))
    assert [each for each in dict.fromkeys(shown) if "kill" in each] == [f"{number} kills" for number in range(3, 13)]
    assert sheet("-D", tmp_path, "-q").startswith("      Killed: 553 (postgres")
    assert sheet("-D", tmp_path, "-qr").startswith("      Missed: 12 kills without")
    assert values(sheet("-D", tmp_path, "-1"), "Missed")[0] == "12 kills without an entry (ring-full)"


def test_only_what_was_missed_after_the_newest_kill_comes_with_it(tmp_path: Path) -> None:
    caught_up, _received = kill(3, 1, POSTGRES)
    entries = [missed(1, 1), kill(1, 50), missed(2, 60), (caught_up, AT_USEC + 70 * SECOND), missed(4, 80)]
    write(tmp_path / "system.journal", entries)
    found = re.findall(r"(?:Killed: \d+ \((\w+)|Missed: (\d+) )", sheet("-D", tmp_path))
    assert [a or b for a, b in found] == ["victim", "2", "4"]


WHOLE = f"""\
      Killed: 553 (postgres, db.service), 29.3M resident
        When: 2026-11-27 13:23:32
          ID: 00000001000000000000000000000000
        Unit: db.service
       Slice: tenants.slice
      Cgroup: /tenants.slice/db.service
        User: 26
     Program: victim-bin
      Parent: 4200 ('victim\\x27s parent')
     Started: 2023-11-14 22:13:23, 2 s before it was killed
     Own PID: 7 in its PID namespace
      Memory: 27.3M anonymous, 2.0M of files, 16.0K shared, 0B swapped out, 64.0K page tables, 35.2M address space
       Score: oom_score_adj -17
    Limit of: tenants.slice (cgroup /tenants.slice), an ancestor of db.service
       Usage: 30.0M of 30.0M, 99%
        Swap: 1020.0K of 1.0M, 99%
        Peak: 30.0M
        High: 25.0M (memory.high)
       Tasks: 12
      So far: 42 times at its limit, 3 times above memory.high, 7 OOM kills
    Asked by: 4240 (trigger, db.service), for 4.0K, GFP_KERNEL
              user 1001, program asker, parent 4100 ('trigger\\x27s paren')
 Chosen from: 3 processes, 38.7M in all, 1 of them exempt
     Largest:   31.2M 4242 (victim, victim.service)
                 7.4M 17 (exempt), exempt
 Filled with: 23.4M anonymous, 5.9M file cache, 5.5M of it shared or tmpfs, 400.0K kernel
  Left after: 1.5 ms: 4.0K anon, 512B slab_reclaimable
Largest left:    2.9K /tenants.slice/victim.service
     Machine: 3.9M free, 11.7M anonymous, 1.6M mapped files, 200.0K shared or tmpfs, 5.1M slab, 32.0K dirty, \
36.0K writeback, 7.8M free swap
 Right after: 2.0K in total
        Load: 3.50 1.00 0.25 at the kill, 1.70 0.68 0.25 1.5 ms later
    Pressure: memory some 12.34 1.50 0.00, memory full 7.00 0.25 0.01, io some 4.00 5.00 6.00, io full 7.00 8.00 9.00, \
cpu some 1.00 2.00 3.00, cpu full 0.00 0.00 0.00, in % of the last 10, 60 and 300 s
     Outcome: 2026-11-27 13:23:42 {STUCK}
              gone 23.5 s after it was killed
     Related: 13:23:31 kernel: {invoked("trigger")}
              13:23:31 kernel: {chosen(TID)}
              13:23:32 kernel: {killed(TID)}
              13:23:32 kernel: {reaped(TID)}
              13:23:32 systemd: db.service: {WAS_KILLED}
              13:23:33 systemd: db.service: Failed with result 'oom-kill'.
    Recorded: at level kprobe, 35 ms after the kill
        Host: web1
      Kernel: 6.12.0-test
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kill with everything that belongs to it."""
    directory = tmp_path_factory.mktemp("whole")
    write(
        directory / "system.journal",
        [
            by_kernel(-0.02, invoked("trigger")),
            by_kernel(-0.01, chosen(TID)),
            by_kernel(0.001, killed(TID)),
            by_kernel(0.002, reaped(TID)),
            kill(1, 0, POSTGRES),
            by_systemd(0.1, "db.service", OOM, WAS_KILLED),
            by_systemd(1, "db.service", FAILED, "Failed with result 'oom-kill'."),
            ended(1, "stuck", 10),
            ended(1, "gone", 24, OOM_EXIT_AFTER_USEC="23500000"),
        ],
    )
    return directory


def test_the_whole_sheet(whole: Path) -> None:
    assert sheet("-D", whole) == WHOLE
    # Each time is marked, or none.
    assert sheet("-D", whole, "--utc") == re.sub(r"(\d\d:\d\d:\d\d)", r"\1 UTC", WHOLE)


def test_it_says_how_long_ago_that_was(tmp_path: Path) -> None:
    for seconds, said in (
        (0, r"\d+ seconds?"),
        (-119, r"1\d\d seconds|2 minutes"),
        (-7300, "2 hours"),
        (-90000, "25 hours"),
    ):
        now = int(subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout)
        fields, _received = kill(1, 0, OOM_TIMESTAMP=str((now + seconds) * SECOND))
        write(tmp_path / f"{seconds}/system.journal", [(fields, (now + seconds) * SECOND)])
        (when,) = values(ctl("-D", tmp_path / str(seconds), "info").out, "When")
        assert re.search(rf" \(({said}) ago\)$", when)
    fields, _received = kill(1, 0, OOM_TIMESTAMP=str((now + 90_000) * SECOND))
    write(tmp_path / "later/system.journal", [(fields, AT_USEC)])
    assert "ago" not in ctl("-D", tmp_path / "later", "info").out


def test_what_is_unknown_is_left_out(tmp_path: Path) -> None:
    """Only the fields without which an entry is none."""
    fields = {**TRUSTED, "OOM_EVENT": "kill", "OOM_KILL_ID": kill_id(1), "OOM_TIMESTAMP": str(AT_USEC)}
    write(tmp_path / "system.journal", [({**fields, "SYSLOG_IDENTIFIER": "oomkilld"}, AT_USEC)])
    expected = "      Killed: a process\n        When: 2026-11-27 13:23:32\n"
    expected += f"          ID: {kill_id(1)}\n    Recorded: 0 µs after the kill\n        Host: web1\n"
    assert sheet("-D", tmp_path) == expected


LIMITS = [
    ({"OOM_DOMAIN_USAGE_BYTES": None}, ["a limit of 30.0M"]),
    ({"OOM_DOMAIN_LIMIT_BYTES": None, "OOM_TOTAL_BYTES": None}, ["30.0M in use, without a limit"]),
    ({"OOM_DOMAIN_USAGE_BYTES": None, "OOM_DOMAIN_LIMIT_BYTES": None, "OOM_TOTAL_BYTES": None}, []),
    ({"OOM_DOMAIN_LIMIT_BYTES": "0"}, ["30.0M of 0B"]),
    ({"OOM_DOMAIN_USAGE_BYTES": "15728640"}, ["15.0M of 30.0M, 50%"]),
    # No number of the kernel.
    ({"OOM_DOMAIN_USAGE_BYTES": "9" * 400}, ["a limit of 30.0M"]),
    ({"OOM_DOMAIN_USAGE_BYTES": "much"}, ["a limit of 30.0M"]),
]


@pytest.mark.parametrize(("changes", "usage"), LIMITS, ids=str)
def test_usage_and_limit(tmp_path: Path, changes: dict[str, str | None], usage: list[str]) -> None:
    write(tmp_path / "system.journal", [changed(changes, 1)])
    assert values(sheet("-D", tmp_path), "Usage") == usage


COUNTS: list[tuple[dict[str, Change], list[str]]] = [
    (dict.fromkeys(("MAX", "HIGH", "OOM_KILL")), []),
    (dict.fromkeys(("MAX", "HIGH", "OOM_KILL"), "0"), []),
    (dict.fromkeys(("MAX", "HIGH", "OOM_KILL"), "1"), ["1 time at its limit, 1 time above memory.high, 1 OOM kill"]),
    ({"HIGH": None}, ["42 times at its limit, 7 OOM kills"]),
    ({"MAX": None, "HIGH": "0"}, ["7 OOM kills"]),
    # No number of the kernel.
    ({"MAX": "many", "HIGH": "-3", "OOM_KILL": "9" * 400}, []),
]


@pytest.mark.parametrize(("changes", "said"), COUNTS, ids=str)
def test_what_happened_to_it_so_far(tmp_path: Path, changes: dict[str, Change], said: list[str]) -> None:
    counts = {f"OOM_DOMAIN_EVENTS_{event}": count for event, count in changes.items()}
    write(tmp_path / "system.journal", [changed(counts, 1)])
    assert values(sheet("-D", tmp_path), "So far") == said


def test_counts_that_are_unknown_have_no_line(tmp_path: Path) -> None:
    changes: dict[str, Change] = dict.fromkeys(("OOM_DOMAIN_PEAK_BYTES", "OOM_DOMAIN_HIGH_BYTES", "OOM_DOMAIN_TASKS"))
    write(tmp_path / "system.journal", [changed(changes, 1)])
    text = sheet("-D", tmp_path)
    assert [values(text, label) for label in ("Swap", "Peak", "High", "Tasks")] == [
        ["1020.0K of 1.0M, 99%"],
        [],
        [],
        [],
    ]


DOMAINS = [
    ({"OOM_DOMAIN": "host", "OOM_DOMAIN_CGROUP": None}, "the whole machine"),
    ({"OOM_DOMAIN": "cpuset", "OOM_DOMAIN_CPUSET": "batch", "OOM_DOMAIN_CGROUP": None}, "cpuset batch"),
    ({"OOM_DOMAIN": "mempolicy", "OOM_DOMAIN_NODES": "0-3", "OOM_DOMAIN_CGROUP": None}, "nodes 0-3"),
    ({"OOM_DOMAIN_UNIT": "victim.service"}, "victim.service (cgroup /tenants.slice)"),
    ({"OOM_DOMAIN_CGROUP": "/other.slice"}, "tenants.slice (cgroup /other.slice)"),
]


@pytest.mark.parametrize(("changes", "said"), DOMAINS, ids=str)
def test_whose_limit(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    write(tmp_path / "system.journal", [changed(changes, 1)])
    assert values(sheet("-D", tmp_path), "Limit of") == [said]


ASKERS = [
    ({"OOM_ORDER": "-1", "OOM_ORDER_BYTES": None}, ["hand (sysrq-f)"]),
    (
        {"OOM_TRIGGER_PID": "4242", "OOM_TRIGGER_COMM": "victim", "OOM_TRIGGER_CGROUP": None, "OOM_TRIGGER_UNIT": None},
        ["4242 (victim, tenants.slice), the victim itself, for 4.0K, GFP_KERNEL"],
    ),
    ({"OOM_TRIGGER_PID": None, "OOM_TRIGGER_COMM": None}, []),
    (
        {"OOM_TRIGGER_PID": None, "OOM_ORDER_BYTES": "65536"},
        [
            "thread 4241 (trigger, asker.service), for 64.0K, GFP_KERNEL",
            "user 1001, program asker, parent 4100 ('trigger\\x27s paren')",
        ],
    ),
    (
        {"OOM_REASON": "Out of memory (oom_kill_allocating_task)", "OOM_TRIGGER_CMDLINE": "ask --much"},
        [
            "4240 (trigger, asker.service), for 4.0K, GFP_KERNEL",
            "user 1001, program asker, parent 4100 ('trigger\\x27s paren')",
            "command line ask --much",
            "the kernel kills whoever asks (oom_kill_allocating_task)",
        ],
    ),
]


@pytest.mark.parametrize(("changes", "said"), ASKERS, ids=str)
def test_who_asked(tmp_path: Path, changes: dict[str, str | None], said: list[str]) -> None:
    write(tmp_path / "system.journal", [changed(changes, 1)])
    assert values(sheet("-D", tmp_path), "Asked by") == said


def test_names_that_could_be_read_as_more_are_quoted(tmp_path: Path) -> None:
    names = {b"p,pid=1,uid=0": "'p,pid=1,uid=0'", b"nginx.service": "'nginx.service'", b"a (b)": "'a (b)'"}
    write(tmp_path / "system.journal", [kill(n, n, kill_of(victim_comm=name)) for n, name in enumerate(names, start=1)])
    for number, shown in enumerate(names.values(), start=1):
        assert values(sheet("-D", tmp_path, "-q", kill_id(number)), "Killed")[0].startswith(
            f"4242 ({shown}, victim.serv"
        )


def test_facts_that_not_every_kill_has(tmp_path: Path) -> None:
    facts: dict[str, Change] = {
        "OOM_VICTIM_CMDLINE": "server --token ***",
        "OOM_VICTIM_SESSION": "c2",
        "OOM_VICTIM_MACHINE": "guest",
        "OOM_VICTIM_USER_UNIT": "app.service",
        "OOM_VICTIM_PARENT_COMM": None,
        "OOM_VICTIM_AGE_USEC": None,
        "OOM_DETAIL": "reduced",
        "OOM_PSI_IO_FULL_AVG60": None,
        "OOM_SAMPLE_DELAY_USEC": None,
    }
    write(tmp_path / "system.journal", [changed(facts, 1)])
    text = sheet("-D", tmp_path)
    assert {
        label: values(text, label) for label in ("Command Line", "Session", "In Machine", "User Unit", "Parent")
    } == {
        "Command Line": ["server --token ***"],
        "Session": ["c2"],
        "In Machine": ["guest"],
        "User Unit": ["app.service"],
        "Parent": ["4200"],
    }
    assert values(text, "Started") == ["2023-11-14 22:13:23"]
    assert values(text, "Recorded") == ["at level kprobe, 35 ms after the kill, in a flood, with less detail"]
    assert values(text, "Load") == ["3.50 1.00 0.25 at the kill, 1.70 0.68 0.25 later"]
    assert "io some 4.00 5.00 6.00, cpu some" in values(text, "Pressure")[0]


def test_a_pod_and_its_container_are_named(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, JAVA)])
    text = sheet("-D", tmp_path)
    assert values(text, "Pod") == ["shop/web-7d9"]
    assert values(text, "Container") == ["web, abababababab, containerd"]
    assert values(sheet("-D", tmp_path, "-a"), "Pod") == ["shop/web-7d9, uid 5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11"]


def test_what_filled_it_is_ordered_by_size(tmp_path: Path) -> None:
    stat = {f"OOM_DOMAIN_STAT_{key}_BYTES": str(number << 20) for number, key in enumerate("JABCDEFGHI")}
    top = {"OOM_TOP_2_CGROUP": "/tenants.slice/b", "OOM_TOP_2_BYTES": "1048576", "OOM_TOP_3_CGROUP": "/tenants.slice/c"}
    dropped: dict[str, Change] = {"OOM_DOMAIN_STAT_ANON_BYTES": None, "OOM_DOMAIN_STAT_SLAB_RECLAIMABLE_BYTES": None}
    write(tmp_path / "system.journal", [changed({**dropped, **stat, **top}, 1)])
    text = sheet("-D", tmp_path)
    # Those that are nothing are left out, and of the others the small ones, unless -a is given.
    rows = ", ".join(f"{number}.0M {'jabcdefghi'[number]}" for number in range(9, 1, -1))
    assert values(text, "Left after") == [f"1.5 ms: {rows}"]
    assert values(text, "Largest left") == [
        "   2.9K /tenants.slice/victim.service",
        "   1.0M /tenants.slice/b",
        "      - /tenants.slice/c",
    ]
    assert values(sheet("-D", tmp_path, "-a"), "Left after")[0].endswith("2.0M (2097152) b, 1.0M (1048576) a")


def test_the_largest_processes_that_the_kernel_chose_from(tmp_path: Path) -> None:
    none: dict[str, Change] = dict.fromkeys(("OOM_CANDIDATES", "OOM_CANDIDATES_EXEMPT", "OOM_CANDIDATES_BYTES"))
    named: dict[str, Change] = {"OOM_CANDIDATE_1_UNIT": "web.service", "OOM_CANDIDATES_EXEMPT": "0"}
    one: dict[str, Change] = {"OOM_CANDIDATES": "1", "OOM_CANDIDATE_1_COMM": "a) b", "OOM_CANDIDATE_2_PID": None}
    changes: list[dict[str, Change]] = [none, named, one]
    write(tmp_path / "system.journal", [changed(each, number) for number, each in enumerate(changes, start=1)])
    unknown, with_unit, alone = sheet("-D", tmp_path, "OOM_EVENT=kill").split("\n\n")[:3]
    assert (values(unknown, "Chosen from"), values(unknown, "Largest")) == ([], [])
    assert values(with_unit, "Chosen from") == ["3 processes, 38.7M in all"]
    assert values(with_unit, "Largest")[0] == "  31.2M 4242 (victim, web.service), the victim"
    assert values(alone, "Chosen from") == ["1 process, 38.7M in all, 1 of them exempt"]
    assert values(alone, "Largest") == ["  31.2M 4242 ('a) b', victim.service), the victim"]


PROTECTED: list[tuple[dict[str, Change], str]] = [
    ({"OOM_TOP_1_MIN_BYTES": "2048"}, "   2.9K /tenants.slice/victim.service, 2.0K of it protected (memory.min)"),
    ({"OOM_TOP_1_MIN_BYTES": "3000"}, "   2.9K /tenants.slice/victim.service, all of it protected (memory.min)"),
    (
        {"OOM_TOP_1_MIN_BYTES": str((1 << 63) - 1)},
        "   2.9K /tenants.slice/victim.service, all of it protected (memory.min)",
    ),
    ({"OOM_TOP_1_MIN_BYTES": "0"}, "   2.9K /tenants.slice/victim.service"),
    ({"OOM_TOP_1_MIN_BYTES": "x"}, "   2.9K /tenants.slice/victim.service"),
    (
        {"OOM_TOP_1_MIN_BYTES": "2048", "OOM_TOP_1_BYTES": None},
        "      - /tenants.slice/victim.service, 2.0K of it protected (memory.min)",
    ),
]


@pytest.mark.parametrize(("changes", "said"), PROTECTED, ids=str)
def test_what_reclaim_leaves_to_a_cgroup(tmp_path: Path, changes: dict[str, Change], said: str) -> None:
    write(tmp_path / "system.journal", [changed(changes, 1)])
    assert values(sheet("-D", tmp_path), "Largest left") == [said]


# Rows of memory.stat in KiB; nobody may add a row to the one that contains it.
LEFT: list[tuple[dict[str, int], str]] = [
    (
        {"KERNEL": 40, "PERCPU": 16, "SLAB_UNRECLAIMABLE": 12, "SLAB_RECLAIMABLE": 1, "SOCK": 2, "VMALLOC": 3},
        "40.0K kernel (of it 16.0K percpu, 12.0K slab_unreclaimable, 3.0K vmalloc, 1.0K slab_reclaimable), 2.0K sock",
    ),
    ({"KERNEL": 8, "PAGETABLES": 8, "ANON": 9}, "9.0K anon, 8.0K kernel (of it 8.0K pagetables)"),
    ({"KERNEL": 8, "KERNEL_STACK": 4}, "8.0K kernel (of it 4.0K kernel_stack)"),
    (
        {"KERNEL": 9, "SLAB": 8, "SLAB_RECLAIMABLE": 5, "SLAB_UNRECLAIMABLE": 3, "PERCPU": 1},
        "9.0K kernel (of it 8.0K slab (of it 5.0K slab_reclaimable, 3.0K slab_unreclaimable), 1.0K percpu)",
    ),
    ({"FILE": 9, "SHMEM": 8, "FILE_DIRTY": 1}, "9.0K file (of it 8.0K shmem, 1.0K file_dirty)"),
    ({"ANON": 9, "ANON_THP": 4, "UNEVICTABLE": 3}, "9.0K anon (of it 4.0K anon_thp), of all this 3.0K unevictable"),
    # Before Linux 5.18 no row has all of the kernel's memory.
    ({"SLAB_RECLAIMABLE": 2, "PERCPU": 1}, "2.0K slab_reclaimable, 1.0K percpu"),
    # Version 1.
    (
        {"CACHE": 9, "SHMEM": 8, "MAPPED_FILE": 7, "DIRTY": 6},
        "9.0K cache (of it 8.0K shmem, 7.0K mapped_file, 6.0K dirty)",
    ),
    ({"RSS": 9, "SWAP": 4, "UNEVICTABLE": 2}, "9.0K rss, 4.0K swap, of all this 2.0K unevictable"),
]


@pytest.mark.parametrize(("rows", "shown"), LEFT, ids=str)
def test_what_is_left_says_what_contains_what(tmp_path: Path, rows: dict[str, int], shown: str) -> None:
    stat = {f"OOM_DOMAIN_STAT_{key}_BYTES": str(kib << 10) for key, kib in rows.items()}
    dropped: dict[str, Change] = {"OOM_DOMAIN_STAT_ANON_BYTES": None, "OOM_DOMAIN_STAT_SLAB_RECLAIMABLE_BYTES": None}
    write(tmp_path / "system.journal", [changed({**dropped, **stat}, 1)])
    assert values(sheet("-D", tmp_path), "Left after") == [f"1.5 ms: {shown}"]


@pytest.mark.parametrize(
    ("changes", "since"),
    [
        ({"OOM_SAMPLE_DELAY_USEC": "42485"}, "42.5 ms"),
        ({"OOM_SAMPLE_DELAY_USEC": None}, "the kill"),
        # It was read once, for all victims: after the kill of the first one.
        ({"OOM_GROUP_KILL": "1"}, "the first kill of the group"),
    ],
    ids=str,
)
def test_what_is_left_says_when_that_was(tmp_path: Path, changes: dict[str, str | None], since: str) -> None:
    write(tmp_path / "system.journal", [changed(changes, 1)])
    assert values(sheet("-D", tmp_path), "Left after") == [f"{since}: 4.0K anon, 512B slab_reclaimable"]


def test_exact_bytes_are_there_with_a(whole: Path) -> None:
    text = sheet("-D", whole, "-a")
    assert values(text, "Killed") == ["553 (postgres, db.service), 29.3M (30736384) resident"]
    assert values(text, "Usage") == ["30.0M (31453184) of 30.0M (31457280), 99%"]
    assert values(text, "ID") == [f"{kill_id(1)}, decision {0xD0001:032x}"]
    assert values(text, "Thread") == [str(TID)]
    assert values(text, "meminfo") == ["memtotal_bytes 2048, active_anon_bytes 1024, hugepages_total 3"]
    assert values(text, "Boot") == [TRUSTED["_BOOT_ID"]]


# What belongs to the kill.

OUTCOMES: list[tuple[list[Sent], list[str]]] = [
    ([], []),
    ([ended(1, "stuck", 10)], [f"2026-11-27 13:23:42 {STUCK}"]),
    ([ended(1, "gone", 3, OOM_EXIT_AFTER_USEC="120000")], ["gone 120 ms after it was killed"]),
    ([ended(1, "gone", 70)], ["2026-11-27 13:24:42 gone, nobody saw when"]),
    ([ended(1, "stuck", 10), ended(1, "stuck", 11)], [f"2026-11-27 13:23:42 {STUCK}"]),
    ([ended(2, "gone", 3)], []),
    ([ended(1, "gone", 3, _BOOT_ID="2" * 32)], []),
    ([ended(1, "gone", 3, _MACHINE_ID="b" * 32)], []),
    *(([ended(1, "gone", 3, **forged)], []) for forged in FORGED),
]


@pytest.mark.parametrize(("entries", "said"), OUTCOMES)
def test_what_became_of_it(tmp_path: Path, entries: list[Sent], said: list[str]) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, POSTGRES), *entries])
    assert values(sheet("-D", tmp_path), "Outcome") == said


def test_a_group_kill_is_one_sheet_with_the_other_victims(tmp_path: Path) -> None:
    decision = f"{0x10:032x}"
    others = [
        kill(0x90, 0.01, POSTGRES, OOM_DECISION_ID=decision, OOM_GROUP_KILL="1", _UID="65534"),
        kill(0x91, 0.02, POSTGRES, OOM_DECISION_ID=decision, OOM_GROUP_KILL="1", _BOOT_ID="2" * 32),
        kill(0x92, 0.03, POSTGRES, OOM_DECISION_ID=decision, OOM_EVENT="spared", OOM_VICTIM_RSS_BYTES=None),
    ]
    members = [*group(0x10, 3, 0, JAVA)]
    write(tmp_path / "system.journal", [*members[1:], members[0], members[0], *others])
    text = sheet("-D", tmp_path, "java")
    assert re.findall("Killed: (.*)", text) == ["700 (java, shop/web-7d9), 29.3M resident"]
    assert values(text, "Others") == [
        "3 other processes of the same decision",
        "701 (java, shop/web-7d9), 29.3M resident",
        "702 (java, shop/web-7d9), 29.3M resident",
        "553 (postgres, db.service), spared, it was exiting already",
    ]
    # Another one of the group shows the chosen one among its others.
    text = sheet("-D", tmp_path, "702")
    assert values(text, "Killed") == ["702 (java, shop/web-7d9), 29.3M resident"]
    assert "700 (java, shop/web-7d9), 29.3M resident" in values(text, "Others")


def test_an_entry_that_cannot_be_used_is_warned_about_once(tmp_path: Path) -> None:
    members = [*group(0x10, 3, 0, JAVA)]
    broken = {name: value for name, value in members[1][0].items() if name != "OOM_TIMESTAMP"}
    write(tmp_path / "system.journal", [members[0], (broken, members[1][1]), members[2]])
    for words in ([], ["700"]):
        ran = ctl("-D", tmp_path, "info", *words)
        assert ran.err == "oomkillctl: an entry from 2026-11-27 13:23:32 lacks OOM_TIMESTAMP, ignoring\n"
        assert values(ran.out, "Others")[1:] == ["702 (java, shop/web-7d9), 29.3M resident"]


def test_of_many_other_victims_ten_are_shown(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", group(0x10, 50, 0, JAVA))
    others = values(sheet("-D", tmp_path), "Others")
    assert (others[0], others[-1], len(others)) == ("49 other processes of the same decision", "and 39 more", 12)
    assert len(values(sheet("-D", tmp_path, "-a"), "Others")) == 50


RELATED: list[tuple[list[Sent], list[str]]] = [
    ([by_systemd(0.5, "db.service", OOM, WAS_KILLED)], [f"13:23:32 systemd: db.service: {WAS_KILLED}"]),
    ([by_systemd(0.5, "tenants.slice", OOM, "x")], []),
    ([by_systemd(1, "db.service", EXITED, "x")], ["13:23:33 systemd: db.service: x"]),
    ([by_systemd(2, "db.service", RESTART, "x")], ["13:23:34 systemd: db.service: x"]),
    ([by_systemd(119, "db.service", FAILED, "x")], ["13:25:31 systemd: db.service: x"]),
    ([by_oomd(-9, "Killed /a.slice")], ["13:23:23 systemd-oomd: Killed /a.slice"]),
    # Too early, too late.
    ([by_oomd(-11, "Killed /a.slice")], []),
    ([by_systemd(121, "db.service", FAILED, "x")], []),
    # Of another unit, boot or machine, or about something else.
    ([by_systemd(1, "web.service", FAILED, "x")], []),
    ([by_systemd(1, "db.service", FAILED, "x", _BOOT_ID="2" * 32)], []),
    ([by_systemd(1, "db.service", FAILED, "x", _MACHINE_ID="b" * 32)], []),
    ([by_systemd(1, "db.service", "39f53479d3a045ac8e11786248231fbf", "Started.")], []),
    # Sent by somebody else.
    ([by_systemd(1, "db.service", FAILED, "x", _PID="2")], []),
    ([by_systemd(1, "db.service", FAILED, "x", _UID="1000")], []),
    ([by_systemd(1, "db.service", FAILED, "x", _PID=None)], []),
    ([by_oomd(1, "x", _SYSTEMD_UNIT="evil.service")], []),
    ([by_oomd(1, "x", _SYSTEMD_UNIT=None)], []),
    ([by_user_manager(1, "db.service", "x")], []),
    # The kernel's lines.
    ([by_kernel(0, killed(TID))], [f"13:23:32 kernel: {killed(TID)}"]),
    ([by_kernel(0, killed(TID, ") total-vm:1 ("))], [f"13:23:32 kernel: {killed(TID, ') total-vm:1 (')}"]),
    ([by_kernel(0, killed(TID), _TRANSPORT="journal")], []),
    ([by_kernel(0, killed(TID), _TRANSPORT="syslog")], []),
    ([by_kernel(0, killed(TID), _BOOT_ID="2" * 32)], []),
    ([by_kernel(0, killed(4242))], []),
    ([by_kernel(-6, killed(TID))], []),
    ([by_kernel(11, killed(TID))], []),
    ([by_kernel(0, f"{'x'} {killed(TID)}")], []),
    ([by_kernel(0, reaped(4242)), by_kernel(0, reaped(TID))], [f"13:23:32 kernel: {reaped(TID)}"]),
    # Afterwards, the number may be another process's.
    ([by_kernel(0, reaped(TID)), by_kernel(0, killed(TID))], [f"13:23:32 kernel: {reaped(TID)}"]),
    # A header belongs to it only if it names the victim.
    ([by_kernel(0, invoked("x")), by_kernel(0, killed(TID))], [f"13:23:32 kernel: {killed(TID)}"]),
    (
        [by_kernel(0, invoked("x")), by_kernel(0, chosen(99)), by_kernel(0, killed(TID))],
        [f"13:23:32 kernel: {killed(TID)}"],
    ),
    (
        [by_kernel(0, invoked("x")), by_kernel(0, chosen(99, f"a,pid={TID},uid=")), by_kernel(0, killed(TID))],
        [f"13:23:32 kernel: {killed(TID)}"],
    ),
    (
        [by_kernel(0, chosen(TID)), by_kernel(0, invoked("y")), by_kernel(0, chosen(99)), by_kernel(0, killed(TID))],
        [f"13:23:32 kernel: {killed(TID)}"],
    ),
]


@pytest.mark.parametrize(("entries", "said"), RELATED)
def test_what_others_wrote_about_it(tmp_path: Path, entries: list[Sent], said: list[str]) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, POSTGRES), *entries])
    assert values(sheet("-D", tmp_path), "Related") == said


def test_of_a_user_unit_its_manager_writes(tmp_path: Path) -> None:
    said = [
        by_user_manager(0.2, "app-editor.service", WAS_KILLED),
        by_user_manager(0.2, "app-editor.service", "from another process", _SYSTEMD_USER_UNIT="app-editor.service"),
        by_user_manager(0.2, "app-editor.service", "from another user", _SYSTEMD_UNIT="user@1001.service"),
        by_user_manager(0.2, "app-mail.service", "of another unit"),
        by_systemd(0.3, "user@1000.service", OOM, WAS_KILLED),
    ]
    write(tmp_path / "system.journal", [kill(1, 0, EDITOR), *said])
    assert values(sheet("-D", tmp_path), "Related") == [
        f"13:23:32 systemd: app-editor.service: {WAS_KILLED}",
        f"13:23:32 systemd: user@1000.service: {WAS_KILLED}",
    ]


def test_the_header_of_a_group_kill_belongs_to_each_of_its_victims(tmp_path: Path) -> None:
    members = [
        (fields | {"OOM_VICTIM_TID": str(int(fields["OOM_VICTIM_PID"]))}, at)  # type: ignore[operator]
        for fields, at in group(0x10, 2, 0, JAVA)
    ]
    lines = [
        invoked("trigger"),
        chosen(700, "java"),
        killed(700, "java"),
        "Tasks in /a are going to be killed due to memory.oom.group set",
        killed(701, "java"),
    ]
    write(tmp_path / "system.journal", [*(by_kernel(0, line) for line in lines), *members])
    shown = [line.partition("kernel: ")[2] for line in values(sheet("-D", tmp_path, "701"), "Related")]
    assert shown == [*lines[:2], *lines[3:]]


def test_of_many_related_entries_few_are_shown(tmp_path: Path) -> None:
    others = [by_systemd(number / 10, "db.service", EXITED, str(number)) for number in range(30)]
    lines = [by_kernel(-1, "IN=eth0 OUT= SRC=192.0.2.1") for _number in range(6000)]
    write(tmp_path / "system.journal", [*lines, by_kernel(0, killed(TID)), kill(1, 0, POSTGRES), *others])
    found = values(sheet("-D", tmp_path), "Related")
    assert found == [f"13:23:32 systemd: db.service: {number}" for number in range(10)]


def test_a_machine_learns_nothing_from_the_journal_of_another(tmp_path: Path) -> None:
    """Both claim to be the same machine, in the same boot."""
    write(tmp_path / "remote-web1.journal", [kill(1, 0, POSTGRES, OOM_GROUP_KILL="1")])
    others = [ended(1, "gone", 3), by_systemd(1, "db.service", FAILED, "x"), by_kernel(0, killed(TID))]
    others.append(kill(2, 0, POSTGRES, OOM_GROUP_KILL="1", OOM_DECISION_ID=f"{0xD0001:032x}"))
    write(tmp_path / "remote-web2.journal", others)
    text = sheet("-D", tmp_path, "--host", "web1")
    assert [values(text, label) for label in ("Outcome", "Related", "Others", "Host")] == [[], [], [], ["web1"]]
    text = sheet("-D", tmp_path, "--host", "web2")
    assert [len(values(text, label)) for label in ("Outcome", "Related", "Others")] == [0, 2, 0]
    assert values(text, "Host") == ["web2 (says web1)"]


COUNTED = """
import sys
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.main import main
moved = 0
def counting(move):
    def moves(self):
        global moved
        moved += 1
        return move(self)
    return moves
Reader.next, Reader.previous = counting(Reader.next), counting(Reader.previous)
main(sys.argv[1:])
sys.exit(min(moved, 255))
"""


def test_nothing_is_read_that_has_nothing_to_do_with_it(tmp_path: Path) -> None:
    with writing(tmp_path / "system.journal") as stream:
        for number in range(3000):
            stream.write(exported(dict(foreign(number)), AT_USEC - 3000 + number))
        stream.write(exported(*kill(1, 0, POSTGRES)))
        for each in (by_systemd(1, "db.service", FAILED, "x"), ended(1, "gone", 3), kill(2, 300)):
            stream.write(exported(*each))
        for number in range(3000):
            stream.write(exported(dict(foreign(number)), AT_USEC + 400 * SECOND + number))
    command: list[str | Path] = [PYTHON, "-c", COUNTED, "-D", tmp_path, "info", "postgres"]
    run = subprocess.run(command, cwd=ROOT, env=environment_of(), capture_output=True, check=False, text=True)
    assert len(values(run.stdout, "Related") + values(run.stdout, "Outcome")) == 2
    assert 0 < run.returncode < 20, run.stderr


# Other kinds of entries.


def test_missed_kills_have_a_short_form(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [missed(3, 120)])
    assert sheet("-D", tmp_path) == (
        "      Missed: 3 kills without an entry (ring-full)\n"
        "              Failed to record 3 OOM kills (ring full), 3 since boot\n"
        "        When: 2026-11-27 13:25:32\n"
        "    Recorded: at level kprobe\n"
        "        Host: web1\n"
        "      Kernel: 6.12.0-test\n"
    )


def test_events_that_are_no_kill_are_shown_if_asked_for(tmp_path: Path) -> None:
    unkillable = kill(
        3, 5, OOM_EVENT="unkillable", OOM_VICTIM_PID=None, OOM_VICTIM_COMM=None, OOM_VICTIM_RSS_BYTES=None
    )
    write(tmp_path / "system.journal", [ended(1, "stuck", 10), kill(2, 1, POSTGRES, OOM_EVENT="spared"), unkillable])
    assert ctl("-D", tmp_path, "info").status == 1
    assert sheet("-D", tmp_path, "--event", "stuck").startswith(
        f"       Stuck: {STUCK}\n        When: 2026-11-27 13:23:32\n"
    )
    spared = values(sheet("-D", tmp_path, "--event", "spared"), "Spared")
    assert spared == ["553 (postgres, db.service), 29.3M resident"]
    assert values(sheet("-D", tmp_path, "--event", "unkillable"), "None Killed") == [
        "the kernel found no process to kill"
    ]


# What led up to a kill.

DECISION = f"{0xD0001:032x}"
GREW: dict[str, Change] = {
    "OOM_GREW_1_CGROUP": "/tenants.slice/b.service",
    "OOM_GREW_1_BYTES": str(2 << 30),
    "OOM_GREW_2_CGROUP": "/tenants.slice/c.service",
    "OOM_GREW_2_BYTES": str(5 << 20),
    "OOM_GREW_WINDOW_USEC": str(480 * SECOND),
    "OOM_TREND": "leak",
}


def history(decision: str = DECISION, **changes: Change) -> Sent:
    """Three seconds after the first kill."""
    fields: dict[str, Change] = {
        "OOM_EVENT": "history",
        "MESSAGE": "What led up to the OOM kill in /tenants.slice: x",
        "OOM_DECISION_ID": decision,
        "OOM_KILL_ID": None,
        "OOM_HISTORY_MEMAVAILABLE": f"-720:{3 << 30} -12:{1 << 30} 0:{1 << 29} 3:{9 << 30}",
        "OOM_HISTORY_MEMFREE": f"-720:{3 << 20} -12:{2 << 20}",
        "OOM_HISTORY_DOMAIN": f"-48:{1 << 20} 0:{4 << 20} 1:0",
        "OOM_HISTORY_VICTIM": f"0:{1 << 20}",
        "OOM_HISTORY_1_CGROUP": "/tenants.slice/b.service",
        "OOM_HISTORY_1": "forged -9: :7 -5:1024 x:3 0:2048",
    }
    return changed({**fields, **changes}, 1, 3)


def test_what_led_up_to_a_kill(tmp_path: Path) -> None:
    write(
        tmp_path / "system.journal",
        [kill(1, 0, POSTGRES, **GREW), history(), history("f" * 32, OOM_HISTORY_1="-9:1 0:1")],
    )
    text = sheet("-D", tmp_path)
    assert values(text, "Grew") == [
        "   2.0G /tenants.slice/b.service, in 8 minutes",
        "   5.0M /tenants.slice/c.service",
    ]
    assert values(text, "Trend") == ["leak, steadily"]
    assert values(text, "Samples") == [
        "3.0G → 512.0M available on this host, in 12 minutes",
        "1.0M → 4.0M what ran out, in 48 s",
        "1.0K → 2.0K /tenants.slice/b.service, in 5 s",
    ]
    assert "3.0M (3145728) → 2.0M (2097152) free on this host, in 12 minutes" in sheet("-D", tmp_path, "-a")
    assert ctl("-D", tmp_path, "list", "--no-legend").out.count("\n") == 1, "the list shows kills only"
    assert ctl("-D", tmp_path, "stats", "-j").out.count("\n") == 1


def test_the_samples_are_shown_by_themselves_if_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, POSTGRES), history()])
    text = sheet("-D", tmp_path, "--event", "history")
    assert values(text, "History") == ["What led up to the OOM kill in /tenants.slice: x"]
    assert values(text, "ID") == []
    assert values(sheet("-D", tmp_path, "-a", "--event", "history"), "ID") == [f"decision {DECISION}"]
    assert values(text, "Samples") == [
        "3.0G → 512.0M available on this host, in 12 minutes",
        "1.0M → 4.0M what ran out, in 48 s",
        "1.0K → 2.0K /tenants.slice/b.service, in 5 s",
    ]
    assert (
        ctl("-D", tmp_path, "--event", "history", "--no-legend")
        .out.splitlines()[0]
        .endswith("history: What led up to the OOM kill in /tenants.slice: x")
    )


def test_of_a_decision_the_samples_are_shown_once(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, POSTGRES), *(history(MESSAGE=str(number)) for number in range(20))])
    assert len(values(sheet("-D", tmp_path), "Samples")) == 3


def test_a_kill_without_a_recorder_says_nothing_of_it(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, POSTGRES)])
    text = sheet("-D", tmp_path)
    assert [values(text, label) for label in ("Grew", "Trend", "Samples")] == [[], [], []]


# Forms.


def test_json_is_the_whole_entry(web1: Path) -> None:
    for words in (["postgres"], ["-n", "2"], ["java"], ["--event", "missed"]):
        for form in ("-j", "--json=pretty"):
            assert ctl("-D", web1, "info", form, *words).out == ctl("-D", web1, "list", form, *words).out
    (line,) = ctl("-D", web1, "info", "-j", "postgres").out.splitlines()
    entry = json.loads(line)
    fields, at_usec = kill(1, 0, POSTGRES)
    assert entry.keys() == {*fields, "__REALTIME_TIMESTAMP"}
    assert (entry["OOM_VICTIM_RSS_BYTES"], entry["OOM_LOADAVG_1"], entry["_UID"]) == (30736384, 1.7, 0)
    assert entry["__REALTIME_TIMESTAMP"] == at_usec
    assert len(ctl("-D", web1, "info", "-j").out.splitlines()) == 1
    assert ctl("-D", web1, "info", "--json=pretty", "nobody").out == "[]\n"


def test_the_values_of_a_field(web1: Path) -> None:
    assert ctl("-D", web1, "info", "-F", "OOM_VICTIM_COMM").out == "editor\n"
    assert ctl("-D", web1, "info", "-F", "OOM_VICTIM_COMM", "-n", "2").out == "editor\nvictim\n"
    assert ctl("-D", web1, "info", "-F", "OOM_VICTIM_PID", "java").out == "".join(f"70{n}\n" for n in range(6))


# On a terminal.


def test_a_terminal_of_80_columns(whole: Path) -> None:
    lines = on_terminal("-D", whole, *PLAIN, "info").lines
    assert max(map(width, lines)) <= 80
    text = "\n".join(lines)
    assert values(text, "Usage") == ["█" * 16 + " 30.0M of 30.0M, 99%"]
    assert values(text, "Largest left") == ["░" * 16 + "    2.9K /tenants.slice/victim.service"]
    assert values(text, "Memory") == [
        "27.3M anonymous, 2.0M of files, 16.0K shared, 0B swapped out,",
        "64.0K page tables, 35.2M address space",
    ]
    assert killed(TID) in " ".join(line.strip() for line in values(text, "Related"))
    assert values(text, "Related")[:4] == [
        "13:23:31 kernel: trigger invoked oom-killer:",
        "  gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "13:23:31 kernel:",
        "  oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,m…",
    ]


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 100, 132, 200, 400])
def test_no_line_is_wider_than_the_terminal(web1: Path, whole: Path, columns: int) -> None:
    lines = on_terminal("-D", whole, *PLAIN, "info", columns=columns).lines
    lines += on_terminal("-D", web1, *PLAIN, "info", "-q", "-n", "all", columns=columns).lines[:-3]
    assert max(map(width, lines)) <= columns


@pytest.mark.parametrize(("columns", "cells"), [(40, 0), (60, 12), (80, 16), (200, 40), (400, 40)])
def test_the_bar_shows_usage_against_the_limit(tmp_path: Path, columns: int, cells: int) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, OOM_DOMAIN_USAGE_BYTES="23592960")])
    (line,) = values("\n".join(on_terminal("-D", tmp_path, *PLAIN, "info", columns=columns).lines), "Usage")
    bar = "█" * (cells * 3 // 4) + "░" * (cells - cells * 3 // 4) + " "
    assert line == (bar if cells else "") + "22.5M of 30.0M, 75%"


def test_colours_on_a_terminal(whole: Path, tmp_path: Path) -> None:
    text = on_terminal("-D", whole, "--no-pager", "info").text
    assert "\x1b[1m      Killed\x1b[0m: \x1b[1m553 (postgres, db.service), 29.3M resident\x1b[0m\r\n" in text
    assert f"       Usage: \x1b[31m{'█' * 16}\x1b[0m 30.0M" in text
    write(tmp_path / "system.journal", [kill(1, 0, OOM_DOMAIN_USAGE_BYTES="15728640")])
    text = on_terminal("-D", tmp_path, "--no-pager", "info").text
    assert f"       Usage: \x1b[33m{'█' * 8}\x1b[0m{'░' * 8} 15.0M" in text


def test_a_cuts_nothing_on_a_narrow_terminal(whole: Path) -> None:
    lines = on_terminal("-D", whole, *PLAIN, "info", "-a", columns=60).lines
    piped = ctl("-D", whole, "info", "-a").out.splitlines()
    assert [line.replace("█", "").replace("░", "").split() for line in lines] == [line.split() for line in piped]


CUT = "Names are cut; -a shows them in full."


@pytest.mark.parametrize(
    ("words", "columns", "is_said"), [([], 80, True), (["-q"], 80, False), (["-a"], 80, False), ([], 400, False)]
)
def test_the_last_line_says_that_names_are_cut(whole: Path, words: list[str], columns: int, is_said: bool) -> None:
    lines = on_terminal("-D", whole, *PLAIN, "info", *words, columns=columns).lines
    assert (CUT in lines, lines[-2:] == ["", CUT]) == (is_said, is_said)
    assert any("…" in line for line in lines) == (columns == 80 and "-a" not in words)
    assert CUT not in ctl("-D", whole, "info", *words).out


def test_a_name_and_a_sentence_that_are_cut_count_each(tmp_path: Path) -> None:
    long, said = {"OOM_VICTIM_CGROUP": "/a" * 60}, by_systemd(1, "db.service", FAILED, "word " * 500)
    for name, entries in (("none", [kill(1)]), ("name", [changed(long, 1)]), ("text", [kill(1, 0, POSTGRES), said])):
        write(tmp_path / name / "system.journal", entries)
        lines = on_terminal("-D", tmp_path / name, *PLAIN, "info").lines
        assert (lines[-1] == CUT) == (name != "none")
        assert lines.count(CUT) <= 1


def test_the_hint_stands_once_behind_all_sheets(web1: Path) -> None:
    lines = on_terminal("-D", web1, *PLAIN, "info", "-n", "all", columns=40).lines
    assert lines.count(CUT) == 1


def test_a_sentence_takes_four_lines_at_most(tmp_path: Path) -> None:
    long = by_systemd(1, "db.service", FAILED, "word " * 5000)
    write(tmp_path / "system.journal", [kill(1, 0, POSTGRES), long])
    lines = values("\n".join(on_terminal("-D", tmp_path, *PLAIN, "info").lines), "Related")
    assert len(lines) == 4
    assert lines[-1].endswith("…")
