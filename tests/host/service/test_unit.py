# SPDX-License-Identifier: Apache-2.0
"""What the unit keeps the service from, where the kernel has no Landlock, too; when it is not started again."""

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
    lines = [line.split() for line in Path(f"/proc/{daemon.pid()}/mountinfo").read_text().splitlines()]
    print("\n".join(" ".join(line) for line in lines if "binfmt_misc" in line[4]))
    # Nothing is where a mount would only be made when it is used.
    mounts = [(line[4], line[5]) for line in lines if line[line.index("-") + 1] != "autofs"]
    # Of /proc, a process's own files; temporary ones are seen by nobody else; there is no terminal.
    passing = {"/proc", "/tmp", "/var/tmp", "/dev/pts"}
    # Where systemd 254 and newer let a service ask when its own memory is short.
    mounts = [(path, options) for path, options in mounts if not path.endswith("oomkilld.service/memory.pressure")]
    writable = {path: options for path, options in mounts if "rw" in options.split(",")}
    assert writable.keys() - passing == {"/run/oomkilld"}
    assert [path for path, options in writable.items() if "noexec" not in options.split(",")] == []


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
