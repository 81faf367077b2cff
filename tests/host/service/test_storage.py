# SPDX-License-Identifier: Apache-2.0
"""If journald stores nothing, the service reports that kills have no entry anywhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.service.daemon import Daemon

ROOT = Path(__file__).parents[3]
WARNING = "oomkilld: journald stores nothing, so kills get no entry; see Storage= and MaxLevelStore= in journald.conf"
# Beside a journald with these settings: prints the service's first status, and the one after some checks.
SERVICE = """
import sys
import time
from pathlib import Path
from oomkilld.testkill import mounts
from trial import alone
program, settings = sys.argv[1:]
mounts.enter_private_namespace()
alone.make_run_private(settings)
with alone.journald() as journald:
    journald.wait_until_ready()
    # The shorter the watchdog, the more often it looks.
    with alone.running(Path(program), {"WATCHDOG_USEC": "3000000"}) as service:
        service.wait_until_ready()
        deadline, statuses = time.monotonic() + 4, []
        while time.monotonic() < deadline and not any("stores nothing" in status for status in statuses):
            statuses += [line for line in service.told() if line.startswith("STATUS=")]
            time.sleep(0.05)
        # Not once more.
        time.sleep(1.5)
print(statuses[-1])
"""


@pytest.mark.parametrize(("storage", "nothing"), [("none", True), ("volatile", False)])
def test_a_journald_that_stores_nothing_is_reported_once_and_in_the_status(
    daemon: Daemon, storage: str, nothing: bool
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SERVICE, daemon.program, f"Storage={storage}\n"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT / "packaging")},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.rstrip().endswith("; journald stores nothing") == nothing, ran.stdout + ran.stderr
    assert ran.stderr.count(WARNING) == nothing, ran.stderr
