# SPDX-License-Identifier: Apache-2.0
"""The service, installed in a guest with one of the kernels, at the capture level that a test asks for."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.support import live
from tests.vm.guest.kills import MIB, wait_until_headers_are_counted
from tests.vm.guest.service import SETTINGS, file, run

SWAP = Path("/var/swap")

BEST = "kprobe"
LESSER = ("fentry", "tracepoint") if "OOMKILLD_TEST_FULL" in os.environ else ()
LEVELS = (BEST, *(pytest.param(name, marks=pytest.mark.lesser_level) for name in LESSER))


@pytest.fixture(scope="session")
def _installed() -> None:
    started = time.monotonic()
    result = run("packaging/install")
    assert result.returncode == 0, result.stdout + result.stderr
    print(f"installed in {time.monotonic() - started:.1f} s")


@pytest.fixture(scope="session", params=LEVELS)
def level(request: pytest.FixtureRequest, _installed: None) -> Iterator[str]:
    """The service runs at this level: it takes the best by itself, and others are configured."""
    name: str = request.param
    with nullcontext() if name == BEST else file(SETTINGS, f'[capture]\nlevel = "{name}"\n'):
        started = time.monotonic()
        result = run("systemctl", "start", "oomkilld")
        assert result.returncode == 0, result.stderr + live.service_journal()
        print(f"at level {name} after {time.monotonic() - started:.1f} s")
        live.wait_for("status", live.service_counts, 10, live.service_journal)
        assert live.level() == name
        if name == "tracepoint":
            wait_until_headers_are_counted()
        yield name
        run("systemctl", "stop", "oomkilld")


@pytest.fixture
def swap() -> Iterator[None]:
    """A little swap: it counts as capacity."""
    with SWAP.open("wb") as image:
        image.write(bytes(64 * MIB))
    SWAP.chmod(0o600)
    subprocess.run(["mkswap", "-q", SWAP], check=True)
    subprocess.run(["swapon", SWAP], check=True)
    yield
    subprocess.run(["swapoff", SWAP], check=True)
    SWAP.unlink()
