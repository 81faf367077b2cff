# SPDX-License-Identifier: Apache-2.0
"""The service as in a container that must not use BPF: it lacks the capabilities."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.host.service.conftest import BUILD, JOURNALD_SETTINGS, ROOT, here, hogs, watched
from tests.host.service.daemon import Daemon, Foreground
from trial import alone

__all__ = ["daemon", "here", "hogs", "watched"]

WITHOUT = """#!/bin/sh
exec setpriv --bounding-set=-sys_admin,-bpf,-perfmon --inh-caps=-sys_admin,-bpf,-perfmon {program}
"""


@pytest.fixture(scope="session")
def daemon(private_mounts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:  # noqa: ARG001
    scratch = tmp_path_factory.mktemp("logged")
    subprocess.run(["bash", "-euc", BUILD, scratch], cwd=ROOT, check=True)
    program = scratch / "program/bin/oomkilld"
    restricted = program.with_name("restricted")
    restricted.write_text(WITHOUT.format(program=program))
    restricted.chmod(0o755)
    # After a start, the service reads what the kernel log still has.
    alone.make_run_private(JOURNALD_SETTINGS + "ReadKMsg=yes\n")
    with alone.journald() as journald:
        journald.wait_until_ready()
        foreground = Foreground(restricted, journald.process.pid)
        foreground.restart()
        yield foreground
        foreground.stop()
