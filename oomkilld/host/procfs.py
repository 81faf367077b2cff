# SPDX-License-Identifier: Apache-2.0
"""Reads the system's state from /proc, below an injectable root."""

import os
from contextlib import suppress

from oomkilld.host import procformats
from oomkilld.host.procformats import LoadAverage, MeminfoRow, Stall
from oomkilld.lighttyping import NamedTuple
from oomkilld.schema import PRESSURE_RESOURCES
from oomkilld.text import counted, printable

_CHUNK_BYTES = 64 << 10


class ProcessStat(NamedTuple):
    """/proc/PID/stat: the first thread's state, and the process's start in ticks of the reader's time namespace."""

    state: str
    start_ticks: int


class ProcessName(NamedTuple):
    """A process's name and cgroup, see ThreadStatus; and its start in ticks."""

    comm: bytes
    cgroup: bytes | None
    start_ticks: int


class ThreadStatus(NamedTuple):
    """A thread's process and that process's parent; its own name, user, cgroup, and start in ticks.

    The cgroup is the memory controller's, in version 2 the thread's; None: unknown.
    """

    pid: int
    parent_pid: int
    comm: bytes
    uid: int
    cgroup: bytes | None
    start_ticks: int


class ProcReader:
    """Every method raises OSError or ValueError (a file that is not as the kernel writes it)."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._kept_fds: dict[str, int] = {}

    def load_average(self) -> LoadAverage:
        return procformats.load_average(self._read_kept("loadavg"))

    def meminfo(self) -> dict[str, MeminfoRow]:
        return procformats.meminfo(self._read_kept("meminfo"))

    def pressure(self) -> dict[str, dict[str, Stall]]:
        """By resource and kind (``some``, ``full``), without those that this kernel lacks. Raises nothing."""
        pressure = {}
        for resource in PRESSURE_RESOURCES:
            with suppress(OSError):
                pressure[resource] = procformats.stalls(self._read_kept(f"pressure/{resource}"))
        return pressure

    def vmstat(self) -> dict[str, int]:
        return procformats.counters(self._read_kept("vmstat"))

    def oom_kills(self) -> int | None:
        """The kernel's own count of kills since boot, in /proc/vmstat; None: it has no such row."""
        for line in self._read("vmstat").splitlines():
            name, _space, count = line.partition(b" ")
            if name == b"oom_kill":
                return int(count)
        return None

    def process_stat(self, pid: int) -> ProcessStat:
        """See proc_pid_stat(5). Takes no lock that the process may hold for long, such as mmap_lock."""
        _comm, stat = self._stat(pid)
        return stat

    def process_name(self, pid: int) -> ProcessName:
        """See proc_pid_stat(5) and cgroups(7). Takes no lock that the process may hold for long."""
        comm, stat = self._stat(pid)
        return ProcessName(comm, self._memory_cgroup(pid), stat.start_ticks)

    def thread_status(self, tid: int) -> ThreadStatus:
        """See proc_pid_status(5) and cgroups(7). Takes no lock that the process may hold for long."""
        comm, stat = self._stat(tid)
        # The name in status is escaped, so only the kernel's own lines begin like these. Not splitlines(): the name,
        # and that of a cgroup, may contain line ends other than the kernel's, unescaped.
        lines = (line.partition(b":\t") for line in self._read(f"{tid}/status").split(b"\n"))
        status = {key: value.split() for key, _colon, value in lines}
        try:
            pid, parent, uid = (int(status[key][0]) for key in (b"Tgid", b"PPid", b"Uid"))
        except (KeyError, IndexError) as error:
            raise ValueError(f"found no {error} in the status of a thread") from error
        return ThreadStatus(pid, parent, comm, uid, self._memory_cgroup(tid), stat.start_ticks)

    def command_line(self, pid: int, start_ticks: int, limit: int) -> bytes:
        """See proc_pid_cmdline(5): at most ``limit`` bytes, none if the process did not start at ``start_ticks``.

        May block for long on the process's mmap_lock.
        """
        # Opened before the check: if the process with this number started then, it had the number at the open, too.
        with open(f"{self._root}/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read(limit) if self.process_stat(pid).start_ticks == start_ticks else b""

    def _stat(self, tid: int) -> tuple[bytes, ProcessStat]:
        """Split at the last parenthesis: the name may contain any bytes, but no field after it has a parenthesis."""
        comm, _parenthesis, rest = self._read(f"{tid}/stat").partition(b"(")[2].rpartition(b")")
        words = rest.split()
        if len(words) < 20:
            raise ValueError(f"found {counted(len(words), 'field')} after the name, expected 20 or more")
        return comm, ProcessStat(printable(words[0]), int(words[19]))

    def _memory_cgroup(self, tid: int) -> bytes | None:
        """The path in the hierarchy of the memory controller; None: unknown."""
        lines = (line.split(b":", 2) for line in self._read(f"{tid}/cgroup").split(b"\n"))
        paths = {name: row[2] for row in lines if len(row) == 3 for name in row[1].split(b",")}
        # For an exiting thread, version 1 shows the root; version 2 shows the cgroup that it was in.
        if (path := paths.get(b"memory")) == b"/":
            return None
        path = path or paths.get(b"")
        return None if path is None or path.endswith(b" (deleted)") or path.startswith(b"/..") else path

    def boottime_offset_ns(self) -> int:
        """By how much this process's time namespace shifts CLOCK_BOOTTIME and /proc, see time_namespaces(7)."""
        try:
            lines = self._read("self/timens_offsets").splitlines()
        except FileNotFoundError:
            return 0  # this kernel has no such namespaces
        offsets = {clock: int(seconds) * 10**9 + int(ns) for clock, seconds, ns in map(bytes.split, lines)}
        return offsets.get(b"boottime", 0)

    def pid_namespace(self) -> str | None:
        """``pid:[4026531836]``, see namespaces(7); None: this kernel has no such namespaces."""
        try:
            return os.readlink(f"{self._root}/self/ns/pid")
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> bytes:
        with open(f"{self._root}/{name}", "rb", buffering=0) as file:
            return file.read()

    def _read_kept(self, name: str) -> bytes:
        """Read a file and keep it open: opening /proc/vmstat takes many times as long as reading it."""
        fd = self._kept_fds.get(name)
        if fd is None:
            fd = self._kept_fds[name] = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        content = b""
        while chunk := os.pread(fd, _CHUNK_BYTES, len(content)):
            content += chunk
        return content
