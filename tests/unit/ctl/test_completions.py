# SPDX-License-Identifier: Apache-2.0
"""The completions, as each shell itself carries them out: in bash and zsh by keys on a terminal."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import completions
from tests.support.journals import MACHINE, write
from tests.unit.ctl.samples import PYTHON, ROOT, environment_of, kill

SECONDS = 30
ALL_MATCHES, TO_BEGIN = "\x14", "\x01"  # the keys Ctrl-T and Ctrl-A
HOSTILE = "$(touch pwned) `touch pwned`;touch pwned.service"
FISH_PLACES = "printf '%s\\n' $fish_complete_path"
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}  # such as without a desktop's XDG_DATA_DIRS
UNITS = ["db.service", "dbus-:1.2-org.example@0.service", "nginx.service", HOSTILE]


def need(shell: str) -> str:
    """The path of a shell; skips the test if there is none."""
    found = shutil.which(shell)
    if found is None:
        if os.environ.get("OOMKILLD_REQUIRE_ALL"):
            pytest.fail(f"{shell} is missing")
        pytest.skip(f"{shell} is missing: install the package of this name")
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the command ``bin/oomkillctl``, and a journal of it in ``journal``."""
    program = tmp_path / "bin/oomkillctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {PYTHON} -m oomkilld.ctl "$@"\n')
    program.chmod(0o755)
    entries = [kill(number, number, OOM_VICTIM_UNIT=unit) for number, unit in enumerate(UNITS, start=1)]
    write(tmp_path / "journal/system.journal", entries)
    (tmp_path / "journey").touch()  # which is no directory
    (tmp_path / "system/var/log/journal").mkdir(parents=True)
    (tmp_path / "system/var/log/journal" / MACHINE).symlink_to(tmp_path / "journal")
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("FPATH", "MODULE_PATH") if name in os.environ}
    path = f"{place}/bin:{os.environ['PATH']}"
    return environment_of(PATH=path, HOME=str(place), INPUTRC="/dev/null", PS1="", **kept)


def typed(place: Path, command: list[str], setup: str, keys: str) -> list[str]:
    """Press keys, and return the words of the line that the shell would then run."""
    main, other = pty.openpty()
    shell = subprocess.Popen(
        command, stdin=other, stdout=other, stderr=other, cwd=place, env=environment(place), start_new_session=True
    )
    os.close(other)
    said = b""
    # Each line is typed when the one before has been carried out.
    steps = [f"{setup}; : >ready", f"{keys}{TO_BEGIN}>out printf '%s\\0' ", ": >end"]
    seen = [place / "ready", place / "out", place / "end"]
    for file in seen:
        file.unlink(missing_ok=True)
    deadline = time.monotonic() + SECONDS
    try:
        for step, file in zip(steps, seen, strict=True):
            os.write(main, f"{step}\n".encode())
            while not file.exists():
                if time.monotonic() > deadline:
                    pytest.fail(f"no answer to {step!r}: {said!r}")
                if select.select([main], [], [], 0.05)[0]:
                    said += os.read(main, 1 << 16)
    finally:
        shell.kill()
        shell.wait()
        os.close(main)
    return (place / "out").read_text().split("\0")[:-1]


def in_bash(place: Path, line: str, key: str = ALL_MATCHES) -> list[str]:
    setup = (
        f"bind 'set enable-bracketed-paste off' '\"\\C-t\": insert-completions'; . {completions.FILES}/oomkillctl.bash"
    )
    return typed(place, [need("bash"), "--norc", "--noprofile", "-i"], setup, line + key)


def in_zsh(place: Path, line: str, key: str = ALL_MATCHES) -> list[str]:
    setup = (
        f"unset zle_bracketed_paste; fpath=({completions.FILES} $fpath); autoload -U compinit; compinit -u -D; "
        "every() { _main_complete; compstate[insert]=all }; zle -C every complete-word every; bindkey '^T' every; "
        "bindkey '^A' beginning-of-line"
    )
    return typed(place, [need("zsh"), "-f", "-i"], setup, line + key)


def in_fish(place: Path, line: str) -> list[str]:
    program = f"source {completions.FILES}/oomkillctl.fish; complete -C {shlex.quote(line)}"
    run = subprocess.run(
        [need("fish"), "-c", program],
        env=environment(place),
        cwd=place,
        check=True,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.stderr == ""
    return [*line.split(" ")[:-1], *(row.partition("\t")[0] for row in run.stdout.splitlines())]


SHELLS = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}
each_shell = pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
Shell = Callable[[Path, str], list[str]]


def completed(shell: Shell, place: Path, line: str) -> set[str]:
    """What the last word of a line may become; nothing: the word itself, or none."""
    *before, last = line.split(" ")
    option = last[: last.find("=") + 1]
    # Of --by=host, some shells insert only the value again; the slash behind a directory comes after the choice.
    return {word.removeprefix(option).rstrip("/") for word in shell(place, line)[len(before) :]} - {""}


@each_shell
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("oomkillctl s", {"stats", "selftest", "schema"}),
        ("oomkillctl -q --utc f", {"follow"}),
        ("oomkillctl --al", {"--all-members"}),
        ("oomkillctl list --p", {"--pod"}),
        ("oomkillctl check --p", {"--plugin"}),
        ("oomkillctl -D journal stats --b", {"--boot", "--by", "--bare"}),
        ("oomkillctl stats --by h", {"host", "hour"}),
        ("oomkillctl stats --by=h", {"host", "hour"}),
        ("oomkillctl --source k", {"kprobe", "kmsg"}),
        ("oomkillctl --json s", {"short"}),
        ("oomkillctl --color ", {"auto", "always", "never"}),
        ("oomkillctl --event s", {"spared", "stuck"}),
        ("oomkillctl -F OOM_VICTIM_UN", {"OOM_VICTIM_UNIT"}),
        ("oomkillctl --field _M", {"_MACHINE_ID"}),
        ("oomkillctl OOM_VICTIM_UN", {"OOM_VICTIM_UNIT="}),
        ("oomkillctl info OOM_VICTIM_US", {"OOM_VICTIM_USER_UNIT="}),
        ("oomkillctl -D journal -u d", {"db.service", "dbus-:1.2-org.example@0.service"}),
        ("oomkillctl -D journal -u dbus-:1.2-o", {"dbus-:1.2-org.example@0.service"}),
        ("oomkillctl --directory=journal list db.", {"db.service"}),
        ("oomkillctl -r -D ~/journal list db.", {"db.service"}),
        ("oomkillctl --root system -u n", {"nginx.service"}),
        ("oomkillctl --file journal/* -u n", {"nginx.service"}),
        ("oomkillctl -D journal list --slice t", {"tenants.slice"}),
        ("oomkillctl -D journal list OOM_VICTIM_UNIT=n", {"nginx.service"}),
        ("oomkillctl -D jou", {"journal"}),
        ("oomkillctl --file journal/s", {"journal/system.journal"}),
    ],
    ids=str,
)
def test_a_word_is_completed(shell: Shell, place: Path, line: str, expected: set[str]) -> None:
    assert completed(shell, place, line) == expected


@each_shell
def test_several_kinds_of_events_are_completed_one_after_the_other(shell: Shell, place: Path) -> None:
    found = completed(shell, place, "oomkillctl --event kill,s")
    # zsh inserts the second one behind what is there.
    assert {word.removeprefix("kill,") for word in found} == {"spared", "stuck"}
    assert "kill,spared" in found


@pytest.mark.parametrize("press", [in_bash, in_zsh])
def test_a_fields_value_can_be_typed_right_behind_it(press: Callable[[Path, str, str], list[str]], place: Path) -> None:
    assert press(place, "oomkillctl list OOM_VICTIM_UN", "\tx")[2:] == ["OOM_VICTIM_UNIT=x"]
    assert press(place, "oomkillctl sta", "\tx")[1:] == ["stats", "x"]


@each_shell
def test_no_name_from_the_journal_is_carried_out(shell: Shell, place: Path) -> None:
    found = shell(place, "oomkillctl -D journal -u ")[4 - (shell is not in_fish) :]
    assert not (place / "pwned").exists()
    assert HOSTILE in found


@each_shell
@pytest.mark.parametrize("line", ["oomkillctl check OOM_VICTIM_UN", "oomkillctl -S t", "oomkillctl stats --events s"])
def test_where_nothing_is_known_nothing_is_offered(shell: Shell, place: Path, line: str) -> None:
    assert completed(shell, place, line) <= {line.rpartition(" ")[2]}


@pytest.mark.parametrize("name", completions.TABLES)
def test_the_tables_are_up_to_date(name: str) -> None:
    found = (completions.FILES / name).read_text()
    assert found == completions.written(name), "run: python3 -m tests.support.completions"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("oomkillctl.bash", "/usr/local/share/bash-completion/completions/oomkillctl"),
        ("_oomkillctl", "/usr/local/share/zsh/site-functions/_oomkillctl"),
        ("oomkillctl.fish", "/etc/fish/completions/oomkillctl.fish"),
    ],
)
def test_every_completion_is_installed_where_its_shell_looks(name: str, place: str) -> None:
    command = ["packaging/install", "--dry-run"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert f" {place}" in listed
    assert sorted(completions.TABLES) == sorted(path.name for path in completions.FILES.iterdir())
    asked = {"_oomkillctl": ["zsh", "-f", "-c", "print -l $fpath"], "oomkillctl.fish": ["fish", "-c", FISH_PLACES]}
    if name in asked:
        shell, *words = asked[name]
        looked = subprocess.run([need(shell), *words], check=True, capture_output=True, text=True, env=PLAIN).stdout
        assert [line for line in looked.splitlines() if line.endswith(str(Path(place).parent))]
