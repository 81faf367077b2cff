# SPDX-License-Identifier: Apache-2.0
"""Common to the tests in the guest: state that survives its reboot, and lines for the table of kernels."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.support.live", "tests.vm.guest.kills", "tests.vm.guest.service")

from tests.support import live  # noqa: E402 # not before what its assertions compare is shown
from tests.support.shown import show  # noqa: E402
from tests.vm.table import Cell  # noqa: E402

_STATE = Path("/var/lib/oomkilld-tests.json")
# The compiled program of the first boot, for the second.
COPY = Path("/var/lib/oomkilld-tests.program")


class State:
    """Facts on the guest's disk, kept from one boot's tests to the next's."""

    def keep(self, **facts: Any) -> None:
        _STATE.write_text(json.dumps({**self.facts(), **facts}))

    def facts(self) -> dict[str, Any]:
        return json.loads(_STATE.read_text()) if _STATE.exists() else {}


@pytest.fixture(scope="session")
def state() -> State:
    return State()


@pytest.fixture
def here() -> live.Moment:
    """A moment before the test: everything that the test causes comes later."""
    return live.now()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "each_kernel: a kernel may fail it where another passes; see the plan")
    config.addinivalue_line("markers", "lesser_level: at a capture level that is not the best; with --full")
    config.addinivalue_line("markers", "only_in_full: takes minutes, and what it shows seldom breaks; with --full")
    config.addinivalue_line("markers", "matrix(column): its result goes into this column of the table of kernels")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "OOMKILLD_TEST_FULL" not in os.environ:
        left_out = [item for item in items if item.get_closest_marker("only_in_full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("matrix")
    if marker and isinstance(item, pytest.Function):
        level = item.callspec.params["level"] if hasattr(item, "callspec") else "kprobe"
        item.user_properties += [("matrix level", level), ("matrix column", marker.args[0])]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print failures at once, too: a guest that hangs later must not take them along."""
    if report.failed:
        print(f"\n{report.longreprtext}\n", flush=True)
    show(report)
    told = dict(report.user_properties)
    if "matrix column" in told and (report.failed or report.when == "call"):
        level, column = str(told["matrix level"]), str(told["matrix column"])
        cell = Cell(os.uname().release, level, column, "FAILED" if report.failed else report.outcome)
        print(f"\n{cell.line()}", end="", flush=True)
