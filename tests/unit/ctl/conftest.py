# SPDX-License-Identifier: Apache-2.0
"""Journals that several tests read; they are made once."""

from pathlib import Path

import pytest

from tests.support.journals import MACHINE, write
from tests.unit.ctl.samples import (
    AT_USEC,
    EDITOR,
    JAVA,
    POSTGRES,
    SECOND,
    Ran,
    changed,
    group,
    kill,
    kill_id,
    missed,
    need_reader,
)

__all__ = ["need_reader"]

CONTAINER: dict[str, str | None] = {"_SYSTEMD_UNIT": None, "_SYSTEMD_CGROUP": "/docker/" + "c" * 64}
# What somebody else sent with the service's fields.
FORGED: list[dict[str, str | None]] = [
    {"_UID": "65534"},
    {"_UID": None},
    {"_SYSTEMD_UNIT": "nginx.service"},
    {"_SYSTEMD_UNIT": "session-3.scope"},
    {"SYSLOG_IDENTIFIER": "oomkilld2"},
    CONTAINER,
]


STUCK = "Out of memory: process 553 (postgres) is still there 10.000 s after it was killed (state D)"


@pytest.fixture(scope="session")
def web1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine's journal: four kills, a group kill, three kills without an entry, and what is not to be shown."""
    directory = tmp_path_factory.mktemp("web1") / MACHINE
    late, _received = kill(3, -3600)
    write(
        directory / "system.journal",
        [
            kill(1, 0, POSTGRES),
            kill(1, 0, POSTGRES, MESSAGE="sent again after a crash"),
            *(changed(forged, 0xF0 + number, 5 + number) for number, forged in enumerate(FORGED)),
            *group(0x10, 6, 60, JAVA),
            missed(3, 120),
            kill(4, 150, OOM_KILL_ID=None),
            kill(5, 160, OOM_TIMESTAMP=None),
            kill(6, 170, OOM_KILL_ID="not an id"),
            (kill(1, 0, POSTGRES, OOM_EVENT="stuck", MESSAGE=STUCK)[0], AT_USEC + 175 * SECOND),
            kill(2, 180, EDITOR, _SYSTEMD_UNIT=None, _SYSTEMD_CGROUP=None, OOM_SCHEMA="0", OOM_VICTIM_RSS_BYTES=None),
            (late, AT_USEC + 200 * SECOND),
        ],
    )
    return directory


def ids(ran: Ran) -> list[str]:
    """The first column."""
    return [line.split(" ")[0] for line in ran.out.splitlines()]


def shown(number: int) -> str:
    """The id as a list shows it."""
    return kill_id(number)[:8]
