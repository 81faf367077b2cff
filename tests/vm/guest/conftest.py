# SPDX-License-Identifier: Apache-2.0
"""What the tests in the guest share: the state that outlives its reboot."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import live

_STATE = Path("/var/lib/oomkilld-tests.json")


class State:
    """Facts kept on the guest's disk, from one boot's tests to the next's."""

    def keep(self, **facts: Any) -> None:
        _STATE.write_text(json.dumps({**self.facts(), **facts}))

    def facts(self) -> dict[str, Any]:
        return json.loads(_STATE.read_text()) if _STATE.exists() else {}


@pytest.fixture(scope="session")
def state() -> State:
    return State()


@pytest.fixture
def here() -> live.Moment:
    """Before the test: what it causes comes after."""
    return live.now()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Shown at once: a guest that hangs later must not take it along."""
    if report.failed:
        print(f"\n{report.longreprtext}\n", flush=True)
