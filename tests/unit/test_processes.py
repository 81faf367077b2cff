# SPDX-License-Identifier: Apache-2.0
"""A victim is found while it lives, and no other process is ever mistaken for it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.host.clock import KernelClock
from oomkilld.host.procfs import ProcessStat, ProcReader, ThreadStatus
from oomkilld.record.kill import Victim
from oomkilld.record.processes import CannotLook, KernelProcesses

TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
HOSTILE = b"4242 (a) R 7 (\n) S 1 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 1551572 2318336 0\n"
# Renames itself so that the name contains what looks like its end, then waits.
RENAMED = "import time; open('/proc/self/comm', 'wb').write(b'x) Z 1\\n(2 3'); print(flush=True); time.sleep(60)"
# Its first thread ends before the others, by a system call of the thread's own, exit(2).
HEADLESS = """
import ctypes, threading, time
def live():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print(flush=True)
    time.sleep(60)
threading.Thread(target=live).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def victim(pid: int, start_boottime_ns: int | None, kill_boottime_ns: int = 0) -> Victim:
    return Victim(pid, start_boottime_ns, kill_boottime_ns, b"")


def start_ns(pid: int) -> int:
    """The earliest start that /proc allows."""
    return ProcReader().process_stat(pid).start_ticks * TICK_NS


def is_there(wanted: Victim, proc: ProcReader | None = None, offset_ns: int = 0) -> bool:
    found = KernelProcesses(proc or ProcReader(), offset_ns).find(wanted)
    if found:
        os.close(found.pidfd)
    return found is not None


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture
def tree(tmp_path: Path) -> ProcReader:
    """A /proc that contains only these files about this process."""
    (tmp_path / str(os.getpid())).mkdir()
    (tmp_path / str(os.getpid()) / "stat").write_bytes(HOSTILE)
    return ProcReader(str(tmp_path))


def test_a_process_is_there_until_it_ends_and_not_as_a_zombie(sleeper: "subprocess.Popen[bytes]") -> None:
    wanted = victim(sleeper.pid, start_ns(sleeper.pid))
    found = KernelProcesses(ProcReader(), 0).find(wanted)
    assert found is not None
    assert (found.state or "?") in "RSD"
    os.close(found.pidfd)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert ProcReader().process_stat(sleeper.pid).state == "Z"
    assert not is_there(wanted)
    sleeper.wait()
    assert not is_there(wanted)


def test_no_descriptor_stays_open_for_a_missing_process(sleeper: "subprocess.Popen[bytes]") -> None:
    before = os.listdir("/proc/self/fd")
    for wanted in (victim(sleeper.pid, 1), victim(2**22 + 1, 1), victim(os.getpid(), 1)):
        assert not is_there(wanted)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("off_ns", "same"), [(0, True), (TICK_NS - 1, True), (TICK_NS, False), (-1, False), (-TICK_NS, False)]
)
def test_a_process_that_started_in_another_tick_is_another(
    sleeper: "subprocess.Popen[bytes]", off_ns: int, same: bool
) -> None:
    assert is_there(victim(sleeper.pid, start_ns(sleeper.pid) + off_ns)) == same


@pytest.mark.parametrize(("ticks_later", "same"), [(-1, False), (0, False), (1, True), (500, True)])
def test_if_the_start_is_unknown_only_a_process_older_than_the_kill_can_be_the_victim(
    sleeper: "subprocess.Popen[bytes]", ticks_later: int, same: bool
) -> None:
    killed_ns = start_ns(sleeper.pid) + ticks_later * TICK_NS
    assert is_there(victim(sleeper.pid, None, killed_ns)) == same


def test_a_number_that_now_belongs_to_a_thread_is_no_process() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, daemon=True)
    thread.start()
    assert thread.native_id
    assert not is_there(victim(thread.native_id, start_ns(os.getpid())))
    done.set()
    thread.join()


@pytest.mark.parametrize(("program", "states"), [(RENAMED, "RSD"), (HEADLESS, "Z")], ids=["hostile name", "headless"])
def test_a_process_lives_whatever_its_name_and_even_if_its_first_thread_has_ended(program: str, states: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as output:
        output.readline()
    found = KernelProcesses(ProcReader(), 0).find(victim(child.pid, start_ns(child.pid)))
    child.kill()
    child.wait()
    assert found is not None
    os.close(found.pidfd)
    assert (found.state or "?") in states


def test_a_thread_leads_to_its_process_while_both_are_there() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, daemon=True)
    thread.start()
    assert thread.native_id
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    processes = KernelProcesses(ProcReader(), 0)
    found = processes.of_thread(thread.native_id, now_ns + TICK_NS)
    assert found is not None
    assert (found.pid, found.parent_pid, found.uid) == (os.getpid(), os.getppid(), os.getuid())
    assert found.comm == Path(f"/proc/self/task/{thread.native_id}/comm").read_bytes()[:-1]
    # A thread that started after the kill has taken over the number.
    assert processes.of_thread(thread.native_id, start_ns(os.getpid())) is None
    assert processes.of_thread(2**22 + 1, now_ns) is None
    # By its process, a name as well.
    name = processes.name_of(os.getpid(), now_ns + TICK_NS)
    assert name is not None
    assert (name.comm, name.cgroup) == (Path("/proc/self/comm").read_bytes()[:-1], found.cgroup)
    assert processes.name_of(os.getpid(), start_ns(os.getpid())) is None
    assert processes.name_of(2**22 + 1, now_ns) is None
    done.set()
    thread.join()


STATUS = b"Name:\tx) 1\nTgid:\t7\nPPid:\t5\nUid:\t1000\t0\t0\t0\n"
STAT = b"9 (x) 1\nTgid:\t1) S " + b"0 " * 18 + b"4242\n"


@pytest.mark.parametrize(
    ("cgroups", "expected"),
    [
        (b"0::/a.slice/b.service\n", b"/a.slice/b.service"),
        (b"5:cpu,cpuacct:/cpu\n3:memory:/m:1\n0::/unified\n", b"/m:1"),
        (b"3:cpu,memory:/m\n", b"/m"),
        (b"3:memory:/\n0::/unified\n", None),
        (b"0::/\n", b"/"),
        (b"1:name=systemd:/x\n", None),
        (b"0::/gone (deleted)\n", None),
        (b"0::/../outside\n", None),
        # A name may contain any line separator but the kernel's own.
        (b"3:memory:/u/x\r3:memory:/system.slice/a.service\n", b"/u/x\r3:memory:/system.slice/a.service"),
        (b"", None),
    ],
)
def test_the_status_of_a_thread(tmp_path: Path, cgroups: bytes, expected: bytes | None) -> None:
    (tmp_path / "9").mkdir()
    for name, content in (("stat", STAT), ("status", STATUS), ("cgroup", cgroups)):
        (tmp_path / "9" / name).write_bytes(content)
    status = ProcReader(str(tmp_path)).thread_status(9)
    assert status == ThreadStatus(7, 5, b"x) 1\nTgid:\t1", 1000, expected, 4242)


@pytest.mark.parametrize("lacking", [b"Tgid", b"PPid", b"Uid", b"4242"])
def test_an_incomplete_status_is_none(tmp_path: Path, lacking: bytes) -> None:
    (tmp_path / "9").mkdir()
    for name, content in (("stat", STAT), ("status", STATUS), ("cgroup", b"")):
        (tmp_path / "9" / name).write_bytes(content.replace(lacking, b""))
    assert KernelProcesses(ProcReader(str(tmp_path)), 0).of_thread(9, 10**20) is None


def test_a_name_with_a_parenthesis_and_a_newline_moves_no_field(tree: ProcReader) -> None:
    assert tree.process_stat(os.getpid()) == ProcessStat("S", 1551572)


@pytest.mark.parametrize("content", [b"", b"4242 (short) S 1 2 3\n"])
def test_a_malformed_stat_proves_nothing(tmp_path: Path, tree: ProcReader, content: bytes) -> None:
    (tmp_path / str(os.getpid()) / "stat").write_bytes(content)
    with pytest.raises(CannotLook, match="fields after the name, expected 20 or more"):
        is_there(victim(os.getpid(), 1), tree)


def test_the_offset_of_a_time_namespace_is_subtracted(tmp_path: Path, tree: ProcReader) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/timens_offsets").write_text("monotonic           7         0\nboottime        -1000 500000000\n")
    offset_ns = tree.boottime_offset_ns()
    assert offset_ns == -999_500_000_000
    started_ns = 1551572 * TICK_NS - offset_ns
    assert is_there(victim(os.getpid(), started_ns), tree, offset_ns)
    assert not is_there(victim(os.getpid(), started_ns), tree)
    shifted, real = KernelClock(offset_ns).boottime_ns(), KernelClock().boottime_ns()
    assert 0 <= shifted + offset_ns - real + 10**9 <= 10**9


def test_a_kernel_without_namespaces_has_no_offset_and_shows_all_processes(tree: ProcReader) -> None:
    assert tree.boottime_offset_ns() == 0
    assert is_there(victim(os.getpid(), 1551572 * TICK_NS), tree)


def test_unreadable_files_give_one_reason_for_all_processes(tmp_path: Path, tree: ProcReader) -> None:
    (tmp_path / str(os.getpid()) / "stat").unlink()
    (tmp_path / str(os.getpid()) / "stat").mkdir()
    with pytest.raises(CannotLook, match=r"^/proc/PID/stat: Is a directory$"):
        is_there(victim(os.getpid(), 1), tree)


def test_in_a_pid_namespace_the_numbers_differ_so_nothing_is_claimed(tmp_path: Path, tree: ProcReader) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to("pid:[4026532000]")
    with pytest.raises(CannotLook, match="not in the host's PID namespace"):
        is_there(victim(os.getpid(), 1551572 * TICK_NS), tree)
    (tmp_path / "self/ns/pid").unlink()
    (tmp_path / "self/ns/pid").symlink_to("pid:[4026531836]")
    assert is_there(victim(os.getpid(), 1551572 * TICK_NS), tree)
