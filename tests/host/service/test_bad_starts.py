# SPDX-License-Identifier: Apache-2.0
"""Surroundings in which only the compiler or the hand-over can fail; tests/unit has the others."""

import subprocess
from pathlib import Path

import pytest

from tests.host.service.daemon import Daemon
from tests.support import live
from trial import alone

PRIVATE_RUN = ["unshare", "--mount", "--propagation=private", "bash", "-euc"]
SMALL = "mkdir /run/oomkilld; mount -t tmpfs -o {} none /run/oomkilld; "
NO_ROOM_TO_COMPILE = "the compiler (bcc) ran out of resources: "
NO_ROOM_FOR_HEADERS = "out of resources: No space left on device"


def program_of(daemon: Daemon) -> Path:
    return daemon.package.parents[1] / "bin/oomkilld"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        *((f"ulimit -v {kib}; ", NO_ROOM_TO_COMPILE) for kib in (90_000, 150_000)),
        *((SMALL.format(size), NO_ROOM_FOR_HEADERS) for size in ("size=24k", "nr_inodes=8")),
    ],
)
def test_a_lack_of_memory_is_reported_and_not_blamed_on_the_compiler(daemon: Daemon, script: str, said: str) -> None:
    result = subprocess.run(
        [*PRIVATE_RUN, f'mount -t tmpfs none /run; {script} exec "$0"', program_of(daemon)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    harmless = ", ignoring", ", using the kernel's log instead"
    lines = [line for line in result.stderr.splitlines() if not line.endswith(harmless)]
    assert (result.returncode, result.stdout, len(lines)) == (71, "", 2), result.stderr
    assert lines[0].startswith(f"oomkilld: {said}")
    assert ("df -h /run" in lines[1]) == (said == NO_ROOM_FOR_HEADERS)


@pytest.mark.parametrize(
    "surroundings",
    [
        "mkdir /run/gone; cd /run/gone; rmdir /run/gone; exec <&- >&- 2>&-",
        "ulimit -n 64; ulimit -s 1024; ulimit -f 1024; export WATCHDOG_USEC=²",
        "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=ring.x:arming.x",
    ],
)
def test_it_records_if_nothing_essential_is_missing(
    daemon: Daemon, here: live.Moment, tmp_path: Path, surroundings: str
) -> None:
    script = tmp_path / "surrounded"
    script.write_text(f"#!/bin/bash\n{surroundings}\nexec {program_of(daemon)}\n")
    script.chmod(0o755)
    daemon.stop()
    try:
        with alone.running(script) as service, live.cgroup("surrounded", 4 << 20) as where:
            service.wait_until_ready()
            live.kill_one(where)
            live.wait_for("entry of the kill", lambda: live.service_entries("kill", here, sender=daemon.sender), 10)
    finally:
        daemon.restart()
