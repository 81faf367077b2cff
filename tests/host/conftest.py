# SPDX-License-Identifier: Apache-2.0
"""Common to all tests of this layer: mounts that end with them, and a machine that they leave as they found it."""

from collections.abc import Iterator

import pytest

from oomkilld.testkill import mounts
from tests.support import sysctls
from tests.support.shown import show

# pytest explains failed assertions in these modules, too.
pytest.register_assert_rewrite(
    "tests.support.live",
    "tests.host.fleet",
    "tests.host.service.daemon",
    "tests.host.service.watched",
    "tests.host.trial.outcome",
)


@pytest.fixture(scope="session", autouse=True)
def private_mounts() -> None:
    """Whatever the tests mount, other processes of the machine do not see it."""
    mounts.enter_private_namespace()


@pytest.fixture(scope="session", autouse=True)
def machine_left_as_found() -> Iterator[None]:
    before = sysctls.settings()
    with sysctls.console_silent():
        yield
    assert sysctls.settings() == before


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    show(report)
