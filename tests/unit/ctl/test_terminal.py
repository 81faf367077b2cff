# SPDX-License-Identifier: Apache-2.0
"""oomkillctl on a terminal: widths, colours, the pager, the bar; through a real pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from oomkilld.ctl import progress
from oomkilld.ctl.columns import width
from oomkilld.ctl.entry import Entry
from tests.support import pace
from tests.support.journals import write
from tests.unit.ctl.samples import PYTHON, ctl, environment_of, kill

PATIENCE_SECONDS = 20
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
PLAIN = ("--no-pager", "--color=never")


class Seen(NamedTuple):
    """What the terminal received."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.split("\r\n")[:-1]


def on_terminal(
    *words: str | Path,
    columns: int = 80,
    keys: str = "",
    wait_for: str = "",
    environment: Mapping[str, str] | None = None,
) -> Seen:
    """Run it on a terminal of 24 lines; type ``keys`` once ``wait_for`` is on it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        # With a controlling terminal, from which Ctrl-C comes.
        ["setsid", "--ctty", "--wait", PYTHON, "-m", "oomkilld.ctl", *words],
        env=environment_of(**(environment or {})),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    received = b""
    until = time.monotonic() + PATIENCE_SECONDS * pace.patience()
    type_at = 0.0
    while time.monotonic() < until:
        # As a person does, again if nothing happens: less may be busy when the first one comes.
        if keys and wait_for in received.decode(errors="replace") and time.monotonic() >= type_at:
            os.write(master, keys.encode())
            type_at = time.monotonic() + 1
        if not select.select([master], [], [], 0.1)[0]:
            continue
        try:
            received += os.read(master, 1 << 16)
        except OSError:  # everybody has closed the other end
            break
    os.close(master)
    assert time.monotonic() < until, f"no end within {PATIENCE_SECONDS} s: {received!r}"
    return Seen(process.wait(PATIENCE_SECONDS), received.decode(errors="replace"))


AT_80 = """\
ID       TIME               PID   UID VICTIM   UNIT         RSS  LIMIT OF
00000001 11-27 13:23:32     553    26 postgres db.s…vice  29.3M  30.0M tena…lice
00000010 11-27 13:24:32     700  1000 java     +5 more    29.3M  30.0M shop…-7d9
-        11-27 13:25:32 3 kills without an entry (ring-full)
00000002 11-27 13:26:32 4194303  1000 editor   app-…vice      -  30.0M host
00000003 11-27 12:23:32    4242  1000 victim   vict…vice  29.3M  30.0M tena…lice
"""


def test_a_list_fits_into_80_columns(web1: Path) -> None:
    seen = on_terminal("-D", web1, *PLAIN)
    assert seen.status == 0
    assert "\n".join(seen.lines[:6]) + "\n" == AT_80
    assert seen.lines[6:9] == [
        "",
        "9 kills, 1 of them stuck.",
        "The list lacks 3 kills without an entry, 3 unusable entries.",
    ]


@pytest.mark.parametrize("columns", [20, 40, 79, 80, 99, 100, 101, 132, 200, 400])
def test_no_line_is_wider_than_the_terminal(web1: Path, columns: int) -> None:
    lines = on_terminal("-D", web1, *PLAIN, "--no-legend", "java", "-r", columns=columns).lines[:-3]
    lines += on_terminal("-D", web1, *PLAIN, "--no-legend", columns=columns).lines[:-3]
    # Below this, the id, the time and the victim alone are wider.
    assert max(map(width, lines)) <= max(columns, 40)
    lines = on_terminal("-D", web1, *PLAIN, "--no-legend", "--event", "stuck,missed", columns=columns).lines
    assert max(map(width, lines)) <= columns


NARROW = {
    40: """\
ID       TIME           VICTIM   UNIT
00000001 11-27 13:23:32 postgres db.…ice
00000010 11-27 13:24:32 java     +5 more
-        11-27 13:25:32 3 kills without…
00000002 11-27 13:26:32 editor   app…ice
00000003 11-27 12:23:32 victim   vic…ice

9 kills, 1 of them stuck.
The list lacks 3 kills without an entry,
3 unusable entries.
Columns are left out; -a shows all.
""",
    50: """\
ID       TIME           VICTIM   UNIT     OF
00000001 11-27 13:23:32 postgres db.s…ice tena…ice
00000010 11-27 13:24:32 java     +5 more  shop…7d9
-        11-27 13:25:32 3 kills without an entry …
00000002 11-27 13:26:32 editor   app-…ice host
00000003 11-27 12:23:32 victim   vict…ice tena…ice

9 kills, 1 of them stuck.
The list lacks 3 kills without an entry, 3
unusable entries.
Columns are left out; -a shows all.
""",
    60: """\
ID       TIME           VICTIM    UNIT         RSS OF
00000001 11-27 13:23:32 postgres  db.s…vice  29.3M tena…lice
00000010 11-27 13:24:32 java      +5 more    29.3M shop…-7d9
-        11-27 13:25:32 3 kills without an entry (ring-full)
00000002 11-27 13:26:32 editor    app-…vice      - host
00000003 11-27 12:23:32 victim    vict…vice  29.3M tena…lice

9 kills, 1 of them stuck.
The list lacks 3 kills without an entry, 3 unusable entries.
Columns are left out; -a shows all.
""",
}
ORDER = {
    75: ["UID"],
    70: ["UID"],
    69: ["UID", "LIMIT"],
    62: ["UID", "LIMIT", "PID"],
    54: ["UID", "LIMIT", "PID", "RSS"],
}


def without_warnings(seen: Seen) -> list[str]:
    return [line for line in seen.lines if not line.startswith("oomkillctl: ")]


@pytest.mark.parametrize("columns", NARROW)
def test_a_narrow_terminal_shows_what_matters_most(web1: Path, columns: int) -> None:
    assert "\n".join(without_warnings(on_terminal("-D", web1, *PLAIN, columns=columns))) + "\n" == NARROW[columns]


@pytest.mark.parametrize("columns", ORDER)
def test_the_least_important_columns_are_left_out_first(web1: Path, columns: int) -> None:
    titles = on_terminal("-D", web1, *PLAIN, columns=76).lines[0].split()
    shown = on_terminal("-D", web1, *PLAIN, columns=columns).lines[0].split()
    assert [title for title in titles if title not in shown] == sorted(ORDER[columns], key=titles.index)


@pytest.mark.parametrize("columns", [40, 48, 50, 60, 80])
def test_the_machine_is_named_on_a_narrow_terminal_too(web1: Path, tmp_path: Path, columns: int) -> None:
    (tmp_path / "remote-web1.example.com.journal").symlink_to(next(web1.iterdir()))
    write(tmp_path / "remote-db.journal", [kill(7, 400)])
    head, *lines = without_warnings(on_terminal("-D", tmp_path, *PLAIN, columns=columns))
    assert head.split()[2] == "HOST"
    assert {line[24:28] for line in lines[:6]} == {"web1", "db ("}
    assert max(map(width, [head, *lines])) <= columns


def test_a_user_with_a_large_number_widens_no_line(tmp_path: Path) -> None:
    """As in user namespaces."""
    write(tmp_path / "system.journal", [kill(1, OOM_VICTIM_UID="4294967294")])
    lines = on_terminal("-D", tmp_path, *PLAIN, columns=80).lines
    assert " 4294967294 victim " in lines[1]
    assert max(map(width, lines)) <= 80


def test_a_number_that_is_none_widens_no_line(tmp_path: Path) -> None:
    entries = [
        kill(number, number, OOM_VICTIM_PID=value, OOM_VICTIM_UID=value)
        for number, value in enumerate(("9" * 20, "x" * 2000, r"\x1b[2J", "-1", "4294967295"), start=1)
    ]
    write(tmp_path / "system.journal", entries)
    _head, *lines = on_terminal("-D", tmp_path, *PLAIN, columns=80).lines
    assert [line[24:40].split() for line in lines[:4]] == [["-", "-", "vi"]] * 4
    assert " 4294967295 4294967295 victim " in lines[4]
    assert max(map(width, lines)) <= 80


CUT = "Names are cut; -a shows them in full."
LEFT_OUT = "Columns are left out; -a shows all."


@pytest.mark.parametrize(
    ("words", "columns", "is_said"),
    [
        ([], 80, True),
        (["postgres"], 80, True),
        (["-q"], 80, False),
        (["--no-legend"], 80, False),
        (["-a"], 80, False),
        ([], 200, False),
        (["--event", "stuck"], 80, True),
        (["--event", "stuck"], 200, False),
        (["stats"], 80, True),
        (["stats", "--by", "comm"], 80, False),
    ],
    ids=str,
)
def test_the_last_line_says_that_names_are_cut(web1: Path, words: list[str], columns: int, is_said: bool) -> None:
    lines = without_warnings(on_terminal("-D", web1, *PLAIN, *words, columns=columns))
    assert (CUT in lines, lines[-1] == CUT) == (is_said, is_said)
    assert CUT not in ctl("-D", web1, *words).out


@pytest.mark.parametrize(
    ("words", "is_said"),
    [
        ([], True),
        (["-q"], False),
        (["-a"], False),
        (["--no-legend"], False),
        (["stats"], True),
        (["stats", "-q"], False),
        (["stats", "-a"], False),
    ],
    ids=str,
)
def test_the_last_line_says_that_columns_are_left_out(web1: Path, words: list[str], is_said: bool) -> None:
    lines = without_warnings(on_terminal("-D", web1, *PLAIN, *words, columns=60))
    assert (LEFT_OUT in lines, lines[-1] == LEFT_OUT) == (is_said, is_said)
    assert CUT not in lines


def test_a_machine_whose_name_is_cut_counts_too(web1: Path, tmp_path: Path) -> None:
    (tmp_path / f"remote-{'w' * 17}.journal").symlink_to(next(web1.iterdir()))
    for host, is_said in ((tmp_path, True), (web1, False)):
        assert (CUT in on_terminal("-D", host, *PLAIN, "editor", columns=200).lines) == is_said


def test_the_end_of_a_list_takes_two_lines_where_one_is_too_short(web1: Path) -> None:
    lines = on_terminal("-D", web1, *PLAIN, columns=60).lines[6:9]
    assert lines == ["", "9 kills, 1 of them stuck.", "The list lacks 3 kills without an entry, 3 unusable entries."]


def test_a_wide_terminal_cuts_nothing(web1: Path) -> None:
    wide = on_terminal("-D", web1, *PLAIN, columns=200).lines
    piped = ctl("-D", web1).out.splitlines()
    assert [line.split() for line in wide[:-3]] == [line.split() for line in piped]


def test_a_cuts_nothing_on_a_narrow_one_either(web1: Path) -> None:
    lines = on_terminal("-D", web1, *PLAIN, "-a").lines
    assert lines[:-3] == ctl("-D", web1).out.splitlines()


def test_a_width_that_is_no_number_of_columns_does_not_count(web1: Path) -> None:
    plain = on_terminal("-D", web1, *PLAIN, columns=80)
    for columns in ("9" * 5000, "x", "-1"):
        assert on_terminal("-D", web1, *PLAIN, environment={"COLUMNS": columns}) == plain


def test_columns_say_the_width_rather_than_the_terminal(web1: Path) -> None:
    lines = on_terminal("-D", web1, *PLAIN, environment={"COLUMNS": "80"}, columns=200).lines
    assert "\n".join(lines[:6]) + "\n" == AT_80


COLOURS = [
    ([], {}, True),
    (["--color=never"], {}, False),
    (["--color=always"], {"NO_COLOR": "1", "SYSTEMD_COLORS": "0"}, True),
    ([], {"NO_COLOR": "1"}, False),
    ([], {"NO_COLOR": ""}, True),
    ([], {"SYSTEMD_COLORS": "0"}, False),
    ([], {"SYSTEMD_COLORS": "256", "NO_COLOR": "1"}, True),
    ([], {"SYSTEMD_COLORS": "auto-16"}, True),
    (["--color=auto"], {"SYSTEMD_COLORS": "0"}, True),
    ([], {"TERM": "dumb"}, False),
    ([], {"TERM": ""}, False),
]


@pytest.mark.parametrize(("words", "environment", "has"), COLOURS, ids=str)
def test_colours(web1: Path, words: list[str], environment: dict[str, str], has: bool) -> None:
    seen = on_terminal("-D", web1, "--no-pager", *words, environment=environment)
    assert ("\x1b[4mID" in seen.text, "\x1b[33m-  " in seen.text) == (has, has)


@pytest.mark.parametrize(
    ("words", "environment", "has"),
    [
        ([], {}, False),
        (["--color=always"], {}, True),
        ([], {"SYSTEMD_COLORS": "1"}, True),
        ([], {"SYSTEMD_COLORS": "auto-256"}, False),
        (["--color=auto"], {"SYSTEMD_COLORS": "1"}, False),
    ],
    ids=str,
)
def test_a_pipe_has_colours_only_if_somebody_asks(
    web1: Path, words: list[str], environment: dict[str, str], has: bool
) -> None:
    assert ("\x1b[" in ctl("-D", web1, *words, environment=environment).out) == has


NUMBERED = "     1\tID "


@pytest.mark.parametrize(
    ("words", "environment", "is_paged"),
    [
        ([], {"SYSTEMD_PAGER": "cat -n", "PAGER": "false"}, True),
        ([], {"PAGER": "cat -n"}, True),
        ([], {"SYSTEMD_PAGER": "", "PAGER": "cat -n"}, False),
        ([], {"SYSTEMD_PAGER": "cat", "PAGER": "cat -n"}, False),
        ([], {"PAGER": "  "}, False),
        (["--no-pager"], {"SYSTEMD_PAGER": "cat -n"}, False),
        ([], {"SYSTEMD_PAGER": "cat -n", "TERM": "dumb"}, False),
        ([], {"SYSTEMD_PAGER": "cat -n", "TERM": ""}, False),
        # Another user's session: only less can be confined.
        ([], {"SYSTEMD_PAGER": "cat -n", "SYSTEMD_PAGERSECURE": "1"}, False),
        ([], {"SYSTEMD_PAGER": "cat -n", "SUDO_UID": "12345"}, False),
        ([], {"SYSTEMD_PAGER": "cat -n", "SUDO_UID": "12345", "SYSTEMD_PAGERSECURE": "0"}, True),
    ],
    ids=str,
)
def test_the_pager(web1: Path, words: list[str], environment: dict[str, str], is_paged: bool) -> None:
    seen = on_terminal("-D", web1, "--color=never", *words, environment=environment)
    assert seen.status == 0
    assert (NUMBERED in seen.text) == is_paged
    assert "9 kills, 1 of them stuck." in seen.text


@pytest.mark.parametrize("verb", ["list", "info"])
@pytest.mark.parametrize(("script", "ended"), [("exit 1", "with status 1"), ("kill -9 $$", "by signal 9")])
@pytest.mark.parametrize("journal", ["web1", "long_list"])
def test_a_pager_that_fails_is_a_failure(
    request: pytest.FixtureRequest, tmp_path: Path, journal: str, script: str, ended: str, verb: str
) -> None:
    """More than a pipe holds is refused; less disappears with the pipe."""
    (tmp_path / "pager").write_text(script)
    words = ("-D", request.getfixturevalue(journal), "-q", verb, "-n", "all")
    seen = on_terminal(*words, environment={"PAGER": f"sh {tmp_path}/pager"})
    assert seen.status == 1
    assert seen.lines[-2:] == [
        f"oomkillctl: Failed to show the output: the pager 'sh' ended {ended}",
        "oomkillctl: set $SYSTEMD_PAGER or $PAGER to another one, or use --no-pager",
    ]
    assert "Traceback" not in seen.text


def test_no_pager_starts_if_there_is_nothing_to_show(web1: Path) -> None:
    seen = on_terminal("-D", web1, "-S", "@1795786000", environment={"SYSTEMD_PAGER": "echo started"})
    assert (seen.status, seen.lines) == (1, ["oomkillctl: no kills found"])


def test_a_pager_that_is_not_there_gives_way_to_less(web1: Path) -> None:
    seen = on_terminal("-D", web1, environment={"SYSTEMD_PAGER": "/no/such/pager"})
    assert seen.status == 0
    assert "9 kills, 1 of them stuck." in seen.text


def test_without_any_pager_the_terminal_gets_the_output_itself(web1: Path, tmp_path: Path) -> None:
    setsid = shutil.which("setsid")
    assert setsid
    (tmp_path / "setsid").symlink_to(setsid)
    seen = on_terminal("-D", web1, environment={"PATH": str(tmp_path), "PAGER": "none such"})
    assert (seen.status, "9 kills, 1 of them stuck." in seen.text) == (0, True)


@pytest.fixture(scope="module")
def long_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("long")
    write(directory / "system.journal", (kill(number, number) for number in range(1, 3001)))
    return directory


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_less_shows_a_screen_and_ends_it_early(long_list: Path, key: str) -> None:
    seen = on_terminal("-D", long_list, keys=key, wait_for="00000016 ")
    assert seen.status == 0
    assert "Traceback" not in seen.text
    assert "3000 kills." not in seen.text
    assert len([line for line in ESCAPES.sub("", seen.text).split("\n") if line.startswith("000")]) in range(20, 24)


def test_a_short_list_stays_on_the_screen(web1: Path) -> None:
    """Less ends by itself, without the terminal's other screen."""
    seen = on_terminal("-D", web1)
    assert seen.status == 0
    assert "\x1b[?1049h" not in seen.text
    assert "9 kills, 1 of them stuck." in seen.text


def test_nobody_reads_on(long_list: Path) -> None:
    process = subprocess.Popen(
        [PYTHON, "-m", "oomkilld.ctl", "-D", long_list],
        env=environment_of(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    with process.stdout, process.stderr:
        assert process.stdout.readline().startswith(b"ID ")
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_bars_on_a_terminal_that_has_room(web1: Path) -> None:
    for columns, has in ((80, False), (120, True), (200, True)):
        seen = on_terminal("-D", web1, *PLAIN, "stats", "--by", "comm", "--no-legend", columns=columns)
        bars = [line.count("█") for line in seen.lines[:-3]]
        assert all(bars) == has
        assert max(width(line) for line in seen.lines[:-3]) <= columns
        if has:
            assert bars[0] in (40, 120 - 66)
            assert bars[1:] == [round(bars[0] / 6)] * 3


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_scan_that_takes_long_shows_a_bar_on_stderr_and_removes_it(
    monkeypatch: pytest.MonkeyPatch, is_watched: bool
) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.0)
    drawn: list[str] = []
    monkeypatch.setattr(progress, "_write", drawn.append)
    monkeypatch.setattr(os, "isatty", lambda _fd: is_watched)
    monkeypatch.setattr(progress, "_columns", lambda: 80)
    entries = [Entry({}, at, None) for at in range(1000, 2025)]
    assert [*progress.shown(iter(entries), lambda: (1000, 2024))] == entries
    if is_watched:
        assert drawn == [
            "\r[........................................] 0 entries",
            "\r[##########..............................] 256 entries",
            "\r[####################....................] 512 entries",
            "\r[##############################..........] 768 entries",
            "\r[########################################] 1024 entries",
            "\r\x1b[K",
        ]
    else:
        assert drawn == []


@pytest.mark.parametrize(("columns", "cells"), [(80, 40), (53, 40), (52, 39), (40, 27), (20, 7), (10, 0)])
def test_the_bar_takes_one_line(monkeypatch: pytest.MonkeyPatch, columns: int, cells: int) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_columns", lambda: columns)
    drawn: list[str] = []
    monkeypatch.setattr(progress, "_write", drawn.append)
    monkeypatch.setattr(os, "isatty", lambda _fd: True)
    entries = [Entry({}, at, None) for at in range(1024, 2049)]
    assert [*progress.shown(iter(entries), lambda: (0, 2048))] == entries
    done = round(cells / 2)
    assert drawn[0] == f"\r[{'#' * done}{'.' * (cells - done)}] 0 entries"
    assert len(drawn[0]) - 1 < max(columns, len("[] 0 entries") + 1)
