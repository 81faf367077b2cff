# SPDX-License-Identifier: Apache-2.0
"""Kills for the tests of oomkillctl, in the entries that the service makes, and the command itself."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from oomkilld.record.entry.notices import missed_entry
from oomkilld.record.kill import KillRecord
from tests.support.journals import TRUSTED, Fields
from tests.unit.records import ORIGIN, kill_of
from tests.unit.test_entry import SAMPLE, entry, pairs_of

ROOT = Path(__file__).parents[3]
PYTHON = "/usr/bin/python3"  # Debian's own: its python3-systemd is for no other one
# 2026-11-27 13:23:32 UTC.
AT_USEC = 1_795_785_812_000_000
SECOND = 1_000_000
ARRIVAL_USEC = 35_000

Sent = tuple[Fields, int]


class Ran(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def ctl(*words: str | Path, environment: dict[str, str] | None = None) -> Ran:
    """Run oomkillctl in UTC, with its output in pipes."""
    run = subprocess.run(
        [PYTHON, "-m", "oomkilld.ctl", *words],
        env=environment_of(**(environment or {})),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return Ran(run.returncode, run.stdout.decode(), run.stderr.decode())


def environment_of(**changes: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "TZ": "UTC", "LANG": "C.UTF-8", "TERM": "xterm", **changes}


@pytest.fixture(scope="session", autouse=True)
def need_reader() -> None:
    """The interpreter of the distribution has the reader."""
    missing = subprocess.run([PYTHON, "-c", "import systemd._reader"], check=False, capture_output=True).returncode
    if missing and os.environ.get("OOMKILLD_REQUIRE_ALL"):
        pytest.fail("python3-systemd is missing")
    if missing:
        pytest.skip("python3-systemd is missing: install the package of this name")


def kill_id(number: int) -> str:
    """The id of a kill: its first digits, which a list shows, are the number's."""
    return f"{number:08x}" + "0" * 24


Change = str | bytes | None


def kill(number: int, after_seconds: float = 0, record: KillRecord | None = None, **changes: Change) -> Sent:
    """A kill that many seconds after AT_USEC. ``changes``: fields; None removes one."""
    return changed(changes, number, after_seconds, record)


def changed(
    changes: Mapping[str, Change], number: int, after_seconds: float = 0, record: KillRecord | None = None
) -> Sent:
    """The same."""
    at_usec = AT_USEC + int(after_seconds * SECOND)
    fields: dict[str, Change] = {**TRUSTED, **entry(record or kill_of())}
    decision = f"{number + 0xD0000:032x}"
    fields |= {"OOM_KILL_ID": kill_id(number), "OOM_TIMESTAMP": str(at_usec), "OOM_DECISION_ID": decision}
    return made({**fields, **changes}), at_usec + ARRIVAL_USEC


def made(fields: dict[str, Change]) -> Fields:
    """The fields that are there."""
    return {name: value for name, value in fields.items() if value is not None}


def group(first: int, members: int, after_seconds: float, record: KillRecord, **changes: str) -> Iterator[Sent]:
    """A group kill: the first member is the chosen one."""
    for number in range(first, first + members):
        badness = None if number > first else "7600"
        yield kill(
            number,
            after_seconds + (number - first) / 1000,
            record._replace(victim_pid=(record.victim_pid or 0) + number - first),
            **{"OOM_GROUP_KILL": "1", "OOM_DECISION_ID": f"{first:032x}", "OOM_VICTIM_BADNESS": badness, **changes},
        )


def missed(count: int, after_seconds: float, reason: str = "ring-full", **changes: str) -> Sent:
    """The entry of kills without an entry."""
    fields = pairs_of(missed_entry(count, count, reason, ORIGIN))
    return {**TRUSTED, **fields, **changes}, AT_USEC + int(after_seconds * SECOND)


POSTGRES = kill_of(
    victim_comm=b"postgres",
    victim_pid=553,
    victim_uid=26,
    victim_cgroup=b"/tenants.slice/db.service",
    trigger_cgroup=b"/tenants.slice/db.service",
)
JAVA = kill_of(
    victim_comm=b"java",
    victim_pid=700,
    victim_cgroup=b"/kubepods.slice/kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice/cri-containerd-%s.scope"
    % (b"ab" * 32),
    domain_cgroup=b"/kubepods.slice/kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice",
)
EDITOR = kill_of(
    victim_comm=b"editor",
    victim_pid=4_194_303,
    victim_uid=1000,
    victim_cgroup=b"/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.service",
    constraint=0,
    domain_cgroup=b"",
)
assert SAMPLE.load_average
LOAD = SAMPLE.load_average.line
