# SPDX-License-Identifier: Apache-2.0
"""The service, installed in a guest with one of the kernels, at the capture level that a test asks for."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import live

# With --full; else only what is the default where kprobes work.
LEVELS = ("kprobe", "fentry", "tracepoint") if "OOMKILLD_TEST_FULL" in os.environ else ("kprobe",)
_DROP_IN = Path("/etc/oomkilld/oomkilld.toml.d/level.toml")


@pytest.fixture(scope="session")
def _installed() -> None:
    started = time.monotonic()
    result = subprocess.run(["packaging/install"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    print(f"installed in {time.monotonic() - started:.1f} s")
    _DROP_IN.parent.mkdir(exist_ok=True)


@pytest.fixture(scope="session", params=LEVELS)
def level(request: pytest.FixtureRequest, _installed: None) -> Iterator[str]:
    """The service runs at this level: kprobe is what it takes by itself, the others are asked for."""
    name: str = request.param
    if name != LEVELS[0]:
        _DROP_IN.write_text(f'[capture]\nlevel = "{name}"\n')
    started = time.monotonic()
    result = subprocess.run(["systemctl", "start", "oomkilld"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + live.service_journal()
    print(f"at level {name} after {time.monotonic() - started:.1f} s")
    status = live.wait_for("status", lambda: live.show("oomkilld", "StatusText"), 10, live.service_journal)
    assert status.startswith(f"Level {name}: "), status
    yield name
    subprocess.run(["systemctl", "stop", "oomkilld"], check=True)
    _DROP_IN.unlink(missing_ok=True)
