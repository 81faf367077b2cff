# SPDX-License-Identifier: Apache-2.0
"""The layer host's tests of oomkillctl, under systemd 257 and with cgroup version 2."""

import pytest

from tests.host.service.daemon import Daemon, Unit
from tests.host.service.test_ctl import (
    nothing_left_behind,
    test_a_machine_whose_kills_are_recorded_is_covered,
    test_a_machine_without_the_service_is_not_covered,
    test_a_selftest_that_is_interrupted_leaves_nothing_behind,
    test_the_kill_of_a_selftest_is_recorded_in_time,
    test_without_systemd_run_it_makes_a_cgroup_itself,
)

__all__ = [
    "nothing_left_behind",
    "test_a_machine_whose_kills_are_recorded_is_covered",
    "test_a_machine_without_the_service_is_not_covered",
    "test_a_selftest_that_is_interrupted_leaves_nothing_behind",
    "test_the_kill_of_a_selftest_is_recorded_in_time",
    "test_without_systemd_run_it_makes_a_cgroup_itself",
]


@pytest.fixture(scope="session")
def daemon() -> Daemon:
    return Unit()
