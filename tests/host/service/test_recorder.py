# SPDX-License-Identifier: Apache-2.0
"""The flight recorder under the service: a kill says what led up to it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.host.service.daemon import (
    Daemon,
    assert_balanced,
    assert_has_no_capability,
    beginning,
    kills_after,
    settings,
)
from tests.support import live

MIB = 1 << 20


@contextmanager
def recording(daemon: Daemon) -> Iterator[None]:
    with settings(daemon, "[recorder]\nenabled = true\n"):
        daemon.restart()
        yield


def test_a_kill_says_what_led_up_to_it_and_is_counted_as_before(daemon: Daemon) -> None:
    with recording(daemon):
        began, here = beginning(daemon), live.now()
        assert_has_no_capability(daemon.pid())
        with live.cgroup("recorded-kill", 8 * MIB) as where:
            live.kill_one(where)
            (kill,) = kills_after(daemon, here, 1)
        assert kill["OOM_TREND"] in ("start", "spike", "leak", "plateau", "unknown")
        if "OOM_DECISION_ID" in kill:
            (history,) = live.wait_for(
                "history", lambda: live.service_entries("history", here, sender=daemon.sender), 10, daemon.status
            )
            assert history["OOM_DECISION_ID"] == kill["OOM_DECISION_ID"]
        assert_balanced(daemon, began, entries=1, reaped=1)


def test_without_it_nothing_of_it_is_there(daemon: Daemon) -> None:
    here = live.now()
    with live.cgroup("not-recorded", 8 * MIB) as where:
        live.kill_one(where)
        (kill,) = kills_after(daemon, here, 1)
    assert not [name for name in kill if name.startswith(("OOM_GREW_", "OOM_TREND", "OOM_HISTORY_"))]
    assert not [fd for fd in os.listdir(f"/proc/{daemon.pid()}/fd") if _is_of_a_cgroup(daemon.pid(), fd)]


def _is_of_a_cgroup(pid: int, fd: str) -> bool:
    return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/sys/fs/cgroup/")
