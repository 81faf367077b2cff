# SPDX-License-Identifier: Apache-2.0
"""The tests of the service again, in a container that systemd has booted: the installed unit, the system's journald."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.__main__ import SLOWEST
from tests.host.container import PACKAGES, Container, booted
from tests.host.fleet import Fleet, FleetTests, fleet_of
from tests.host.trees import codename, fresh_tree
from tests.support import pace
from tests.vm.machine import build_hog

ROOT = Path(__file__).parents[3]
# The interpreter and the tools that run these tests. They were made for this Debian release, so the container has it
# too.
TOOLS = Path(sys.prefix)
# Environment variables of this run that the run in the container gets, too.
PASSED_ON = ("OOMKILLD_TEST_FULL", pace.VARIABLE)
# Its rate limit, some 2,000 entries in 10 s with this much space, is one that each storm exceeds and no test's own
# entries do: the unit's must replace it.
JOURNALD_SETTINGS = """[Journal]
Storage=volatile
RuntimeMaxUse=2G
RuntimeKeepFree=1M
RateLimitIntervalSec=10s
RateLimitBurst=500
"""


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    needed = subprocess.run(
        ["packaging/install", "--print-packages"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with fresh_tree(codename(), [*PACKAGES, *needed.stdout.split()]) as tree:
        build_hog(tree.root / "usr/local/bin/hog")
        settings = tree.root / "etc/systemd/journald.conf.d/test.conf"
        settings.parent.mkdir()
        settings.write_text(JOURNALD_SETTINGS)
        with booted(tree, visible=[TOOLS]) as container:
            yield container


@pytest.fixture(scope="class")
def fleet(container: Container) -> Iterator[Fleet]:
    with fleet_of(container) as fleet:
        yield fleet


def test_install_and_enable_now_start_it(container: Container) -> None:
    for command in (["packaging/install"], ["systemctl", "enable", "--now", "oomkilld"]):
        result = container.run(*command)
        assert result.returncode == 0, result.stdout + result.stderr
    shown = container.run("systemctl", "show", "-p", "ActiveState", "-p", "StatusText", "oomkilld").stdout
    assert "ActiveState=active\n" in shown
    print(shown)


def test_its_exposure_is_low(container: Container) -> None:
    """As this version of systemd rates it; the layer vm asks that of Debian 13."""
    asked = "systemd-analyze security --no-pager --threshold="
    shipped, drop_in = "/opt/oomkilld/fentry.conf", "/etc/systemd/system/oomkilld.service.d/fentry.conf"
    for command in (
        f"{asked}19 oomkilld",
        f"install -D -m 644 {shipped} {drop_in} && systemctl daemon-reload && {asked}15 oomkilld",
        f"rm -r $(dirname {drop_in}) && systemctl daemon-reload",
    ):
        result = container.run("sh", "-c", command)
        print(*[line for line in result.stdout.splitlines() if "Overall" in line])
        assert result.returncode == 0, result.stdout + result.stderr


class TestFleet(FleetTests):
    """See FleetTests."""


def test_the_tests_of_the_service_pass_there(container: Container) -> None:
    told = ["OOMKILLD_TEST_SERVICE=unit", "OOMKILLD_TEST_HOG=/usr/local/bin/hog", "PYTHONDONTWRITEBYTECODE=1"]
    told += [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    pytest_command = [str(TOOLS / "bin/python3"), "-m", "pytest", *SLOWEST, "-s", "--tb=short", "tests/host/service"]
    command = container.command("env", *told, *pytest_command)
    result = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2400 * pace.patience()
    )
    print(result.stdout)
    assert result.returncode == 0, result.stderr
