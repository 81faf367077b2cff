# SPDX-License-Identifier: Apache-2.0
"""Where /proc hides other users' processes (hidepid=), a stuck victim is still reported."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
# The privileges of the resident stage that matter here, and a private /proc.
HIDDEN = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o "hidepid=$0" proc /proc && exec "$@"')
WITHOUT_RIGHT = ("setpriv", "--bounding-set=-sys_ptrace")
# Looks a process up by its number and start, and again after it has ended.
LOOK = """
import os, signal, sys, time
from oomkilld.record.processes import KernelProcesses
from oomkilld.host.procfs import ProcReader
from oomkilld.record.kill import Victim
pid = int(sys.argv[1])
victim = Victim(pid, int(sys.argv[2]), time.clock_gettime_ns(time.CLOCK_BOOTTIME), b"")
processes = KernelProcesses(ProcReader(), 0)
found = processes.find(victim)
print(processes.hidden(), found and found.state)
if found:
    signal.pidfd_send_signal(found.pidfd, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}/stat") and "Z" not in open(f"/proc/{pid}/stat").read():
        time.sleep(0.01)
    for _ in range(1000):
        if (found := processes.find(victim)) is None:
            break
        time.sleep(0.01)
    print(found)
"""


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen(["sleep", "60"], user=NOBODY)
    yield child
    child.kill()
    child.wait()


@pytest.mark.parametrize(
    ("option", "rights", "seen"),
    [
        ("0", WITHOUT_RIGHT, "False S"),
        ("4", (), "False S"),
        # Without gid=, all of root's group see them.
        ("2", WITHOUT_RIGHT, "False S"),
        ("1,gid=65534", WITHOUT_RIGHT, "True None"),
        ("2,gid=65534", WITHOUT_RIGHT, "True None"),
        ("4", WITHOUT_RIGHT, "True None"),
    ],
)
def test_a_hidden_process_is_there_until_it_ends(
    sleeper: "subprocess.Popen[bytes]", option: str, rights: tuple[str, ...], seen: str
) -> None:
    ticks = int(Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[19])
    start_ns = ticks * 10**9 // os.sysconf("SC_CLK_TCK")
    told = subprocess.run(
        [*HIDDEN, option, *rights, sys.executable, "-c", LOOK, str(sleeper.pid), str(start_ns)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.stdout.split("\n") == [seen, "None", ""], told.stderr
