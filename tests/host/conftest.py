# SPDX-License-Identifier: Apache-2.0
"""What all tests of this layer share: mounts that end with them."""

import pytest

from tests.support.shown import show
from trial import mounts

# What these assert is explained where it fails, too.
pytest.register_assert_rewrite("tests.support.live", "tests.host.service.daemon", "tests.host.trial.outcome")


@pytest.fixture(scope="session", autouse=True)
def private_mounts() -> None:
    """Whatever the tests mount, the machine's other processes do not see it."""
    mounts.enter_private_namespace()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    show(report)
