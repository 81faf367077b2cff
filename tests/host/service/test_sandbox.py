# SPDX-License-Identifier: Apache-2.0
"""What the service may do is what it needs, also if it is taken over: it is uid 0, but that is no help to it."""

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
    """D-Bus, or what listens in its place."""
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
def test_taken_over_it_reads_writes_reaches_and_calls_nothing_that_it_does_not_need(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(str(BUS))  # whoever is not the service can
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


def test_a_filter_of_its_own_sees_its_calls_beside_those_of_the_unit(daemon: Daemon) -> None:
    pid = daemon.pid()
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    print({name: status.get(name) for name in ("CapBnd", "Seccomp", "Seccomp_filters")})
    assert status["Seccomp"] == "2"
    # The unit's are many.
    assert int(status["Seccomp_filters"]) >= (2 if isinstance(daemon, Unit) else 1)
    assert live.process_status(pid, "NoNewPrivs") == 1
