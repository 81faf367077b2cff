# SPDX-License-Identifier: Apache-2.0
"""Which journals are read, whose entries count, and what is said of those that cannot be read."""

import errno
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from oomkilld.ctl.failures import reason
from oomkilld.ctl.files import host_of
from tests.support.journals import BOOT, MACHINE, write
from tests.unit.ctl.conftest import FORGED, ids, shown
from tests.unit.ctl.samples import AT_USEC, PYTHON, ROOT, Ran, changed, ctl, environment_of, kill

OTHER_BOOT = "22222222222222222222222222222222"
NOBODY = 65534
LEGEND = "--no-legend"
ENTRY_OBJECT = 3


@pytest.mark.parametrize("forged", FORGED, ids=str)
@pytest.mark.parametrize("event", ["kill", "stuck", "missed", "level"])
def test_an_entry_that_somebody_else_sent_is_ignored(tmp_path: Path, forged: dict[str, str | None], event: str) -> None:
    write(
        tmp_path / "system.journal", [kill(1), changed({"OOM_EVENT": event, "OOM_MISSED": "7", **forged}, 0xBADBAD, 1)]
    )
    for words in ([LEGEND, "--event=all"], ["-F", "OOM_KILL_ID"], ["-j"], ["stats", LEGEND]):
        out = ctl("-D", tmp_path, *words).out
        assert len(out.splitlines()) == 1
        assert "badbad" not in out


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"_SYSTEMD_UNIT": None, "_SYSTEMD_CGROUP": None},
        {"_SYSTEMD_UNIT": None, "_SYSTEMD_CGROUP": "/"},
        {"_SYSTEMD_UNIT": "oomkilld-try-42.service"},
        {"OOM_SCHEMA": "0"},
        {"OOM_SCHEMA": "7", "OOM_NEW": "x"},
        {"OOM_SCHEMA": None},
    ],
    ids=str,
)
def test_an_entry_of_the_service_counts_with_and_without_a_unit_and_of_any_version(
    tmp_path: Path, own: dict[str, str | None]
) -> None:
    write(tmp_path / "system.journal", [changed(own, 1)])
    assert ids(ctl("-D", tmp_path, LEGEND)) == [shown(1)]


def fleet(directory: Path) -> Path:
    """What a receiver stored of three machines; the last one claims to be another."""
    write(directory / "remote-web1.journal", [kill(1, 0), kill(3, 20)])
    write(directory / "remote-web2.journal", [kill(2, 10, _HOSTNAME="web2"), kill(4, 30, _HOSTNAME="web2")])
    write(directory / "remote-evil.journal", [kill(5, 15, _HOSTNAME="web1")])
    return directory


def hosts(ran: Ran) -> list[tuple[str, str]]:
    return [(line[:8], line[29:45].strip()) for line in ran.out.splitlines()]


def test_the_machine_is_the_one_that_the_receiver_named(tmp_path: Path) -> None:
    fleet(tmp_path)
    expected = [(1, "web1"), (2, "web2"), (5, "evil (says web1)"), (3, "web1"), (4, "web2")]
    assert hosts(ctl("-D", tmp_path, "-m", LEGEND)) == [(shown(number), host) for number, host in expected]
    assert ids(ctl("-D", tmp_path, "-r", LEGEND)) == [shown(number) for number, _host in reversed(expected)]
    assert " HOST " in ctl("-D", tmp_path).out.splitlines()[0]


def test_a_sender_cannot_hide_a_kill_of_another_machine_by_its_id(tmp_path: Path) -> None:
    write(tmp_path / "remote-web1.journal", [kill(1, 1)])
    write(tmp_path / "remote-evil.journal", [kill(1, 0, _HOSTNAME="evil")])
    assert hosts(ctl("-D", tmp_path, LEGEND)) == [(shown(1), "evil"), (shown(1), "web1")]


def test_a_sender_that_claims_to_be_another_machine_is_not_counted_as_that(tmp_path: Path) -> None:
    fleet(tmp_path)
    assert ids(ctl("-D", tmp_path, "--host", "web1", LEGEND)) == [shown(1), shown(3)]
    assert ids(ctl("-D", tmp_path, "--host", "evil", LEGEND)) == [shown(5)]
    for pattern, numbers in (("web*", [1, 2, 3, 4]), ("*1", [1, 3]), ("evil (says web1)", [5]), ("evil (says *", [])):
        assert ids(ctl("-D", tmp_path, "--host", pattern, LEGEND)) == [shown(number) for number in numbers]
    assert ids(ctl("-D", tmp_path, "--host", "web1", "--host", "ev?l", LEGEND)) == [shown(1), shown(5), shown(3)]
    assert ctl("-D", tmp_path, "stats", "--by", "host", LEGEND).out.split("\n")[0].split()[:2] == ["web1", "2"]
    assert '"__RECEIVED_FROM": "evil"' in ctl("-D", tmp_path, "--host", "evil", "-j").out


@pytest.mark.parametrize("name", ["remote-web9.journal", f"remote-web9@{OTHER_BOOT}-{1:016x}-{2:016x}.journal"])
def test_a_received_file_names_the_machine_before_and_after_its_rotation(tmp_path: Path, name: str) -> None:
    write(tmp_path / "made.journal", [kill(1)]).rename(tmp_path / name)
    assert hosts(ctl("--file", tmp_path / name, LEGEND)) == [(shown(1), "web9 (says web1)")]


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("CN=web9", "web9"),
        (r"CN=web9.example.com,O=Our\x20Firm,C=DE", "web9.example.com"),
        (r"C=DE,O=A\x2fS,CN=web9", "web9"),
        ("CN=evil,CN=web9", "CN=evil,CN=web9"),
        (r"CN=evil\x5c,CN=web9", r"CN=evil\x5c,CN=web9"),
        (r"CN=evil,O=a\x5c,CN=web9", r"CN=evil,O=a\x5c,CN=web9"),
        (r"O=a\x5c,CN=web9", r"O=a\x5c,CN=web9"),
        ("CN=evil+CN=web9", "CN=evil+CN=web9"),
        ("OU=CN=web9", "OU=CN=web9"),
        ("CN=evil,OU=CN=web9", "CN=evil,OU=CN=web9"),
        ("CN=web9+O=evil", "CN=web9+O=evil"),
        (r"O=\x2fCN=web9", r"O=\x2fCN=web9"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("CN=", "CN="),
        (r"CN=\x20,O=a", r"CN=\x20,O=a"),
        ("web9@1-2", "web9@1-2"),
        ("web9@" + "a" * 16 + "-" + "b" * 16, "web9@" + "a" * 16 + "-" + "b" * 16),
        ("CN=web9,OU=@a-b", "web9"),
        ("web9\nx", "web9\\x0ax"),
    ],
)
def test_a_machine_with_a_certificate_has_the_name_in_it(name: str, host: str) -> None:
    assert host_of(f"/var/log/journal/remote/remote-{name}.journal") == host


def test_files_are_named_by_patterns_that_may_be_given_again(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"{number}.journal", [kill(number, number)])
    assert ids(ctl("--file", f"{tmp_path}/[12].journal", LEGEND)) == [shown(1), shown(2)]
    ran = ctl("--file", f"{tmp_path}/1.journal", "--file", f"{tmp_path}/3.*", LEGEND)
    assert ids(ran) == [shown(1), shown(3)]


def system(root: Path) -> Path:
    """A system's journal of two boots, one part of it in /run, and that of a user."""
    write(root / f"var/log/journal/{MACHINE}/system.journal", [kill(1, 0, _BOOT_ID=OTHER_BOOT), kill(2, 100)])
    write(root / f"run/log/journal/{MACHINE}/system.journal", [kill(3, 200)])
    write(root / f"var/log/journal/{MACHINE}/user-1000.journal", [kill(4, 300)])
    return root


@pytest.mark.parametrize(
    ("boot", "numbers"),
    [
        ([], [1, 2, 3]),
        (["-b"], [2, 3]),
        (["-b0"], [2, 3]),
        (["-b", "-1"], [1]),
        (["--boot=-1"], [1]),
        (["-b", "1"], [1]),
        (["-b", "+2"], [2, 3]),
        (["-b", OTHER_BOOT], [1]),
        (["-b", BOOT], [2, 3]),
    ],
    ids=str,
)
def test_the_boots_of_a_system_are_counted_from_either_end(tmp_path: Path, boot: list[str], numbers: list[int]) -> None:
    assert ids(ctl("--root", system(tmp_path), LEGEND, *boot)) == [shown(number) for number in numbers]


def test_the_boots_of_one_file_or_directory_of_one_machine_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.journal", [kill(1, 0, _BOOT_ID=OTHER_BOOT), kill(2, 100)])
    for where in (("-D", tmp_path), ("--file", file)):
        for boot, number in (("-b", 2), ("-b-1", 1), ("-b1", 1)):
            assert ids(ctl(*where, LEGEND, boot)) == [shown(number)]


@pytest.mark.parametrize(("words", "typed"), [(["-b"], "-b"), (["-b", "+2"], "-b +2"), (["--boot=0"], "--boot 0")])
def test_the_boots_of_several_machines_are_not_counted(tmp_path: Path, words: list[str], typed: str) -> None:
    write(tmp_path / "a.journal", [kill(1)])
    write(tmp_path / "b.journal", [kill(2, 1, _MACHINE_ID="b" * 32)])
    ran = ctl("-D", tmp_path, *words)
    assert ran.status == 2
    assert ran.err.splitlines() == [
        f"oomkillctl: '{typed}' counts boots of one machine, and these journals are of several",
        "oomkillctl: name the boot by its id (the field _BOOT_ID)",
    ]


def test_the_boots_are_in_the_order_of_their_last_entries(tmp_path: Path) -> None:
    """The clock of the second one was years back until it was set."""
    entries = [kill(1, 0, _BOOT_ID=OTHER_BOOT), (kill(2)[0], AT_USEC // 2), kill(3, 100)]
    write(tmp_path / f"var/log/journal/{MACHINE}/system.journal", entries)
    for boot, numbers in (("-1", [1]), ("1", [1]), ("0", [2, 3]), ("2", [2, 3])):
        assert ids(ctl("--root", tmp_path, LEGEND, "-b", boot)) == [shown(number) for number in numbers]


@pytest.mark.parametrize("number", ["-2", "3", "+3"])
def test_a_boot_that_the_journal_has_not_is_named(tmp_path: Path, number: str) -> None:
    ran = ctl("--root", system(tmp_path), "-b", number)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[0] == f"oomkillctl: the journal has no boot '{number}'"


def test_the_word_behind_b_is_its_value_only_if_it_looks_like_a_boot(tmp_path: Path) -> None:
    assert ids(ctl("--root", system(tmp_path), LEGEND, "-b", "victim")) == [shown(2), shown(3)]


def test_the_id_of_a_boot_may_be_in_upper_case(tmp_path: Path) -> None:
    write(tmp_path / "system.journal", [kill(1, 0, _BOOT_ID="ab" * 16), kill(2, 1)])
    assert ids(ctl("-D", tmp_path, LEGEND, "-b", "AB" * 16)) == [shown(1)]


COPY = "read a copy with -D DIR or --file FILE"
DAMAGED = "the file is damaged, or no journal: see `journalctl --verify --file=FILE`"


def test_a_journal_that_is_not_there_has_its_own_status(tmp_path: Path) -> None:
    for words in (
        ["-D", f"{tmp_path}/none"],
        ["-D", str(tmp_path)],
        ["--root", str(tmp_path)],
        ["--file", f"{tmp_path}/*.journal"],
        ["stats", "-D", f"{tmp_path}/none"],
        ["follow", "-D", f"{tmp_path}/none"],
    ):
        ran = ctl(*words)
        assert (ran.status, ran.out) == (5, "")
        first, hint = ran.err.splitlines()
        assert first.startswith("oomkillctl: found no journal files ")
        assert str(tmp_path) in first
        assert hint == f"oomkillctl: {COPY}"


def test_a_file_that_is_no_journal_has_the_same_status(tmp_path: Path) -> None:
    bad, cut = tmp_path / "bad.journal", write(tmp_path / "cut.journal", [kill(1)])
    bad.write_bytes(b"no journal" * 1000)
    os.truncate(cut, cut.stat().st_size // 2)
    for file, why, hint in (
        (bad, "Bad message", DAMAGED),
        (cut, "No data available", DAMAGED),
        (tmp_path, "Is a directory", "it is a directory: use -D"),
    ):
        ran = ctl("--file", file)
        said = f"oomkillctl: Failed to open {file}: {why}\noomkillctl: {hint}\n"
        assert ran == Ran(5, "", said)


def damage(file: Path, number: int) -> None:
    """Make the entry with this number unreadable. The layout is that of systemd's journal-def.h."""
    raw = bytearray(file.read_bytes())
    (at,) = struct.unpack_from("<Q", raw, 88)  # the size of the header
    while True:
        (size,) = struct.unpack_from("<Q", raw, at + 8)
        number -= raw[at] == ENTRY_OBJECT
        if number == 0:
            raw[at] = 0xFF
            file.write_bytes(raw)
            return
        at += (size + 7) // 8 * 8


def test_an_entry_with_a_damaged_name_is_skipped(tmp_path: Path) -> None:
    file = write(tmp_path / "system.journal", [kill(1), kill(2, 1, OOM_VICTIM_PID="4711"), kill(3, 2)])
    raw = file.read_bytes()
    assert raw.count(b"OOM_VICTIM_PID=4711") == 1
    file.write_bytes(raw.replace(b"OOM_VICTIM_PID=4711", b"\xffOM_VICTIM_PID=4711"))
    ran = ctl("-D", tmp_path, LEGEND)
    assert ids(ran) == [shown(1), shown(3)]
    assert ran.err == "oomkillctl: Failed to read an entry: Bad message, ignoring\n"


def test_damage_does_not_pass_for_the_end_of_the_journal(tmp_path: Path) -> None:
    file = write(tmp_path / "system.journal", [kill(number, number) for number in range(1, 50)])
    damage(file, 25)
    for words, numbers, said in (
        ([], range(1, 25), "after 2026-11-27 13:23:56, ignoring what follows"),
        (["-r"], range(49, 25, -1), "before 2026-11-27 13:23:58, ignoring what precedes"),
    ):
        ran = ctl("-D", tmp_path, *words)
        assert ids(ran)[1:-2] == [shown(number) for number in numbers]
        assert ran.err == f"oomkillctl: the journal is damaged {said}\n"
        assert ran.out.endswith("24 kills. The list lacks 1 unusable entry.\n")
    assert ctl("-D", tmp_path, "-n", "20").err == ""


def test_a_damaged_file_of_one_machine_does_not_hide_the_others(tmp_path: Path) -> None:
    fleet(tmp_path)
    bad = tmp_path / "remote-web1.journal"
    bad.write_bytes(b"no journal" * 1000)
    for words in ([], ["-r"]):
        ran = ctl("-D", tmp_path, *words)
        assert sorted(ids(ran)[1:-2]) == [shown(2), shown(4), shown(5)]
        assert ran.out.endswith("The list lacks what is in 1 unreadable file.\n")
        assert ran.err == f"oomkillctl: Failed to open {bad}: Bad message, ignoring\n"


def test_machines_are_named_if_there_are_several(tmp_path: Path) -> None:
    one, other = ("a" * 32, "b" * 32)
    write(tmp_path / one / "system.journal", [kill(1)])
    assert " HOST " not in ctl("-D", tmp_path).out
    write(tmp_path / other / "system.journal", [kill(2, 1, _HOSTNAME="web2")])
    assert hosts(ctl("-D", tmp_path, LEGEND)) == [(shown(1), "web1"), (shown(2), "web2")]


def test_a_damaged_file_is_warned_about_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path / "good.journal", [kill(1)])
    (tmp_path / "bad.journal").write_bytes(b"no journal" * 1000)
    ran = ctl("-D", tmp_path)
    assert ids(ran)[1:2] == [shown(1)]
    assert ran.out.endswith("\n1 kill. The list lacks what is in 1 unreadable file.\n")
    assert ran.err == f"oomkillctl: Failed to open {tmp_path}/bad.journal: Bad message, ignoring\n"


@pytest.fixture
def unreadable(tmp_path: Path) -> Path:
    write(tmp_path / "system.journal", [kill(1)]).chmod(0o600)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    return tmp_path


def as_nobody(*words: str) -> Ran:
    """Run it without any privilege; the test itself may be root."""
    program = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); import sys; "
    program += "from oomkilld.ctl.main import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run(
        [PYTHON, "-c", program, *words], env=environment_of(), cwd="/", capture_output=True, check=False, text=True
    )
    return Ran(run.returncode, run.stdout, run.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o744, 0o711])
@pytest.mark.parametrize(("option", "name"), [("-D", ""), ("--file", "/system.journal"), ("--file", "/*.journal")])
def test_who_may_not_read_the_journal_is_told_how_to(unreadable: Path, mode: int, option: str, name: str) -> None:
    if not os.access(ROOT, os.X_OK) or as_nobody("--version").status:
        pytest.skip("others cannot read this checkout")
    unreadable.chmod(mode)
    ran = as_nobody(option, f"{unreadable}{name}")
    assert (ran.status, ran.out) == (4, "")
    first, hint = ran.err.splitlines()
    assert first.startswith(f"oomkillctl: not permitted to read the journal ({unreadable}")
    assert re.fullmatch("oomkillctl: use sudo, or let your user read this (file|directory)", hint)
    assert as_nobody(option, f"{unreadable}{name}", "stats", "--bare", "-q") == Ran(4, "", "")
    assert as_nobody(option, f"{unreadable}/none{name}").status == (5 if mode & os.X_OK else 4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_read_the_journal_of_a_system_is_told_the_group(unreadable: Path) -> None:
    if not os.access(ROOT, os.X_OK) or as_nobody("--version").status:
        pytest.skip("others cannot read this checkout")
    (unreadable / f"var/log/journal/{MACHINE}").mkdir(parents=True)
    (unreadable / "system.journal").rename(unreadable / f"var/log/journal/{MACHINE}/system.journal")
    ran = as_nobody("--root", str(unreadable))
    said = "join the group systemd-journal or adm: `sudo usermod -aG systemd-journal $USER`, then log in again"
    assert (ran.status, ran.err.splitlines()[1:]) == (4, [f"oomkillctl: use sudo, or {said}"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_file_that_may_not_be_read_is_named(unreadable: Path) -> None:
    if not os.access(ROOT, os.X_OK) or as_nobody("--version").status:
        pytest.skip("others cannot read this checkout")
    (unreadable / "bad.journal").write_bytes(b"no journal" * 1000)
    first = as_nobody("-D", str(unreadable)).err.splitlines()[0]
    assert first == f"oomkillctl: not permitted to read the journal ({unreadable}/system.journal: Permission denied)"


def test_an_error_without_a_number_has_a_text() -> None:
    assert reason(OSError("no such cursor")) == "no such cursor"
    assert reason(OSError(errno.ENOENT, os.strerror(errno.ENOENT))) == "No such file or directory"


def test_received_journals_are_read_only_if_wanted(tmp_path: Path) -> None:
    """As below /var/log/journal; with a root of its own, as the test cannot put files there."""
    system(tmp_path)
    fleet(tmp_path / "var/log/journal/remote")
    assert ids(ctl("--root", tmp_path, LEGEND)) == [shown(1), shown(2), shown(3)]
    ran = ctl("--root", tmp_path, "-m", LEGEND)
    assert sorted(ids(ran)) == sorted(shown(number) for number in (1, 2, 3, 1, 2, 3, 4, 5))


def test_a_kill_with_two_entries_in_two_files_is_one(tmp_path: Path) -> None:
    write(tmp_path / "a.journal", [kill(1), kill(2, 1)])
    shutil.copy(tmp_path / "a.journal", tmp_path / "b.journal")
    assert ids(ctl("-D", tmp_path, LEGEND)) == [shown(1), shown(2)]
