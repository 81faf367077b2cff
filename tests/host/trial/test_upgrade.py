# SPDX-License-Identifier: Apache-2.0
"""A program of before the rooms, installed and running, becomes this one while processes are killed."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.host.container import PACKAGES, Container, booted
from tests.host.trees import fresh_tree
from tests.support import live, pace
from tests.support.storm import door
from tests.vm.image import CHECKOUT
from tests.vm.machine import build_hog
from trial import victim

# Its ledger, and its files of sent ids, have other layouts and names.
BEFORE = "a6895b6"
# Between kills: the kernel's log has room for the lines of as many as there are while the new program is compiled.
PAUSE_USEC = 50_000
SETTLED_SECONDS = 120
SAID = "sh", "-c", "systemctl status oomkilld; journalctl -u oomkilld -p 5 -o short-monotonic --no-pager | tail -30"


@pytest.fixture
def debian_13() -> Iterator[Container]:
    with fresh_tree("trixie", PACKAGES) as tree, booted(tree) as container:
        yield container


def checkout_of(commit: str, target: Path) -> None:
    target.mkdir()
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT), "archive", commit]
    archive = subprocess.run(git, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", target], input=archive, check=True)


@contextmanager
def killing() -> Iterator[list[int]]:
    """Until this is left; then how many were killed."""
    reaped: list[int] = []
    with live.cgroup("upgrade", 2 << 20) as group:
        command = [live.hog_program(), str(door(group)), "storm=0", f"pause={PAUSE_USEC}"]
        hog = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield reaped
        finally:
            hog.terminate()
            reaped.append(int(hog.communicate(timeout=30 * pace.patience())[0]))


def succeeded(container: Container, *command: str) -> None:
    result = container.run(*command)
    assert result.returncode == 0, result.stdout + result.stderr


def entries(container: Container, since_usec: int) -> list[dict[str, Any]]:
    """``since_usec``: of the boot, suspend included."""
    found = container.run("journalctl", "-o", "json", "-u", "oomkilld", "_UID=0", "OOM_EVENT=kill").stdout
    told = [json.loads(line) for line in found.splitlines()]
    return [entry for entry in told if int(entry["OOM_BOOTTIME_TIMESTAMP"]) >= since_usec]


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Room for those of this machine in which processes are killed."""
    build_hog(tmp_path / "hog")
    monkeypatch.setenv("OOMKILLD_TEST_HOG", str(tmp_path / "hog"))
    with victim.room(tmp_path) as parent:
        monkeypatch.setenv("OOMKILLD_TEST_CGROUP", str(parent))
        yield


@pytest.mark.usefixtures("cgroups")
def test_an_upgrade_during_kills_misses_none_and_doubles_none(debian_13: Container) -> None:
    checkout_of(BEFORE, debian_13.tree.root / "root/before")
    succeeded(debian_13, "/root/before/packaging/install")
    succeeded(debian_13, "systemctl", "enable", "--now", "oomkilld")
    here = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    with killing() as reaped:
        live.wait_for("entries of the old program", lambda: len(entries(debian_13, here)) >= 20, 30)
        succeeded(debian_13, "packaging/install")
        succeeded(debian_13, "systemctl", "restart", "oomkilld")
        new = len(entries(debian_13, here))
        live.wait_for("entries of the new program", lambda: len(entries(debian_13, here)) >= new + 20, 60)
    (kills,) = reaped
    live.wait_for(
        "all entries",
        lambda: len(entries(debian_13, here)) >= kills,
        SETTLED_SECONDS,
        lambda: f"{len(entries(debian_13, here))} of {kills}; {debian_13.run(*SAID).stdout}",
    )
    told = Counter(entry["OOM_KILL_ID"] for entry in entries(debian_13, here))
    status = debian_13.run("systemctl", "show", "--value", "-p", "StatusText", "oomkilld").stdout
    print(f"{kills} kills, {len(told)} told, {told.total()} entries; {status.strip()}")
    assert (len(told), told.total()) == (kills, kills)
