# SPDX-License-Identifier: Apache-2.0
"""What the unit hides from the service, even without Landlock; and when it does not restart it."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.host.service.daemon import DROP_IN, Daemon, changed, kills_after, settings
from tests.support import attack, live
from tests.unit.bad_inputs import put

UNIT_DROP_IN = Path("/run/systemd/system/oomkilld.service.d/test.conf")


def test_without_landlock_the_units_mounts_hide_as_much(daemon: Daemon) -> None:
    seen = attack.visible_to(daemon.pid())
    assert seen.names("run") == {"systemd", "oomkilld", "log"}
    # The manager adds mounts by way of incoming and propagate, which are empty.
    assert seen.names("run/systemd") - {"incoming", "propagate"} == {"journal", "units", "notify"}
    assert seen.content("etc/shadow") == b""
    assert seen.names("root") == seen.names("var/lib/systemd") == set()
    for path in ("proc/sys/kernel/core_pattern", "sys/kernel/mm/ksm/run", "usr/lib/os-release"):
        assert seen.writing(path) in ("Read-only file system", "Permission denied"), path


def test_it_can_write_only_to_its_own_directories_and_execute_nothing_there(daemon: Daemon) -> None:
    lines = Path(f"/proc/{daemon.pid()}/mountinfo").read_text().splitlines()
    flags = {}
    for path in {line.split()[4] for line in lines}:
        # The topmost mount counts; it hides others below it.
        with suppress(FileNotFoundError, NotADirectoryError):
            flags[path] = os.statvfs(f"/proc/{daemon.pid()}/root{path}").f_flag
    # A process's own files in /proc; temporary files that nobody else sees; and there is no terminal.
    passing = {"/proc", "/tmp", "/var/tmp", "/dev/pts"}
    # systemd 254 and newer let a service ask here when its own memory is short.
    passing |= {path for path in flags if path.endswith("oomkilld.service/memory.pressure")}
    writable = {path for path, flag in flags.items() if not flag & os.ST_RDONLY}
    # Landlock keeps stage record out of the second, see test_sandbox.py.
    assert writable - passing == {"/run/oomkilld", "/var/lib/oomkilld"}
    assert [path for path in writable if not flags[path] & os.ST_NOEXEC] == []


def test_reload_or_restart_applies_settings_and_loses_nothing(daemon: Daemon) -> None:
    """Valid or not: there is no reload that could only check them."""
    valid = '[entry]\npriority = "notice"\n'
    with settings(daemon, valid):
        for text in (valid, "[entry]\npriority = 5\n"):
            DROP_IN.write_text(text)
            before, here = daemon.pid(), live.now()
            subprocess.run(["systemctl", "reload-or-restart", "oomkilld"], check=True)
            assert daemon.pid() != before
            with live.cgroup("settings", 4 << 20) as where:
                live.kill_one(where)
            assert kills_after(daemon, here, 1)[0]["PRIORITY"] == "5"


def test_places_that_links_of_the_configuration_may_lead_to_are_visible_in_the_sandbox(daemon: Daemon) -> None:
    target = Path("/opt/site/priority.toml")
    put(target, '[entry]\npriority = "notice"\n')
    try:
        with settings(daemon, ""):
            link, nothing = DROP_IN.with_name("zzzz-link.toml"), DROP_IN.with_name("zzzz-nothing.toml")
            link.symlink_to(target)
            nothing.symlink_to("/dev/null")
            checked = subprocess.run([daemon.program, "--check-config"], check=False, capture_output=True, text=True)
            here = live.now()
            daemon.restart()
            with live.cgroup("settings", 4 << 20) as where:
                live.kill_one(where)
            (entry,) = kills_after(daemon, here, 1)
            status = daemon.status()
            link.unlink()
            nothing.unlink()
    finally:
        shutil.rmtree(target.parent)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert entry["PRIORITY"] == "5"
    assert "invalid" not in status


def test_a_passing_failure_is_retried(daemon: Daemon) -> None:
    def tried() -> bool:
        return int(live.show("oomkilld", "NRestarts")) >= 2 and live.show("oomkilld", "ExecMainStatus") == "71"

    UNIT_DROP_IN.parent.mkdir(exist_ok=True)
    UNIT_DROP_IN.write_text("[Service]\nLimitNOFILE=20\n")
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        with suppress(subprocess.CalledProcessError):
            daemon.restart()
        live.wait_for("tries", tried, 20, live.service_journal)
    finally:
        UNIT_DROP_IN.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    live.wait_for("start", lambda: live.show("oomkilld", "ActiveState") == "active", 60, live.service_journal)


def test_a_failure_to_drop_privileges_ends_it_without_a_restart(daemon: Daemon) -> None:
    refused = ('checked("capset", "capset", ', 'checked("capset", "close", -1) or checked("capset", "capset", ')
    try:
        with changed(daemon, "record/process/privileges.py", *refused), suppress(subprocess.CalledProcessError):
            daemon.restart()
        ended = [live.show("oomkilld", name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    finally:
        subprocess.run(["systemctl", "reset-failed", "oomkilld"], check=False)
        daemon.restart()
    assert ended == ["failed", "70", "0"]
