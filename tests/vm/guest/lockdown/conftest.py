# SPDX-License-Identifier: Apache-2.0
"""The service in a guest whose kernel command line asks for lockdown."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import live
from tests.vm.guest.service import run


@pytest.fixture(scope="session", params=["kmsg"])
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The service runs, and takes this level by itself."""
    installed = run("packaging/install")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    result = run("systemctl", "start", "oomkilld")
    assert result.returncode == 0, result.stderr + live.service_journal()
    live.wait_for("status", live.service_counts, 10, live.service_journal)
    assert live.level() == request.param
    # It must read the log for 5 s before it can be sure that the kernel left out no header.
    Path("/dev/kmsg").write_text("<15>the first line\n")
    time.sleep(6)
    yield request.param
    run("systemctl", "stop", "oomkilld")
