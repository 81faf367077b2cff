# SPDX-License-Identifier: Apache-2.0
"""What all tests of this layer share: mounts that end with them, and a machine that is left as it was found."""

from collections.abc import Iterator

import pytest

from tests.support import sysctls
from tests.support.shown import show
from trial import mounts

# What these assert is explained where it fails, too.
pytest.register_assert_rewrite(
    "tests.support.live", "tests.host.service.daemon", "tests.host.service.watched", "tests.host.trial.outcome"
)


@pytest.fixture(scope="session", autouse=True)
def private_mounts() -> None:
    """Whatever the tests mount, the machine's other processes do not see it."""
    mounts.enter_private_namespace()


@pytest.fixture(scope="session", autouse=True)
def machine_left_as_found() -> Iterator[None]:
    before = sysctls.settings()
    with sysctls.console_silent():
        yield
    assert sysctls.settings() == before


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    show(report)
