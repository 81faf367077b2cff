# SPDX-License-Identifier: Apache-2.0
"""What ``oomkillctl check`` finds: kernel, journald, service and books."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from oomkilld.arm.lock import take_lock
from oomkilld.config import files
from oomkilld.ctl.coverage import books, conclusion, configuration, journald, kernel, plugin, service
from oomkilld.ctl.coverage.books import Recorded
from oomkilld.ctl.coverage.finding import Finding, Verdict
from oomkilld.ctl.coverage.kernel import AsTheService
from oomkilld.ctl.coverage.plugin import Examined
from oomkilld.ctl.coverage.service import Status, status_of
from oomkilld.host.system import System
from oomkilld.schema import BEFORE_FIRST_START, RING_FULL, UNCONFIRMED
from oomkilld.service.rundir import Ceiling
from tests.unit.test_levels import ALL_SYMBOLS, BPF_AND_PERFMON, system

OK, WARN, FAIL, NOT_CHECKED = "ok", "warn", "FAIL", "not checked"
BPF_LEVELS = ("kprobe", "fentry", "tracepoint")


def verdicts(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.what: finding.verdict.value for finding in findings}


def said(findings: Iterable[Finding]) -> str:
    return "\n".join(f"{each.what}: {each.text}; {each.hint}" for each in findings)


class Readable(System):
    """The kernel log can be read."""

    def open_kernel_log(self) -> int:
        return os.open(os.devnull, os.O_RDONLY)


class ByAnother(AsTheService):
    """Another user than root asks, and the kernel log is for root only."""

    def open_kernel_log(self) -> int:
        raise PermissionError(1, "Operation not permitted")


def machine(
    root: Path, *, capabilities: int = 1 << 21, paranoid: int = 3, lockdown: str = "[none]", first_uid: int = 0
) -> Path:
    """A kernel that offers every level."""
    system(root, capabilities=capabilities, paranoid=paranoid, lockdown=lockdown, first_uid=first_uid)
    lines = (f"ffffffff81000000 T {name}\n" for name in ALL_SYMBOLS)
    (root / "proc/kallsyms").write_text("".join(lines))
    return root


def of_kernel(
    where: System, setting: str = "auto", in_force: str | None = None, *, is_root: bool = True
) -> list[Finding]:
    return list(kernel.findings(where, setting, in_force, is_root=is_root))


def test_a_usual_kernel_offers_every_level_to_root(tmp_path: Path) -> None:
    found = of_kernel(Readable(machine(tmp_path)))
    assert verdicts(found) == dict.fromkeys(
        [*(f"level {name}" for name in (*BPF_LEVELS, "kmsg")), "BTF", "privileges", "lockdown"], OK
    )
    assert [each.text for each in found[:4]] == ["available"] * 4


def test_without_root_everything_but_privileges_is_checked(tmp_path: Path) -> None:
    found = of_kernel(ByAnother(machine(tmp_path, capabilities=0)), is_root=False)
    assert verdicts(found) == {
        **{f"level {name}": OK for name in BPF_LEVELS},
        "level kmsg": NOT_CHECKED,
        "BTF": OK,
        "privileges": NOT_CHECKED,
        "lockdown": OK,
    }
    root = of_kernel(System(machine(tmp_path, capabilities=0)), is_root=True)
    assert {verdict for what, verdict in verdicts(root).items() if what.startswith("level")} == {FAIL}
    assert verdicts(root)["privileges"] == WARN


def test_in_a_user_namespace_nothing_can_be_recorded_whoever_asks(tmp_path: Path) -> None:
    machine(tmp_path, first_uid=1000)
    for where in (System(tmp_path), ByAnother(tmp_path)):
        found = of_kernel(where, is_root=not isinstance(where, ByAnother))
        assert {verdicts(found)[f"level {name}"] for name in (*BPF_LEVELS, "kmsg")} == {FAIL}
        assert verdicts(found)["privileges"] == WARN
        assert "run it on the container's host" in said(found)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        ("sys/kernel/btf/vmlinux", {**{f"level {name}": WARN for name in BPF_LEVELS}, "BTF": WARN}),
        ("sys/bus/event_source/devices/kprobe/type", {}),  # fentry lacks nothing either
        ("proc/kallsyms", {"level kprobe": WARN, "level fentry": WARN}),
    ],
)
def test_what_the_kernel_lacks_is_said_where_it_matters(tmp_path: Path, spoil: str, expected: dict[str, str]) -> None:
    (machine(tmp_path) / spoil).unlink()
    found = of_kernel(Readable(tmp_path))
    assert {what: verdict for what, verdict in verdicts(found).items() if verdict != OK} == expected


def test_lockdown_leaves_the_kernel_log(tmp_path: Path) -> None:
    found = of_kernel(Readable(machine(tmp_path, lockdown="none integrity [confidentiality]")))
    assert verdicts(found)["lockdown"] == WARN
    assert verdicts(found)["level kmsg"] == OK
    found = of_kernel(Readable(machine(tmp_path, lockdown="none [integrity] confidentiality")))
    assert found[-1] == Finding("lockdown", Verdict.OK, "integrity")


def test_a_lower_level_that_is_missing_does_not_matter_except_for_the_search_in_the_log(tmp_path: Path) -> None:
    symbols = [name for name in ALL_SYMBOLS if name != "bpf_trampoline_link_prog"]
    machine(tmp_path, capabilities=BPF_AND_PERFMON, paranoid=2)
    (tmp_path / "proc/kallsyms").write_text("".join(f"ffffffff81000000 T {name}\n" for name in symbols))
    found = of_kernel(System(tmp_path))
    assert verdicts(found)["level fentry"] == OK
    assert "not needed, there is kprobe" in said(found)
    assert verdicts(found)["level kmsg"] == WARN
    assert "no kill can be found that the probe missed" in said(found)


def test_the_level_in_force_counts_more_than_what_seems_possible(tmp_path: Path) -> None:
    found = of_kernel(Readable(machine(tmp_path, capabilities=0)), in_force="fentry", is_root=True)
    levels = {what: verdict for what, verdict in verdicts(found).items() if what.startswith("level")}
    assert levels == {"level kprobe": OK, "level fentry": OK, "level tracepoint": OK, "level kmsg": OK}
    found = of_kernel(Readable(machine(tmp_path, capabilities=0)), in_force="tracepoint", is_root=True)
    assert [verdicts(found)[f"level {name}"] for name in BPF_LEVELS] == [WARN, WARN, OK]
    found = of_kernel(Readable(machine(tmp_path)), in_force="tracepoint")
    assert [each.text for each in found[:4]] == [
        *["not in force, although nothing is known to be in its way: the service runs at level tracepoint"] * 2,
        "in force",
        "available",
    ]


def test_a_level_that_was_set_aside_in_this_boot_is_named_with_the_reason(tmp_path: Path) -> None:
    where = Readable(machine(tmp_path))
    found = list(kernel.findings(where, "auto", "fentry", Ceiling("fentry", "three impossible records"), is_root=True))
    assert verdicts(found)["level kprobe"] == WARN
    assert "level kprobe: set aside in this boot: three impossible records; report this" in said(found)
    assert {verdicts(found)[f"level {name}"] for name in ("fentry", "tracepoint", "kmsg")} == {OK}
    # Nothing is left if the kernel log cannot be read.
    found = list(kernel.findings(System(tmp_path), "auto", None, Ceiling("kmsg", "it missed kills"), is_root=True))
    assert verdicts(found)["level kmsg"] == FAIL


def test_only_the_level_that_the_settings_allow_counts(tmp_path: Path) -> None:
    (machine(tmp_path) / "sys/bus/event_source/devices/kprobe/type").unlink()
    found = of_kernel(Readable(tmp_path), setting="kprobe")
    assert verdicts(found)["level kprobe"] == FAIL
    assert verdicts(found)["level kmsg"] == OK
    assert "not wanted: capture.level is kprobe" in said(found)


ID = "3d1219c7c4c5404aaa1f6d2a48adfda4"


def journal_tree(root: Path, *places: str) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "etc/machine-id").write_text(f"{ID}\n")
    for place in places:
        directory = root / place / "log/journal" / ID
        directory.mkdir(parents=True)
        (directory / "system.journal").touch()
        os.utime(directory / "system.journal", ns=(0, 2 if place == "var" else 1))
    return root


def of_journald(
    root: Path,
    configured: dict[str, str] | None = None,
    unit: dict[str, str] | None = None,
    priority: str = "crit",
    *,
    is_root: bool = True,
) -> list[Finding]:
    return list(journald.findings(root, configured or {}, unit, priority, is_root=is_root))


def test_a_persistent_journal_is_ok_and_one_in_memory_a_warning(tmp_path: Path) -> None:
    found = of_journald(journal_tree(tmp_path / "a", "var", "run"))
    assert verdicts(found) == {"journal": OK, "room": OK, "rate limit": OK}
    assert "persistent, in /var/log/journal" in said(found)
    left = tmp_path / "a/var/log/journal" / ID / "system.journal"
    os.utime(left, ns=(0, 0))
    assert verdicts(of_journald(tmp_path / "a"))["journal"] == WARN
    assert "free in /var, room for" in said(found)
    found = of_journald(journal_tree(tmp_path / "b", "run"))
    assert verdicts(found)["journal"] == WARN
    assert "gone after a reboot" in said(found)


def test_no_journal_file_is_a_failure_unless_another_user_cannot_see_it(tmp_path: Path) -> None:
    found = of_journald(journal_tree(tmp_path))
    assert verdicts(found) == {"journal": FAIL, "rate limit": OK}
    hidden = tmp_path / "run/log/journal"
    hidden.mkdir(parents=True)
    (hidden / ID).symlink_to("/proc/1/root/nowhere")
    assert verdicts(of_journald(tmp_path, is_root=False))["journal"] == NOT_CHECKED
    assert verdicts(of_journald(tmp_path, is_root=True))["journal"] == FAIL


@pytest.mark.parametrize(
    ("configured", "status", "expected"),
    [
        ({"Storage": "none"}, "", FAIL),
        ({"Storage": "persistent"}, "", OK),
        ({"MaxLevelStore": "alert"}, "", FAIL),
        ({"MaxLevelStore": "1"}, "", FAIL),
        ({"MaxLevelStore": "crit"}, "", OK),
        ({"MaxLevelStore": "debug"}, "", OK),
        ({}, "Level kprobe: 1 kill recorded, 0 repeats, 0 missing; journald stores nothing", FAIL),
    ],
)
def test_a_journald_that_stores_no_kill_is_a_failure(
    tmp_path: Path, configured: dict[str, str], status: str, expected: str
) -> None:
    found = of_journald(journal_tree(tmp_path, "var"), configured, {"StatusText": status})
    assert verdicts(found)["journal"] == expected


def test_what_journald_stores_is_compared_with_the_priority_of_kills(tmp_path: Path) -> None:
    stored = {"MaxLevelStore": "err"}
    journal_tree(tmp_path, "var")
    assert verdicts(of_journald(tmp_path, stored, priority="err"))["journal"] == OK
    assert verdicts(of_journald(tmp_path, stored, priority="warning"))["journal"] == FAIL


@pytest.mark.parametrize(
    ("configured", "unit", "expected"),
    [
        ({}, {}, OK),
        ({}, {"LogRateLimitIntervalUSec": "0", "LogRateLimitBurst": "0"}, OK),
        ({"RateLimitBurst": "1000"}, {}, WARN),
        # A unit's 0 does not turn off journald's own limit.
        ({"RateLimitBurst": "1000"}, {"LogRateLimitIntervalUSec": "0", "LogRateLimitBurst": "0"}, WARN),
        ({"RateLimitBurst": "1000"}, {"LogRateLimitIntervalUSec": "1s", "LogRateLimitBurst": "5000"}, OK),
        ({"RateLimitIntervalSec": "0"}, {}, OK),
        ({"RateLimitIntervalSec": "5min"}, {}, WARN),
        ({"RateLimitIntervalSec": "1min 30s", "RateLimitBurst": "30000"}, {}, OK),
        ({"RateLimitIntervalSec": "2 minutes"}, {}, WARN),
        ({"RateLimitIntervalSec": "2 minutes", "RateLimitBurst": "60000"}, {}, OK),
        ({"RateLimitIntervalSec": "soon"}, {}, WARN),
    ],
)
def test_a_rate_limit_below_a_flood_is_a_warning(
    tmp_path: Path, configured: dict[str, str], unit: dict[str, str], expected: str
) -> None:
    found = of_journald(journal_tree(tmp_path, "var"), configured, unit)
    assert verdicts(found)["rate limit"] == expected


@pytest.mark.parametrize(("free_mib", "expected"), [(4, FAIL), (20, WARN), (400, OK)])
def test_a_full_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, expected: str) -> None:
    about = os.statvfs_result((4096, 4096, 0, 0, free_mib << 8, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: about)
    found = of_journald(journal_tree(tmp_path, "var"))
    assert verdicts(found)["room"] == expected
    assert f"{free_mib}.0M free in /var" in said(found)


def test_journalds_files_are_read_as_systemd_prints_them() -> None:
    main = "# /etc/a\n[Journal]\n#Storage=none\nRateLimitBurst=5\n\n[Other]\nStorage=none\n"
    text = f"{main}# b\n[Journal]\nRateLimitBurst= 7\n"
    assert journald.settings(text) == {"RateLimitBurst": "7"}


STATUS = "Level kprobe: 12 kills recorded, 3 repeats, 0 missing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STATUS, Status("kprobe", 12, 3, 0, 0, ())),
        ("Level kmsg: 1 kill recorded, 1 repeat, 2 missing", Status("kmsg", 1, 1, 2, 0, ())),
        (f"{STATUS}; searching the kernel log for 1 kills", Status("kprobe", 12, 3, 0, 1, ())),
        (
            f"{STATUS}; searching the kernel log for 4 kills; waiting for journald: its queue is full; x",
            Status("kprobe", 12, 3, 0, 4, ("waiting for journald: its queue is full", "x")),
        ),
        (f"{STATUS}, 3 wait for the next run", Status("kprobe", 12, 3, 0, 0, ())),
        ("", None),
        ("Starting", None),
    ],
)
def test_the_status_line_is_read(text: str, expected: Status | None) -> None:
    assert status_of(text) == expected


RUNNING = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "StatusText": STATUS}


@pytest.mark.parametrize(
    ("changed", "verdict", "text"),
    [
        ({}, OK, "running at level kprobe"),
        ({"StatusText": ""}, OK, "running"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, FAIL, "not installed"),
        ({"LoadState": "masked", "ActiveState": "inactive"}, FAIL, "unmask"),
        ({"ActiveState": "inactive"}, FAIL, "not running: inactive; `sudo systemctl enable --now oomkilld`"),
        ({"ActiveState": "failed", "ExecMainStatus": "77"}, FAIL, "not running: failed (exit status 77)"),
        ({"ActiveState": "activating", "SubState": "start"}, WARN, "check again in a minute"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "ExecMainStatus": "71"}, FAIL, "(exit status 71)"),
    ],
)
def test_the_state_of_the_service(changed: dict[str, str], verdict: str, text: str) -> None:
    found = list(service.findings(RUNNING | changed, None, is_root=False))
    assert verdicts(found)["service"] == verdict
    assert text in said(found)


def test_a_service_that_does_not_start_at_boot_or_has_trouble_is_a_warning() -> None:
    found = list(service.findings(RUNNING | {"UnitFileState": "disabled"}, None, is_root=False))
    assert verdicts(found) == {"service": OK, "next boot": WARN}
    status = f"{STATUS}; the configuration is invalid: recording with the defaults"
    found = list(service.findings(RUNNING | {"StatusText": status}, None, is_root=False))
    assert verdicts(found) == {"service": OK, "next boot": OK, "status line": WARN}
    assert "oomkilld --check-config" in said(found)
    # This one is a finding about the journal.
    found = list(service.findings(RUNNING | {"StatusText": f"{STATUS}; journald stores nothing"}, None, is_root=False))
    assert verdicts(found) == {"service": OK, "next boot": OK}


def test_without_systemd_the_lock_shows_whether_the_service_runs(tmp_path: Path) -> None:
    assert verdicts(service.findings(None, None, is_root=False)) == {"service": NOT_CHECKED}
    assert verdicts(service.findings(None, None, is_root=True)) == {"service": FAIL}
    assert verdicts(service.findings(None, "553", is_root=True)) == {"service": OK}
    directory = tmp_path / "run/oomkilld"
    directory.parent.mkdir()
    (tmp_path / "proc").symlink_to("/proc")
    assert service.holder(tmp_path) is None
    fd = take_lock(directory)
    assert service.holder(tmp_path) == str(os.getpid())
    os.close(fd)
    assert (directory / "instance").exists()
    assert service.holder(tmp_path) is None


def recorded(kills: int | None = None, suppressed: int = 0, **missed: int) -> Recorded:
    return Recorded(kills, None, {reason.replace("_", "-"): number for reason, number in missed.items()}, suppressed)


def status(kills: int = 12, repeats: int = 3, missing: int = 0, searching: int = 0) -> Status:
    return Status("kprobe", kills, repeats, missing, searching, ())


assert (BEFORE_FIRST_START, RING_FULL, UNCONFIRMED) == ("before-first-start", "ring-full", "unconfirmed")


@pytest.mark.parametrize(
    ("line", "counted", "journal", "verdict", "text"),
    [
        (status(), 15, recorded(), OK, "12 kills recorded, 3 repeats, 0 missing; the kernel counted 15"),
        (status(), 15, None, OK, "the kernel counted 15"),
        (status(), None, recorded(), OK, "no count to compare"),
        (status(), 17, recorded(), WARN, "the kernel counted 2 kills more"),
        (status(searching=2), 17, recorded(), WARN, "searching the kernel log for 2"),
        (status(missing=4), 19, recorded(ring_full=4), FAIL, "4 kills missed in this boot (ring-full 4)"),
        (status(missing=4), 19, recorded(), FAIL, "4 kills missed in this boot (for an unknown reason)"),
        (status(missing=4), 19, None, NOT_CHECKED, "only root can see it"),
        (status(missing=4), 19, recorded(before_first_start=4), OK, "4 missing"),
        (
            status(missing=5),
            20,
            recorded(before_first_start=4, stopped=1),
            FAIL,
            "1 kill missed in this boot (stopped 1)",
        ),
        # The counts began anew: what was before them is in the journal.
        (
            status(missing=9),
            24,
            recorded(before_first_start=4 + 9, ring_full=3),
            FAIL,
            "3 kills missed in this boot (ring-full 3)",
        ),
        (status(missing=9), 24, recorded(before_first_start=4 + 9), OK, "9 missing"),
        (status(missing=1), 16, recorded(unconfirmed=1), WARN, "only the kernel's count has 1 of them"),
        (
            None,
            15,
            recorded(kills=12),
            NOT_CHECKED,
            "the journal has 12 kills of this boot; nobody compares it with the kernel's count while no service runs",
        ),
        (None, 15, recorded(kills=12, not_running=2), FAIL, "2 kills missed"),
        (None, 15, None, NOT_CHECKED, "only root can see it"),
        (status(), 15, recorded(suppressed=9), FAIL, "journald dropped 9 entries"),
    ],
)
def test_the_books_of_this_boot(
    line: Status | None, counted: int | None, journal: Recorded | None, verdict: str, text: str
) -> None:
    found = list(books.findings(line, counted, journal, runs=line is not None))
    assert found[0].what == "books"
    assert found[0].verdict.value == verdict
    assert text in found[0].text


def test_a_service_without_a_status_line_is_believed() -> None:
    (found,) = books.findings(None, 15, recorded(kills=12), runs=True)
    text = "the journal has 12 kills of this boot; the service shows no counts to compare"
    assert found == Finding("books", Verdict.OK, text)


FAILED = Finding("journal", Verdict.FAIL, "there is none")
MISSED = Finding("books", Verdict.FAIL, "2 kills missed in this boot")
STARTS = Finding("service", Verdict.WARN, "starting")


@pytest.mark.parametrize(
    ("findings", "missed", "sentence"),
    [
        ([], 0, "Kills on this machine are recorded."),
        (
            [Finding("room", Verdict.WARN), Finding("privileges", Verdict.NOT_CHECKED)],
            0,
            "Kills on this machine are recorded.",
        ),
        ([FAILED, Finding("service", Verdict.FAIL)], 0, "A kill would not be recorded now: journal, service."),
        ([FAILED, FAILED], 0, "A kill would not be recorded now: journal."),
        ([MISSED], 2, "2 kills were missed: books."),
        ([MISSED], 1, "1 kill was missed: books."),
        ([MISSED], 0, "Entries of kills may be missing: books."),
        ([MISSED], None, "Entries of kills may be missing: books."),
        ([MISSED, FAILED], 2, "A kill would not be recorded now: journal. 2 kills were missed: books."),
        ([FAILED, Finding("books", Verdict.NOT_CHECKED)], 0, "A kill would not be recorded now: journal."),
        ([Finding("books", Verdict.NOT_CHECKED)], None, "Nobody knows whether kills are recorded: books."),
        (
            [STARTS, Finding("books", Verdict.NOT_CHECKED)],
            0,
            "Nobody knows whether kills are recorded: service, books.",
        ),
    ],
    ids=str,
)
def test_the_verdict_in_words(findings: list[Finding], missed: int | None, sentence: str) -> None:
    assert conclusion.said(findings, missed) == sentence


def configured(root: Path, text: str) -> Path:
    (root / "etc/oomkilld").mkdir(parents=True)
    (root / "etc/oomkilld/oomkilld.toml").write_text(text)
    return root


def test_the_settings_are_checked_as_the_service_reads_them(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    asked = configuration.asked(tmp_path / "a", is_root=True)
    assert asked == (Finding("settings", Verdict.OK, "valid: the defaults"), "auto", "crit")
    good = configured(tmp_path / "b", '[capture]\nlevel = "kmsg"\n[entry]\npriority = "err"\n')
    asked = configuration.asked(good, is_root=True)
    assert (asked.level, asked.priority, asked.finding.verdict) == ("kmsg", "err", Verdict.OK)
    assert "oomkilld.toml" in asked.finding.text
    bad = configured(tmp_path / "c", '[capture]\nlevel = "kms"\nring_size = 5\n')
    asked = configuration.asked(bad, is_root=False)
    assert (asked.level, asked.finding.verdict) == ("auto", Verdict.WARN)
    assert "oomkilld.toml:2: capture.level: found 'kms'" in asked.finding.text
    assert "(and 1 more)" in asked.finding.text
    assert "--check-config" in asked.finding.hint


def test_settings_that_only_root_can_read_are_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(where: str, *, is_nothing: bool) -> bytes:  # noqa: ARG001
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), where)

    configured(tmp_path, "")
    monkeypatch.setattr(files, "_read", refused)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert configuration.asked(tmp_path, is_root=False).finding.verdict is Verdict.NOT_CHECKED
    assert configuration.asked(tmp_path, is_root=True).finding.verdict is Verdict.WARN


def examined(findings: list[Finding], line: Status | None = None, journal: Recorded | None = None) -> Examined:
    return Examined(findings, line, journal)


FINE = [Finding("service", Verdict.OK, "running at level kprobe"), Finding("books", Verdict.OK, "12 kills recorded")]
TROUBLE = Finding("journal", Verdict.WARN, "in memory | only", "do this")
DOWN = Finding("service", Verdict.FAIL, "down\n\x1b[31m")
UNSEEN = Finding("level kmsg", Verdict.NOT_CHECKED)
BOOKS_UNSEEN = Finding("books", Verdict.NOT_CHECKED, "only root can see it")


@pytest.mark.parametrize(
    ("given", "state", "line"),
    [
        (
            examined(FINE),
            0,
            "OOMKILLD OK - service: running at level kprobe; books: 12 kills recorded|missed=U kills=U age=U",
        ),
        (examined([*FINE, UNSEEN], status()), 0, "|missed=0 kills=12 age=U"),
        (examined([*FINE, TROUBLE]), 1, "OOMKILLD WARNING - journal: in memory / only|missed=U"),
        (
            examined([*FINE, TROUBLE, DOWN]),
            2,
            "CRITICAL - service: down\\x0a",
        ),
        (examined([BOOKS_UNSEEN, TROUBLE]), 3, "UNKNOWN - books: not checked, only root can see it|"),
        (examined([BOOKS_UNSEEN, STARTS]), 1, "WARNING - service: starting|"),
        (examined(FINE, status(missing=2), recorded(stopped=2)), 0, "|missed=2 kills=12 age=U"),
        (examined(FINE, None, Recorded(7, 1_000_000_000, {}, 0)), 0, "|missed=0 kills=7 age=3600s"),
        (examined(FINE, status(), Recorded(None, 5_000_000_000, {}, 0)), 0, "|missed=0 kills=12 age=0s"),
    ],
)
def test_a_monitoring_plug_in_gets_one_line_and_a_status(given: Examined, state: int, line: str) -> None:
    found, said = plugin.result(given, now=4600.0)
    assert found == state
    assert line in said
    assert said.isprintable()
    assert said.count("|") == 1
