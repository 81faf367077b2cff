# SPDX-License-Identifier: Apache-2.0
"""The service, installed in a guest with one of the kernels, at the capture level that a test asks for."""

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.support import live
from tests.vm.guest.service import SETTINGS, file, run

# With --full; else only the best.
LEVELS = ("kprobe", "fentry", "tracepoint") if "OOMKILLD_TEST_FULL" in os.environ else ("kprobe",)


@pytest.fixture(scope="session")
def _installed() -> None:
    started = time.monotonic()
    result = run("packaging/install")
    assert result.returncode == 0, result.stdout + result.stderr
    print(f"installed in {time.monotonic() - started:.1f} s")


@pytest.fixture(scope="session", params=LEVELS)
def level(request: pytest.FixtureRequest, _installed: None) -> Iterator[str]:
    """The service runs at this level: the best is what it takes by itself, the others are asked for."""
    name: str = request.param
    best = name == LEVELS[0]
    with nullcontext() if best else file(SETTINGS, f'[capture]\nlevel = "{name}"\n'):
        started = time.monotonic()
        result = run("systemctl", "start", "oomkilld")
        assert result.returncode == 0, result.stderr + live.service_journal()
        print(f"at level {name} after {time.monotonic() - started:.1f} s")
        live.wait_for("status", live.service_counts, 10, live.service_journal)
        assert live.level() == name
        yield name
        run("systemctl", "stop", "oomkilld")
