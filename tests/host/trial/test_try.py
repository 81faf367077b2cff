# SPDX-License-Identifier: Apache-2.0
"""packaging/try as a newcomer types it: on this machine, and on fresh Debian 12 and 13 systems."""

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.host.trees import NEWCOMER, Tree, fresh_tree
from tests.host.trial.outcome import (
    assert_checkout_untouched,
    assert_one_entry,
    assert_readable,
    end,
    living_children,
    machine,
    start_until,
)
from tests.support import live, pace

ROOT = Path(__file__).parents[3]
PR_SET_CHILD_SUBREAPER = 36
# Files that apt and dpkg keep for themselves.
APT_FILES = ("var/lib/apt/", "var/cache/apt/", "var/cache/debconf/", "var/lib/dpkg/", "var/log/")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        timeout=600 * pace.patience(),
    )


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Checks mounts, cgroups, directories and processes; orphans become children of this process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = machine()
    yield
    assert machine() == before
    assert living_children() == []


@contextmanager
def files_unchanged(tree: Tree, *but: str) -> Iterator[None]:
    before = tree.files()
    yield
    after = tree.files()
    changed = {path for path, _ in before.items() ^ after.items() if not path.startswith(but)}
    assert changed == set()


def test_on_this_machine_it_prints_one_json_object_and_nothing_else() -> None:
    vmstat = live.vmstat_kills()
    started = time.monotonic()
    result = run("packaging/try", "--json")
    assert result.returncode == 0, result.stderr
    entry = assert_one_entry(result.stdout, vmstat)
    assert time.monotonic() - started < 180
    assert entry["OOM_KERNEL_RELEASE"] == os.uname().release
    assert "packaging/try: oomkilld is ready" in result.stderr


def test_without_root_it_says_so() -> None:
    result = run("setpriv", "--reuid=65534", "--clear-groups", "packaging/try")
    assert (result.returncode, result.stdout) == (77, "")
    assert "not root; run: sudo packaging/try" in result.stderr


def test_wrong_arguments_are_refused_and_help_names_every_status() -> None:
    assert run("packaging/try", "--jason").returncode == 2
    shown = run("packaging/try", "--help")
    assert shown.returncode == 0
    assert [
        status for status in (0, 1, 2, 69, 70, 71, 77) if not re.search(rf"^  {status} ", shown.stdout, re.MULTILINE)
    ] == []


@pytest.fixture(scope="module")
def debian_12() -> Iterator[Tree]:
    """Fresh in the first of the tests that use it; they run in order."""
    with fresh_tree("bookworm") as tree:
        yield tree


# Names that the standard library, pip and the program import.
PLANTED = (
    *("sitecustomize", "usercustomize", "venv", "ensurepip", "pip", "runpy", "compileall", "json", "argparse"),
    *("pydantic", "pydantic_core", "bcc", "systemd", "oomkilld", "trial", "setuptools", "zipimport"),
)
RAN = "tmp/planted-code-ran"


@contextmanager
def planted(tree: Tree, directory: Path) -> Iterator[list[str]]:
    """Plant these modules in ``directory``; yields a command prefix that runs there and points Python there."""
    code = f'with open("/{RAN}", "a") as file: file.write(__file__ + "\\n")\n'
    files = [directory / f"{name}.py" for name in PLANTED]
    for file in files:
        file.write_text(code)
        os.chown(file, NEWCOMER, NEWCOMER)
    inside = f"/{directory.relative_to(tree.root)}"
    looked_for = [f"{name}={inside}" for name in ("PYTHONPATH", "PYTHONUSERBASE", "CDPATH")]
    yield ["chroot", str(tree.root), "env", f"--chdir={inside}", *tree.environment(), *looked_for]
    for file in files:
        file.unlink()
    assert not (tree.root / RAN).exists(), (tree.root / RAN).read_text()


def test_on_a_fresh_debian_12_it_shows_a_readable_entry_from_any_directory(debian_12: Tree) -> None:
    assert not (debian_12.root / "usr/bin/python3").exists()
    with files_unchanged(debian_12, *APT_FILES):
        planned = debian_12.run("packaging/try", "--dry-run")
    assert planned.returncode == 0
    assert (
        "Debian packages to install, which stay: python3 python3-bpfcc python3-systemd python3-pip-whl"
        in planned.stdout
    )
    elsewhere = debian_12.root / "tmp/elsewhere"
    elsewhere.mkdir()
    vmstat = live.vmstat_kills()
    with planted(debian_12, elsewhere) as there:
        result = run(*there, f"/{debian_12.checkout.relative_to(debian_12.root)}/packaging/try")
    assert result.returncode == 0, result.stderr
    assert live.vmstat_kills() - vmstat == 1
    assert_readable(result.stdout)
    assert "to remove them: sudo apt-get purge --autoremove python3 python3-bpfcc" in result.stderr
    assert "sudo packaging/install" in result.stderr
    assert_checkout_untouched(debian_12)


def test_a_package_with_another_hash_is_not_installed(debian_12: Tree) -> None:
    lock = debian_12.checkout / "packaging/requirements.lock"
    reviewed = lock.read_text()
    name, star, rest = reviewed.partition("typing-inspection==")
    version, found, digest = rest.partition("--hash=sha256:")
    lock.write_text(name + star + version + found + ("1" if digest[0] == "0" else "0") + digest[1:])
    try:
        result = debian_12.run("packaging/install")
    finally:
        lock.write_text(reviewed)
    assert result.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in result.stderr
    assert "or is not what packaging/requirements.lock says" in result.stderr
    assert list((debian_12.root / "opt").iterdir()) == []


def test_installed_from_a_checkout_with_planted_code_it_runs_none(debian_12: Tree) -> None:
    with planted(debian_12, debian_12.checkout) as there:
        result = run(*there, "packaging/install")
        assert result.returncode == 0, result.stderr
        shown = run(*there, "oomkilld", "--show-config")
    assert shown.returncode == 0, shown.stderr
    assert 'level = "auto"' in shown.stdout
    removed = debian_12.run("packaging/install", "--uninstall")
    assert removed.returncode == 0, removed.stderr
    assert list((debian_12.root / "opt").iterdir()) == []


@pytest.fixture(scope="module")
def debian_13() -> Iterator[Tree]:
    """Fresh in the first of the tests that use it; they run in order."""
    with fresh_tree("trixie") as tree:
        # As on a machine that systemd booted: mounts appear wherever the mount they are in appears.
        subprocess.run(["mount", "--make-rshared", tree.root.parent], check=True)
        yield tree


def test_interrupted_while_packages_are_fetched_it_installs_none(debian_13: Tree) -> None:
    # The lists that apt fetches first stay.
    with files_unchanged(debian_13, *APT_FILES):
        started = start_until(debian_13.command("packaging/try", "--json"), "packaging/try: fetching python3")
        os.killpg(started.process.pid, signal.SIGINT)
        status, stdout, stderr = end(started)
    assert (status, stdout) == (130, "")
    assert "stay installed" not in stderr
    assert not (debian_13.root / "usr/bin/python3").exists()


def test_interrupted_while_packages_are_installed_it_lets_apt_finish_and_names_them(debian_13: Tree) -> None:
    started = start_until(debian_13.command("packaging/try", "--json"), "packaging/try: installing them")
    live.wait_for("first unpacked files", (debian_13.root / "usr/share/doc/python3").exists, 30)
    os.killpg(started.process.pid, signal.SIGINT)
    status, stdout, stderr = end(started)
    assert (status, stdout) == (130, "")
    assert "waiting for apt to finish" in stderr
    assert "stay installed; to remove them: sudo apt-get purge --autoremove python3 python3-bpfcc" in stderr
    audit = debian_13.run("dpkg", "--audit")
    assert (audit.returncode, audit.stdout) == (0, "")
    assert (debian_13.root / "usr/bin/python3").exists()
    assert list((debian_13.root / "opt").iterdir()) == []


def processes(pattern: str) -> list[str]:
    """Command lines of this machine's processes that match."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if re.search(pattern, line)]


class Of(NamedTuple):
    """A moment of a run: after the line with ``said``, when ``at_least`` processes have a matching command line."""

    said: str
    pattern: str = ""
    at_least: int = 0


PREPARING = Of("preparing the program")
TRIAL_STARTS = Of("preparing the program", r"^/usr/bin/python3 .*from trial\.run import main", 1)
STARTING = Of("starting oomkilld")
# It forks before it compiles.
COMPILING = Of("starting oomkilld", r"oomkilld-try\.\w+/program/bin/oomkilld", 2)
READY = Of("oomkilld is ready")


@pytest.mark.parametrize(
    ("moment", "number", "whole_session"),
    [
        (PREPARING, signal.SIGINT, True),
        (PREPARING, signal.SIGTERM, False),
        (TRIAL_STARTS, signal.SIGINT, True),
        (TRIAL_STARTS, signal.SIGTERM, False),
        (STARTING, signal.SIGINT, True),
        (STARTING, signal.SIGHUP, False),
        (COMPILING, signal.SIGINT, True),
        (COMPILING, signal.SIGTERM, False),
        (READY, signal.SIGTERM, False),
        (READY, signal.SIGINT, True),
    ],
)
def test_interrupted_at_any_time_it_leaves_nothing_behind(
    debian_13: Tree, moment: Of, number: signal.Signals, *, whole_session: bool
) -> None:
    with files_unchanged(debian_13):
        started = start_until(debian_13.command("packaging/try", "--json"), moment.said)
        live.wait_for("moment", lambda: len(processes(moment.pattern)) >= moment.at_least, 30, every=0.001)
        (os.killpg if whole_session else os.kill)(started.process.pid, number)
        sent = time.monotonic()
        status, stdout, stderr = end(started)
    assert time.monotonic() - sent < 10
    if moment is READY:
        # The kill takes milliseconds, so it may be over already.
        assert status in (0, 128 + number), stderr
    else:
        assert (status, stdout) == (128 + number, ""), stderr


def test_interrupted_it_waits_for_all_processes_that_it_started(debian_13: Tree) -> None:
    """The shell that started mkdir ends at once."""
    with files_unchanged(debian_13):
        slow = debian_13.root / "usr/local/bin/mkdir"
        slow.write_text(
            "#!/bin/bash\ntrap '' TERM\n[[ $* != */program/lib* ]] || sleep 1\nexec /usr/bin/mkdir \"$@\"\n"
        )
        slow.chmod(0o755)
        try:
            started = start_until(debian_13.command("packaging/try", "--json"), PREPARING.said)
            live.wait_for("mkdir", lambda: processes(r"mkdir -p \S+/program/lib"), 30, every=0.001)
            os.kill(started.process.pid, signal.SIGTERM)
            status, stdout, stderr = end(started)
            time.sleep(1.5)
        finally:
            slow.unlink()
    assert (status, stdout) == (143, ""), stderr


def test_on_debian_13_it_prints_one_json_object_and_changes_no_file(debian_13: Tree) -> None:
    vmstat = live.vmstat_kills()
    with files_unchanged(debian_13):
        result = debian_13.run("packaging/try", "--json")
    assert result.returncode == 0, result.stderr
    assert_one_entry(result.stdout, vmstat)
    assert_checkout_untouched(debian_13)


@contextmanager
def settings(tree: Tree, text: str) -> Iterator[None]:
    path = tree.root / "etc/oomkilld/oomkilld.toml"
    path.parent.mkdir()
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()
        path.parent.rmdir()


def test_if_no_level_works_it_gives_the_reason_and_fails(debian_13: Tree) -> None:
    hidden = debian_13.root / "sys/kernel/btf"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", hidden], check=True)
    try:
        with settings(debian_13, '[capture]\nlevel = "kprobe"\n'), files_unchanged(debian_13):
            result = debian_13.run("packaging/try")
    finally:
        subprocess.run(["umount", hidden], check=True)
    assert (result.returncode, result.stdout) == (69, "")
    assert re.search(r"^oomkilld: this kernel (has no BTF|has no kprobes)", result.stderr, re.MULTILINE)
    assert "packaging/try: oomkilld ended with status 69" in result.stderr


def test_a_bad_configuration_is_reported_as_by_the_service(debian_13: Tree) -> None:
    with settings(debian_13, "[capture]\nring_sise = 1\n"):
        result = debian_13.run("packaging/try")
    assert result.returncode == 0, result.stderr
    assert "/etc/oomkilld/oomkilld.toml:2: capture.ring_sise: unknown key (did you mean 'ring_size'?)" in result.stderr
    assert "the configuration is invalid: the service uses the defaults" in result.stderr
