# SPDX-License-Identifier: Apache-2.0
"""What the unit keeps the service from, where the kernel has no Landlock, too; when it is not started again."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.host.service.daemon import Daemon, changed
from tests.support import attack, live


def test_where_there_is_no_landlock_the_units_mounts_hide_as_much(daemon: Daemon) -> None:
    seen = attack.visible_to(daemon.pid())
    assert seen.names("run") == {"systemd", "oomkilld", "log"}
    # The manager's own way to add mounts is empty.
    assert seen.names("run/systemd") - {"incoming", "propagate"} == {"journal", "units", "notify"}
    assert seen.content("etc/shadow") == b""
    assert seen.names("root") == seen.names("var/lib/systemd") == set()
    for path in ("proc/sys/kernel/core_pattern", "sys/kernel/mm/ksm/run", "usr/lib/os-release"):
        assert seen.writing(path) in ("Read-only file system", "Permission denied"), path


def test_only_its_own_directory_can_be_written_and_nothing_that_can_is_executed(daemon: Daemon) -> None:
    lines = Path(f"/proc/{daemon.pid()}/mountinfo").read_text().splitlines()
    flags = {}
    for path in {line.split()[4] for line in lines}:
        # Of the mount that is on top; some are hidden by others above them.
        with suppress(FileNotFoundError, NotADirectoryError):
            flags[path] = os.statvfs(f"/proc/{daemon.pid()}/root{path}").f_flag
    # Of /proc, a process's own files; temporary ones are seen by nobody else; there is no terminal.
    passing = {"/proc", "/tmp", "/var/tmp", "/dev/pts"}
    # Where systemd 254 and newer let a service ask when its own memory is short.
    passing |= {path for path in flags if path.endswith("oomkilld.service/memory.pressure")}
    writable = {path for path, flag in flags.items() if not flag & os.ST_RDONLY}
    assert writable - passing == {"/run/oomkilld"}
    assert [path for path in writable if not flags[path] & os.ST_NOEXEC] == []


def test_what_cannot_be_given_up_ends_it_for_good(daemon: Daemon) -> None:
    refused = ('checked("capset", "capset", ', 'checked("capset", "close", -1) or checked("capset", "capset", ')
    try:
        with changed(daemon, "record/privileges.py", *refused), suppress(subprocess.CalledProcessError):
            daemon.restart()
        ended = [live.show("oomkilld", name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    finally:
        subprocess.run(["systemctl", "reset-failed", "oomkilld"], check=False)
        daemon.restart()
    assert ended == ["failed", "70", "0"]
