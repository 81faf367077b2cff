# SPDX-License-Identifier: Apache-2.0
"""The service may do only what it needs, even if somebody takes it over: its uid 0 does not help."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.host.service.daemon import Daemon, Unit, changed
from tests.support import attack, live

BUS = Path(attack.CONNECTED[0])


@pytest.fixture
def bus() -> Iterator[None]:
    """D-Bus, or a substitute that listens in its place."""
    if BUS.exists():
        yield
        return
    BUS.parent.mkdir(parents=True)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(BUS))
            listening.listen()
            yield
    finally:
        BUS.unlink()
        BUS.parent.rmdir()


@pytest.mark.usefixtures("bus")
def test_taken_over_it_can_read_write_reach_and_call_only_what_it_needs(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(str(BUS))  # other processes can
    with suppress(FileNotFoundError):
        attack.FOUND.unlink()
    try:
        with changed(daemon, attack.MODULE, attack.BEFORE, attack.PROGRAM):
            daemon.restart()
            found = attack.succeeded()
    finally:
        daemon.restart()
        attack.FOUND.unlink(missing_ok=True)
    assert found == []


def test_its_own_filter_sees_its_calls_beside_that_of_the_unit(daemon: Daemon) -> None:
    pid = daemon.pid()
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    print({name: status.get(name) for name in ("CapBnd", "Seccomp", "Seccomp_filters")})
    assert status["Seccomp"] == "2"
    # The unit installs many.
    assert int(status["Seccomp_filters"]) >= (2 if isinstance(daemon, Unit) else 1)
    assert live.process_status(pid, "NoNewPrivs") == 1
