# SPDX-License-Identifier: Apache-2.0
"""What the unit and the program itself forbid the service, with this systemd and kernel, and what that costs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.service import test_sandbox, test_unit
from tests.host.service.daemon import Daemon, Unit
from tests.support import live
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.service import drop_in, run, service_restored


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with service_restored():
        yield Unit()


bus = test_sandbox.bus
test_taken_over = test_sandbox.test_taken_over_it_can_read_write_reach_and_call_only_what_it_needs
test_its_filter = test_sandbox.test_its_own_filter_sees_its_calls_beside_that_of_the_unit
test_hidden = test_unit.test_without_landlock_the_units_mounts_hide_as_much
test_writable = test_unit.test_it_can_write_only_to_its_own_directories_and_execute_nothing_there


def assert_exposed_by_at_most(tenths: int) -> None:
    shown = run("systemd-analyze", "security", "--no-pager", f"--threshold={tenths}", "oomkilld")
    print(shown.stdout.strip().splitlines()[-1])
    assert shown.returncode == 0, shown.stdout + shown.stderr


def test_its_exposure_is_low() -> None:
    assert_exposed_by_at_most(19)


def test_without_cap_sys_admin_it_runs_at_level_fentry_and_records_the_same(here: live.Moment) -> None:
    shipped = Path("/opt/oomkilld/fentry.conf").read_text().partition("[Service]\n")[2]
    with service_restored(), drop_in(*shipped.splitlines()):
        # A restart would take over the working probe.
        run("systemctl", "stop", "oomkilld")
        assert run("systemctl", "start", "oomkilld").returncode == 0, live.service_journal()
        assert live.level() == "fentry"
        assert_exposed_by_at_most(15)
        with live.cgroup("fentry", LIMIT) as where:
            victim = live.kill_one(where)
            (entry,) = kills_after(here, 1, "fentry")
    assert int(entry["OOM_VICTIM_PID"]) == victim.pid
    assert int(entry["OOM_TOTAL_BYTES"]) == LIMIT


def test_a_reexecuted_manager_still_gets_messages_and_keeps_the_files(here: live.Moment) -> None:
    pid = live.main_pid()
    before = live.settled_counts()
    run("systemctl", "daemon-reexec")
    with live.cgroup("reexec", LIMIT) as where:
        live.kill_one(where)
    live.wait_for("status", lambda: live.service_counts() == before._replace(kills=before.kills + 1), 30)
    assert live.main_pid() == pid
    # With the kept files: nothing is compiled, and the level is not reported again.
    run("systemctl", "restart", "oomkilld")
    assert live.settled_counts() == before._replace(kills=before.kills + 1)
    kills_after(here, 1, live.level())


@pytest.mark.parametrize("storage", ["persistent", "volatile"])
def test_a_journald_with_new_sockets_gets_entries(here: live.Moment, storage: str) -> None:
    """journald is stopped with its sockets.

    The new ones are in the directory that the service has seen all the time.
    """
    settings = Path("/run/systemd/journald.conf.d/test.conf")
    units = ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service"]
    pid = live.main_pid()
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(f"[Journal]\nStorage={storage}\n")
    try:
        run("systemctl", "stop", *units)
        run("systemctl", "start", *units)
        with live.cgroup("anew", LIMIT) as where:
            victim = live.kill_one(where)
            (entry,) = kills_after(here, 1, live.level())
        assert int(entry["OOM_VICTIM_PID"]) == victim.pid
        assert live.main_pid() == pid
        # The process that looks up entries sees this journal, too.
        live.wait_for("status", lambda: "waiting" not in live.show("oomkilld", "StatusText"), 30)
    finally:
        settings.unlink()
        settings.parent.rmdir()
        run("systemctl", "restart", "systemd-journald")
        # With its sockets, journald lost the mark of the boot that says to store on disk.
        run("journalctl", "--flush")
