# SPDX-License-Identifier: Apache-2.0
"""The layer host's tests of restarts and of missed kills, at level kprobe under systemd 257."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.host.service.daemon import Daemon, Unit
from tests.host.service.test_audit import (
    test_a_probe_that_misses_kills_is_noticed_and_its_level_set_aside,
    test_kills_while_it_did_not_run_come_from_the_kernel_log_whatever_others_claim,
)
from tests.host.service.test_restart import (
    test_a_leak_ends_only_the_service_which_reports_it_and_the_next_run_has_all,
    test_a_restart_in_a_storm_misses_nothing,
    test_a_stop_detaches_the_probe_and_a_setting_that_shapes_it_replaces_it,
    test_kills_during_the_restart_after_a_crash_are_recorded,
)

__all__ = [
    "test_a_leak_ends_only_the_service_which_reports_it_and_the_next_run_has_all",
    "test_a_probe_that_misses_kills_is_noticed_and_its_level_set_aside",
    "test_a_restart_in_a_storm_misses_nothing",
    "test_a_stop_detaches_the_probe_and_a_setting_that_shapes_it_replaces_it",
    "test_kills_during_the_restart_after_a_crash_are_recorded",
    "test_kills_while_it_did_not_run_come_from_the_kernel_log_whatever_others_claim",
]


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    subprocess.run(["packaging/install"], check=True)
    subprocess.run(["systemctl", "start", "oomkilld"], check=True)
    yield Unit()
    subprocess.run(["systemctl", "stop", "oomkilld"], check=True)


@pytest.fixture(autouse=True)
def at_level_kprobe(daemon: Daemon) -> None:
    assert daemon.status().startswith("Level kprobe: ")
