# SPDX-License-Identifier: Apache-2.0
"""packaging/try on a Debian 13 that systemd has booted: the service is a transient unit."""

import re
from collections.abc import Iterator

import pytest

from tests.host.container import PACKAGES, Container, booted
from tests.host.fleet import Fleet, FleetTests, fleet_of
from tests.host.trees import fresh_tree
from tests.host.trial.outcome import assert_checkout_untouched, assert_one_entry, assert_readable, end, start_until
from tests.support import live


@pytest.fixture(scope="module")
def debian_13() -> Iterator[Container]:
    with fresh_tree("trixie", PACKAGES) as tree, booted(tree) as container:
        yield container


@pytest.fixture(scope="class")
def fleet(debian_13: Container) -> Iterator[Fleet]:
    with fleet_of(debian_13) as fleet:
        yield fleet


def traces(container: Container) -> list[str]:
    """What a trial must not leave behind: units, directories, and processes."""
    units = container.run("systemctl", "list-units", "--all", "--no-legend", "oomkilld*").stdout
    root = container.tree.root
    # Its /run and /proc are visible only in its own mount namespace.
    run = container.run("ls", "/run").stdout.split()
    processes = container.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    return [
        *units.splitlines(),
        *(name for name in run if "oomkilld" in name),
        *(path.name for path in (root / "opt").iterdir()),
        *re.findall(r"\S*oomkilld-try\S*", processes),
    ]


def test_it_runs_the_service_as_a_transient_unit_and_shows_the_entry(debian_13: Container) -> None:
    vmstat = live.vmstat_kills()
    result = debian_13.run("packaging/try")
    assert result.returncode == 0, result.stderr
    assert live.vmstat_kills() - vmstat == 1
    assert "it runs as a transient unit" in result.stderr
    assert_readable(result.stdout)
    assert traces(debian_13) == []
    assert_checkout_untouched(debian_13.tree)


def test_ended_while_the_unit_starts_it_leaves_nothing_behind(debian_13: Container) -> None:
    started = start_until(debian_13.command("packaging/try", "--json", unit="newcomer"), "starting oomkilld")
    # To every process of the trial's session, as Ctrl-C at a terminal.
    debian_13.run("systemctl", "kill", "--signal=INT", "newcomer")
    status, stdout, stderr = end(started)
    assert (status, stdout) == (130, ""), stderr
    assert traces(debian_13) == []


def test_with_a_bad_configuration_the_defaults_apply_and_the_journal_says_so(debian_13: Container) -> None:
    settings = debian_13.tree.root / "etc/oomkilld/oomkilld.toml"
    settings.parent.mkdir()
    settings.write_text("[capture]\nring_sise = 1\n")
    try:
        result = debian_13.run("packaging/try")
    finally:
        settings.unlink()
        settings.parent.rmdir()
    assert result.returncode == 0, result.stderr
    said = debian_13.run("journalctl", "--no-pager", "-o", "cat", "-p", "err", "SYSLOG_IDENTIFIER=oomkilld").stdout
    assert "/etc/oomkilld/oomkilld.toml:2: capture.ring_sise: unknown key (did you mean 'ring_size'?)" in said
    assert "the configuration is invalid: the service uses the defaults" in said
    assert traces(debian_13) == []


def test_a_running_oomkilld_is_used(debian_13: Container) -> None:
    installed = debian_13.run("packaging/install")
    assert installed.returncode == 0, installed.stderr
    started = debian_13.run("systemctl", "enable", "--now", "oomkilld")
    assert started.returncode == 0, started.stderr
    vmstat = live.vmstat_kills()
    result = debian_13.run("packaging/try", "--json")
    assert result.returncode == 0, result.stderr
    entry = assert_one_entry(result.stdout, vmstat)
    assert entry["_SYSTEMD_UNIT"] == "oomkilld.service"
    assert "oomkilld runs here already" in result.stderr
    assert debian_13.run("systemctl", "is-active", "oomkilld").stdout == "active\n"


class TestFleet(FleetTests):
    """See FleetTests."""


def test_installed_again_without_network_and_apt_lists_it_says_how_to_start_the_new_program(
    debian_13: Container,
) -> None:
    """Everything that it needs is installed, and apt here seems never to have been updated."""
    lists = "rm -rf /var/lib/apt/lists /var/cache/apt"
    result = debian_13.run("sh", "-c", f"{lists} && exec unshare --net packaging/install")
    assert result.returncode == 0, result.stderr
    assert "Debian packages to install: none, all are there" in result.stdout
    *_, advice = result.stdout.splitlines()
    assert advice.endswith("start the new one: systemctl restart oomkilld (no kill is lost)")
    restarted = debian_13.run("systemctl", "restart", "oomkilld")
    assert restarted.returncode == 0, restarted.stderr
    stopped = debian_13.run("sh", "-c", "systemctl stop oomkilld && exec unshare --net packaging/install")
    assert stopped.stdout.endswith("packaging/install: done; start it now: systemctl start oomkilld\n"), stopped.stderr
