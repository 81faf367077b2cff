# SPDX-License-Identifier: Apache-2.0
"""What the owner of a victim can do to the BPF program, without any right."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld import recordlayout
from tests.host.service.daemon import Daemon, assert_balanced, beginning, kills_after, settings
from tests.support import deep, live

MIB = 1 << 20
HOSTILE = 200

# A killed process keeps its memory map, because its tracer leaves it stopped at its exit (PTRACE_O_TRACEEXIT).
# Meanwhile the process that asked for memory ends, and the kernel sends SIGKILL again: to all processes of the PID
# namespace whose PID 1 it was, or to those that it traced itself (PTRACE_O_EXITKILL).
ENDING = """
import ctypes, mmap, os, sys, time
CLONE_NEWUSER, CLONE_NEWPID, PR_SET_DUMPABLE = 0x10000000, 0x20000000, 4
PTRACE_CONT, PTRACE_SEIZE, TRACE_EXIT, EXIT_KILL = 7, 0x4206, 1 << 6, 1 << 20
PF_EXITING, WALL = 4, 0x40000000
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

def take(mib):
    memory = mmap.mmap(-1, mib << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, mib << 20, 4096):
        memory[at] = 1
    return memory

def asks_and_ends():
    os.write(door, b"0")  # not the tracer, which may ask for memory, too
    if os.fork() == 0:
        with open("/proc/self/oom_score_adj", "w") as adjustment:
            adjustment.write("1000")
        held = take(60)
        os.write(there[1], os.readlink("/proc/self").encode())  # as the tracer sees it
        time.sleep(100)
        os._exit(1)
    if namespace:
        os.read(seized[0], 1)
    else:
        seize(int(os.read(there[0], 20)), TRACE_EXIT | EXIT_KILL)
    take(40)
    os._exit(0)

def seize(pid, options):
    assert libc.ptrace(PTRACE_SEIZE, pid, None, options) == 0

def waits_for_its_namespace(pid):
    with open(f"/proc/{pid}/stat") as stat:
        state, *numbers = stat.read().rpartition(")")[2].split()
    flags, memory = int(numbers[5]), int(numbers[19])
    return state == "S" and flags & PF_EXITING and not memory

door = os.open(sys.argv[1], os.O_WRONLY)
os.setgroups([]), os.setgid(65534), os.setuid(65534)
libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
namespace = sys.argv[2] == "namespace"
there, seized = os.pipe(), os.pipe()
if namespace:
    assert libc.unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0
first = os.fork()
if first == 0:
    asks_and_ends()
if namespace:
    victim = int(os.read(there[0], 20))
    seize(victim, TRACE_EXIT)
    os.write(seized[1], b"x")
    while not waits_for_its_namespace(first):
        time.sleep(0.01)
    os.waitpid(victim, WALL)  # it has stopped
    libc.ptrace(PTRACE_CONT, victim, None, None)
    os.waitpid(victim, WALL)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
"""


@pytest.mark.parametrize("how", ["namespace", "tracer"])
def test_a_signal_of_an_ending_task_is_no_kill(daemon: Daemon, here: live.Moment, how: str) -> None:
    began = beginning(daemon)
    with live.cgroup("ending", 84 * MIB) as where:
        subprocess.run([sys.executable, "-c", ENDING, where.procs, how], check=True, timeout=60)
        kills_after(daemon, here, 1)
    counts = assert_balanced(daemon, began, 1, 1)
    assert counts.repeats == began.counts.repeats


def test_hostile_victims_do_not_fill_the_ring_while_nobody_reads(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hog = tmp_path / ("h" * 250)
    shutil.copy(live.hog_program(), hog)
    monkeypatch.setenv("OOMKILLD_TEST_HOG", str(hog))
    with settings(daemon, '[capture]\nring_size = "256KiB"\n[entry]\nreduce_from = 0\n'):
        daemon.restart()
        here = live.now()
        with live.cgroup("flood", None) as top, live.cgroup("other", 4 * MIB) as other:
            with deep.below(top.path, 40, 4 * MIB) as where:
                os.kill(daemon.pid(), signal.SIGSTOP)
                try:
                    for _number in range(HOSTILE):
                        live.kill_one(where)
                    live.kill_one(other)
                finally:
                    os.kill(daemon.pid(), signal.SIGCONT)
            entries = kills_after(daemon, here, HOSTILE + 1, 30)
    assert {entry["OOM_SOURCE"] for entry in entries} <= {"kprobe", "fentry", "tracepoint"}
    assert entries[-1]["OOM_VICTIM_CGROUP"].endswith("/other")
    assert "OOM_VICTIM_CGROUP_CUT" not in entries[-1]
    whole = entries[-1]["OOM_VICTIM_CGROUP"].replace("/other", "/flood") + 40 * f"/{deep.NAME}"
    told = [entry["OOM_VICTIM_CGROUP"] for entry in entries[:-1]]
    short = deep.outermost(whole, recordlayout.PATH_ROOM_SHORT)
    print(f"{told.count(short)} of {HOSTILE} records were short")
    assert told[0] == deep.outermost(whole)
    assert told[-1] == short
    assert set(told) == {told[0], short}
