# SPDX-License-Identifier: Apache-2.0
"""The guest's service, changed for a test and restored afterwards."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.support import live, pace

SETTINGS = Path("/etc/oomkilld/oomkilld.toml.d/test.toml")
PROGRAM = Path("/var/lib/oomkilld/program")


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120 * pace.patience(),
    )


@contextmanager
def file(path: Path, content: str) -> Iterator[None]:
    """A file with this content during the block; then as before."""
    made = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if path.exists() else None
    path.write_text(content)
    try:
        yield
    finally:
        if before is not None:
            path.write_text(before)
        else:
            path.unlink()
        if made:
            path.parent.rmdir()


def drop_in(*lines: str) -> AbstractContextManager[None]:
    """The service's unit with these lines in its [Service] section."""
    return drop_in_of("oomkilld.service", *lines)


@contextmanager
def drop_in_of(unit: str, *lines: str) -> Iterator[None]:
    """A unit with these lines in its [Service] section."""
    path = Path(f"/run/systemd/system/{unit}.d/test.conf")
    with file(path, "\n".join(["[Service]", *lines, ""])):
        run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            path.write_text("")
            run("systemctl", "daemon-reload")


def said_about_the_program(here: live.Moment) -> list[str]:
    """The lines of starts about the kept program."""
    lines = (str(entry["MESSAGE"]) for entry in live.journal("-u", "oomkilld", here.after_cursor))
    return [line for line in lines if "the kept program" in line]


@contextmanager
def service_restored() -> Iterator[None]:
    """Whatever the test does to the service, it runs again afterwards."""
    try:
        yield
    finally:
        run("systemctl", "restart", "oomkilld")
        assert live.show("oomkilld", "ActiveState") == "active", live.service_journal()


def assert_refuses_to_start(here: live.Moment, status: int, message: str) -> None:
    """The unit fails with that status, is not restarted, and gives the reason."""
    run("systemctl", "stop", "oomkilld")
    assert run("systemctl", "start", "oomkilld").returncode != 0
    assert live.show("oomkilld", "ActiveState") == "failed"
    assert live.show("oomkilld", "ExecMainStatus") == str(status)
    assert live.show("oomkilld", "NRestarts") == "0"
    said = [
        entry["MESSAGE"]
        for entry in live.journal("-u", "oomkilld", here.after_cursor, "SYSLOG_IDENTIFIER=oomkilld")
        if int(entry["PRIORITY"]) <= 3
    ]
    assert [line for line in said if message in line], said
    run("systemctl", "reset-failed", "oomkilld")
