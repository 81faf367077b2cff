# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl check`` on this machine, whatever it lacks, and what it reads in a journal of this boot."""

import json
import os
import re
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from oomkilld.schema import BEFORE_FIRST_START, UNCONFIRMED
from tests.support import entryschema
from tests.support.journals import BOOT, TRUSTED, Fields, exported, write, writing
from tests.unit.ctl.samples import AT_USEC, PYTHON, ROOT, SECOND, Ran, ctl, environment_of, kill, missed

LINE = re.compile(r"(?P<what>[a-zA-Z ]+?) {2,}(?P<verdict>ok  |warn|FAIL|not checked)(  \S.*)?")
NUMBERS = re.compile(r"[^|]+\|missed=(\d+|U) kills=(\d+|U) age=(\d+s|U)\n")
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
EXAMINED = (
    *(f"level {level}" for level in ("kprobe", "fentry", "tracepoint", "kmsg")),
    *("BTF", "privileges", "lockdown", "journal", "rate limit", "settings", "service", "books"),
)
NOBODY = 65534
OTHER_BOOT = "2" * 32


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("OOMKILLD_REQUIRE_ALL"), reason="root is missing, to become another user"
)


def as_nobody(*words: str | Path) -> Ran:
    """Run Python as a user without any right."""
    command = [PYTHON, *map(str, words)]
    ran = subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], env=environment_of(), check=False, capture_output=True
    )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def test_each_line_says_what_was_examined_and_the_exit_status_whether_kills_are_recorded() -> None:
    ran = ctl("check")
    *lines, blank, said = ran.out.splitlines()
    found = {line: LINE.fullmatch(line) for line in lines}
    assert [line for line, match in found.items() if match is None] == []
    assert set(EXAMINED) <= {match["what"] for match in found.values() if match}
    failures = [match for match in found.values() if match and match["verdict"] == "FAIL"]
    assert (ran.status, ran.err, blank) == (1 if failures else 0, "", "")
    assert said.startswith("A kill would not be recorded now: ") == any(each["what"] != "books" for each in failures)
    for line in lines:
        assert "; " in line or not re.search("  (warn|FAIL)  ", line), f"says not what to do: {line}"


def test_as_a_plug_in_it_prints_one_line() -> None:
    ran = ctl("check", "--plugin")
    assert ran.out.startswith(f"OOMKILLD {WORDS[ran.status]} - ")
    assert NUMBERS.fullmatch(ran.out)
    assert ran.err == ""


@needs_root
def test_without_root_what_only_root_can_see_is_no_failure() -> None:
    ran = as_nobody("-m", "oomkilld.ctl", "check")
    assert re.search("^privileges +not checked  only root can see it; run as root$", ran.out, re.MULTILINE)
    assert (ran.status, ran.err) == (1 if "FAIL" in ran.out else 0, "")
    # What the kernel offers is seen without the capabilities that the service has.
    of_bpf = re.compile("^level (?:kprobe|fentry|tracepoint) .*$", re.MULTILINE)
    assert of_bpf.findall(ran.out) == of_bpf.findall(ctl("check").out)


STATUS = "Level tracepoint: 12 kills recorded, 1 repeat, 0 missing; \x1b[31mtrouble"
PROPERTIES = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "ExecMainStatus": "0",
    "StatusText": STATUS,
    "LogRateLimitIntervalUSec": "0",
    "LogRateLimitBurst": "0",
}


def program(directory: Path, name: str, prints: str, status: int = 0) -> None:
    """A program of systemd that answers like this, and writes down its arguments."""
    answer = directory / f"{name}.answer"
    answer.write_text(prints)
    file = directory / name
    file.write_text(f'#!/bin/sh\necho "$@" > {directory}/{name}.asked\n/bin/cat {answer}\nexit {status}\n')
    file.chmod(0o755)


def test_under_systemd_the_unit_and_journalds_settings_are_examined(tmp_path: Path) -> None:
    program(tmp_path, "systemctl", "".join(f"{name}={value}\n" for name, value in PROPERTIES.items()))
    program(tmp_path, "systemd-analyze", "[Journal]\nStorage=none\nRateLimitBurst=5\n")
    ran = ctl("check", environment={"PATH": str(tmp_path)})
    lines = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in ran.out.splitlines()}
    assert lines["level tracepoint"] == "ok    in force"
    assert lines["service"] == "ok    running at level tracepoint"
    assert lines["next boot"] == "ok    the service starts then: enabled"
    assert lines["status line"].startswith("warn  \\x1b[31mtrouble; ")
    assert lines["journal"].startswith("FAIL  journald stores nothing; set Storage=persistent")
    assert lines["rate limit"].startswith("warn  journald takes 5 entries in 30s")
    assert "12 kills recorded, 1 repeat, 0 missing" in lines["books"]
    assert ran.out.splitlines()[-1].startswith("A kill would not be recorded now: ")
    assert "journal" in ran.out.splitlines()[-1]
    assert ran.status == 1
    asked = (tmp_path / "systemctl.asked").read_text().split()
    assert asked[:2] == ["show", "oomkilld.service"]
    assert {word.removeprefix("--property=") for word in asked[2:]} == PROPERTIES.keys()
    assert (tmp_path / "systemd-analyze.asked").read_text() == "cat-config systemd/journald.conf\n"


def test_a_systemctl_that_fails_is_as_none(tmp_path: Path) -> None:
    program(tmp_path, "systemctl", "LoadState=loaded\nActiveState=active\n", status=1)
    ran = ctl("check", environment={"PATH": str(tmp_path)})
    service = next(line for line in ran.out.splitlines() if line.startswith("service "))
    assert "running at level" not in service
    assert "next boot" not in ran.out


def test_a_library_that_is_missing_is_named_and_the_settings_are_not_checked(tmp_path: Path) -> None:
    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic/__init__.py").touch()
    ran = ctl("check", environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    (line,) = (line for line in ran.out.splitlines() if line.startswith("settings "))
    said = "nobody checked the configuration files: the module pydantic is missing or too old"
    assert line.split("  ")[-2:] == [
        "not checked",
        f"{said}; install the package python3-pydantic (2 or newer; or pydantic with pip)",
    ]


def test_a_match_or_another_journal_is_refused() -> None:
    assert ctl("check", "nginx.service").status == 2
    assert ctl("check", "--file", "x.journal").status == 2
    assert ctl("list", "--plugin").status == 2


RECORDED = """
import json, sys
from argparse import Namespace
from oomkilld.ctl.thisboot import recorded
options = Namespace(directory=None, file=sys.argv[3:], merge=False, root=None)
found = recorded(options, sys.argv[1], count=sys.argv[2] == "count")
print(json.dumps(found and found._asdict()))
"""


def recorded(file: Path, count: str = "count", boot: str = BOOT) -> dict[str, object] | None:
    command = [PYTHON, "-c", RECORDED, boot, count, str(file)]
    ran = subprocess.run(command, env=environment_of(), check=True, capture_output=True, text=True)
    assert ran.stderr == ""
    found: dict[str, object] | None = json.loads(ran.stdout)
    return found


def dropped(unit: str, number: int) -> Fields:
    """As journald itself reports it."""
    return {
        **TRUSTED,
        "_TRANSPORT": "driver",
        "_SYSTEMD_UNIT": "systemd-journald.service",
        "SYSLOG_IDENTIFIER": "systemd-journald",
        "MESSAGE_ID": "a596d6fe7bfa4994828e72309e95d61e",
        "MESSAGE": f"Suppressed {number} messages from {unit}",
        "N_DROPPED": str(number),
    }


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    forged = {**dropped("oomkilld.service", 500), "_TRANSPORT": "journal", "_UID": "1000"}
    return write(
        tmp_path_factory.mktemp("journal") / "system.journal",
        [
            kill(9, 50, _BOOT_ID=OTHER_BOOT),
            kill(1, 60),
            kill(1, 60, MESSAGE="sent again"),
            kill(2, 70),
            kill(3, 80, _UID="1000"),
            missed(3, 90, "ring-full"),
            missed(3, 91, "ring-full"),  # sent again: the same total
            missed(4, 92, "ring-full"),
            missed(2, 93, BEFORE_FIRST_START),
            missed(1, 94, UNCONFIRMED),
            missed(8, 95, "not-running"),
            missed(16, 96, "stopped", _UID="1000"),
            missed(32, 97, "stopped", _BOOT_ID=OTHER_BOOT),
            (dropped("oomkilld.service", 5), AT_USEC + 98 * SECOND),
            (dropped("oomkilld.service", 6), AT_USEC + 99 * SECOND),
            (dropped("nginx.service", 50), AT_USEC + 100 * SECOND),
            (forged, AT_USEC + 101 * SECOND),
        ],
    )


def test_what_the_journal_has_of_this_boot(journal: Path) -> None:
    assert recorded(journal) == {
        "kills": 2,
        "newest_usec": AT_USEC + 70 * SECOND,
        "missed": {"ring-full": 7, BEFORE_FIRST_START: 2, UNCONFIRMED: 1, "not-running": 8},
        "suppressed": 11,
    }
    nothing: dict[str, object] = {"kills": None, "newest_usec": None, "missed": {}, "suppressed": 0}
    assert recorded(journal, "no", "3" * 32) == nothing
    assert recorded(journal.with_name("absent")) == {**nothing, "kills": 0}


def test_a_number_of_dropped_entries_that_is_none_counts_as_one(tmp_path: Path) -> None:
    fields = dropped("oomkilld.service", 5)
    odd = [{**fields, "N_DROPPED": value} for value in ("x", "-3", "", "9" * 5000)]
    without = {name: value for name, value in fields.items() if name != "N_DROPPED"}
    nameless = {name: value for name, value in fields.items() if name != "MESSAGE"}
    file = tmp_path / "system.journal"
    with writing(file) as stream:
        for each in (fields, *odd, without, nameless):
            stream.write(exported(each, AT_USEC))
        twice = exported(fields, AT_USEC)[:-1] + b"N_DROPPED=7\nMESSAGE=Suppressed 7 messages from nginx.service\n\n"
        stream.write(twice)
    found = recorded(file)
    assert found
    assert found["suppressed"] == 5 + len(odd) + 1 + 1


@needs_root
def test_a_journal_that_may_not_be_read_is_unknown(journal: Path) -> None:
    # Not in pytest's directory: another run of pytest closes that to other users.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        hidden = Path(directory, "hidden.journal")
        hidden.write_bytes(journal.read_bytes())
        hidden.chmod(0o600)
        ran = as_nobody("-c", RECORDED, BOOT, "count", hidden)
    assert (ran.status, ran.out, ran.err) == (0, "null\n", "")


def test_this_boot_has_the_id_that_journald_writes() -> None:
    words = ["-c", "from oomkilld.ctl.boots import this_boot; print(this_boot())"]
    ran = subprocess.run([PYTHON, *words], env=environment_of(), check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).hex


def test_entries_printed_as_json_are_as_the_schema_says(journal: Path) -> None:
    ran = ctl("list", "--json=short", "--event=all", "--file", journal)
    printed = [json.loads(line) for line in ran.out.splitlines()]
    assert len(printed) > 5
    for entry in printed:
        entryschema.model().model_validate(entry)
        assert type(entry["OOM_SCHEMA"]) is int
