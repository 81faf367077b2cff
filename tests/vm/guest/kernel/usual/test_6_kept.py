# SPDX-License-Identifier: Apache-2.0
"""The next run takes over the probe that systemd keeps, if all files are what their names say; otherwise none."""

import json
import re
import subprocess
import sys

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.service import drop_in, run, said_about_the_program

ANEW = r"Failed to take over the previous probe: (.*), attaching a new one"
# As a process of the service: another file in place of the kept one of that name.
REPLACE = """
import os, socket, sys
from array import array
open("/sys/fs/cgroup/system.slice/oomkilld.service/cgroup.procs", "w").write(str(os.getpid()))
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.connect("/run/systemd/notify")
manager.send(f"FDSTOREREMOVE=1\\nFDNAME={sys.argv[1]}".encode())
def send(text, file):
    manager.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file]))])
send(f"FDSTORE=1\\nFDPOLL=0\\nFDNAME={sys.argv[1]}", os.memfd_create("forged"))
# The manager asks whose messages these are when it reads them, so this process must still exist then.
ours, theirs = os.pipe()
send("BARRIER=1", theirs)
os.close(theirs)
os.read(ours, 1)
"""


def kept() -> dict[str, str]:
    """What each file is, by name."""
    shown = run("systemd-analyze", "fdstore", "--json=short", "oomkilld.service")
    return {row["fdname"]: row["path"] for row in json.loads(shown.stdout)}


def why_anew(here: live.Moment) -> list[str]:
    said = (str(entry["MESSAGE"]) for entry in live.journal("-u", "oomkilld", here.after_cursor))
    return [found[1] for message in said if (found := re.search(ANEW, message))]


def kill_one(here: live.Moment, level: str) -> None:
    with live.cgroup("kept", LIMIT) as where:
        live.kill_one(where)
        kills_after(here, 1, level)


@pytest.mark.each_kernel
def test_kept_files_are_taken_over(here: live.Moment, level: str) -> None:
    before = kept()
    run("systemctl", "restart", "oomkilld")
    assert why_anew(here) == []
    assert kept() == before
    kill_one(here, level)


@pytest.mark.each_kernel
def test_after_a_stop_the_program_that_was_compiled_is_loaded(here: live.Moment, level: str) -> None:
    run("systemctl", "stop", "oomkilld")
    assert run("systemctl", "start", "oomkilld").returncode == 0, live.service_journal()
    assert said_about_the_program(here) == ["attached the kept program, without compiling it"]
    assert live.level() == level
    kill_one(here, level)


def test_if_one_kept_file_is_wrong_all_of_them_are_dropped(here: live.Moment, level: str) -> None:
    before = kept()
    (ring,) = (name for name in before if name.startswith("ring."))
    with drop_in("NotifyAccess=all"):
        subprocess.run([sys.executable, "-c", REPLACE, ring], check=True)
        live.wait_for("another file", lambda: "forged" in kept()[ring], 10, lambda: str(kept()))
    run("systemctl", "kill", "--signal=KILL", "oomkilld")
    live.wait_for("another run", lambda: why_anew(here), 60, live.service_journal)
    assert why_anew(here) == ["found '/memfd:forged (deleted)' as ring, expected anon_inode:bpf-map"]
    live.wait_for("its status", live.service_counts, 180, live.service_journal)
    assert kept().keys() == before.keys()
    kill_one(here, level)
