# SPDX-License-Identifier: Apache-2.0
"""The resident stage stays small: what it imports, and what it sends to the service manager."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld.service.notify import Notifier, watchdog_seconds

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("bcc", "pydantic", "pydantic_core", "hashlib", "argparse", "logging", "dataclasses", "inspect", "tomllib"),
    *("pathlib", "json", "platform", "typing", "re", "socket"),
)
UNWANTED_BY_DEFAULT = (
    *("oomkilld.record.cmdline.commandlines", "oomkilld.record.cmdline.helper", "oomkilld.record.cmdline.reader"),
    "oomkilld.record.cmdline.redact",
    "oomkilld.record.history",
)
IMPORTS = """
import sys, types
try:
    import systemd._journal
except ImportError:
    # The layer without a journal: what is asked is what else comes along.
    sys.modules["systemd"] = types.ModuleType("systemd")
    sys.modules["systemd._journal"] = types.SimpleNamespace(sendv=None)
import oomkilld.__main__, oomkilld.record.main
print("\\n".join(sys.modules))
"""


def test_neither_bcc_nor_pydantic_nor_anything_heavy_is_imported() -> None:
    output = subprocess.run(
        [sys.executable, "-S", "-c", IMPORTS], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    imported = set(output.splitlines())
    assert "oomkilld.record.loop" in imported
    assert imported & set(HEAVY) == set()
    assert [name for name in imported if name.startswith(UNWANTED_BY_DEFAULT)] == []
    assert not [name for name in imported if name.startswith(("oomkilld.arm", "oomkilld.config", "oomkilld.limits"))]


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_gets_messages(tmp_path: Path, abstract: bool) -> None:
    name = f"oomkilld-test-{os.getpid()}"
    address = f"@{name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else address)
        notifier = Notifier(address)
        assert notifier.send("READY=1", "STATUS=fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"
        while notifier.send("WATCHDOG=1"):
            pass  # until its queue is full: then send() drops the message and does not block
        assert manager.recv(100) == b"WATCHDOG=1"
        assert notifier.send("WATCHDOG=1")
        notifier.close()


def test_without_a_service_manager_nothing_is_sent() -> None:
    assert Notifier(None).send("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": str(os.getpid())}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_the_watchdogs_interval(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds
