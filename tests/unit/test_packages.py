# SPDX-License-Identifier: Apache-2.0
"""The Debian packages that packaging/install and packaging/try find missing, with the machine's own apt and dpkg.

These see a fake machine: its installed packages, and the packages in its apt lists.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.fieldtable import ROOT
from tests.support.namespaces import NAMESPACES, need_namespaces

NEEDED = ("python3", "python3-bpfcc", "python3-systemd", "libatomic1", "systemd")
OLD, NEW = "1.10.4-1", "2.10.6-2"
# All paths that apt uses; apt reads these directories as root.
APT = """\
Dir::State "{root}/state";
Dir::State::status "{root}/dpkg/status";
Dir::Cache "{root}/cache";
Dir::Etc "{root}/etc";
APT::Sandbox::User "root";
"""
PINNED = "Package: python3-pydantic\nPin: version 1.*\nPin-Priority: 1001\n"
# If anything goes wrong, this machine's packages stay as they are.
TRY = "mount -t tmpfs none /opt; mount -t tmpfs none /var/lib/dpkg; exec packaging/try"


class Machine:
    """``root``: holds the files of its apt and dpkg."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("dpkg/info", "dpkg/updates", "state/lists/partial", "cache/archives/partial", "repository"):
            (root / name).mkdir(parents=True)
        for name in ("apt.conf.d", "sources.list.d", "preferences.d"):
            (root / "etc" / name).mkdir(parents=True)
        (root / "etc/sources.list").write_text(f"deb [trusted=yes] file:{root}/repository ./\n")
        (root / "apt.conf").write_text(APT.format(root=root))
        self.has(dict.fromkeys(NEEDED, "1"))

    def has(self, installed: Mapping[str, str]) -> None:
        state = "Status: install ok installed\n"
        (self.root / "dpkg/status").write_text(packages(installed, state))

    def offers(self, offered: Mapping[str, str]) -> None:
        """Set the packages whose lists apt can fetch."""
        source = "Filename: ./none.deb\nSize: 1\nSHA256: " + "0" * 64 + "\n"
        (self.root / "repository/Packages").write_text(packages(offered, source))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        apt = {"APT_CONFIG": str(self.root / "apt.conf"), "DPKG_ADMINDIR": str(self.root / "dpkg")}
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **apt}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)


def packages(versions: Mapping[str, str], more: str) -> str:
    return "\n".join(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b>\nDescription: c\n{more}"
        for name, version in versions.items()
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class Case(NamedTuple):
    """The pydantic that is installed, the one in apt's lists, whether Debian's is used, and the missing packages."""

    installed: str | None
    listed: str | None
    preferences: str
    from_debian: bool
    missing: str


CASES = [
    Case(NEW, None, "", True, "none, all are there"),
    Case(OLD, None, "", False, "python3-pip-whl"),
    Case(OLD, NEW, "", False, "python3-pip-whl"),
    Case(NEW, OLD, PINNED, True, "none, all are there"),
    Case(None, NEW, "", True, "python3-pydantic"),
    Case(None, OLD, "", False, "python3-pip-whl"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.installed} installed, {case.listed} listed")
def test_an_installed_pydantic_decides_and_otherwise_the_one_in_apts_lists(machine: Machine, case: Case) -> None:
    machine.has(dict.fromkeys(NEEDED, "1") | ({"python3-pydantic": case.installed} if case.installed else {}))
    (machine.root / "etc/preferences").write_text(case.preferences)
    if case.listed:
        machine.offers({"python3-pydantic": case.listed})
        assert machine.run("apt-get", "-qq", "update").returncode == 0
    for script in ("packaging/install", "packaging/try"):
        shown = machine.run(script, "--dry-run")
        assert (shown.returncode, shown.stderr) == (0, "")
        first, program, *_ = shown.stdout.splitlines()
        assert first.split(": ")[2].partition(" (to download")[0] == case.missing
        assert ("from PyPI" not in program) == case.from_debian


@pytest.mark.parametrize("has_lists", [False, True], ids=["without lists", "with lists"])
def test_apts_lists_are_fetched_if_it_does_not_know_a_missing_package(machine: Machine, has_lists: bool) -> None:
    """apt knows pydantic, which is installed."""
    need_namespaces()
    there = dict.fromkeys(NEEDED, "1") | {"python3-pydantic": NEW}
    machine.offers(there)
    if has_lists:
        assert machine.run("apt-get", "-qq", "update").returncode == 0
    del there["python3-bpfcc"]
    machine.has(there)
    shown = machine.run(*NAMESPACES, "bash", "-euc", TRY)
    assert shown.returncode == 1
    assert ("fetching apt's lists" in shown.stderr) == (not has_lists)
    # Now apt knows the package, and the archive lacks its file.
    assert "packaging/try: fetching python3-bpfcc\n" in shown.stderr
    assert "Unable to locate package" not in shown.stderr
    assert f"{machine.root}/repository/./none.deb" in shown.stderr
