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
    """/proc/PID/stat: the first thread's state, the start of the process in ticks, by the reader's time namespace."""

    state: str
    start_ticks: int


class ThreadStatus(NamedTuple):
    """Of a thread: its process, that one's parent, its name, user and control group, and its start in ticks.

    The cgroup is the memory controller's, or in version 2 the thread's; None: it is not told.
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
        """See proc_loadavg(5)."""
        return procformats.load_average(self._read_kept("loadavg"))

    def meminfo(self) -> dict[str, MeminfoRow]:
        """All rows by key, see proc_meminfo(5). A row that is not ``Key: number [kB]`` is left out."""
        return procformats.meminfo(self._read_kept("meminfo"))

    def pressure(self) -> dict[str, dict[str, Stall]]:
        """By resource and kind (``some``, ``full``). What this kernel does not tell is not there; nothing is raised."""
        pressure = {}
        for resource in PRESSURE_RESOURCES:
            with suppress(OSError):
                pressure[resource] = procformats.stalls(self._read_kept(f"pressure/{resource}"))
        return pressure

    def vmstat(self) -> dict[str, int]:
        """The counters that explain a kill, see procformats.VMSTAT_KEYS."""
        return procformats.counters(self._read_kept("vmstat"))

    def oom_kills(self) -> int | None:
        """The kernel's own count of kills since boot, of /proc/vmstat; None: it tells none."""
        for line in self._read("vmstat").splitlines():
            name, _space, count = line.partition(b" ")
            if name == b"oom_kill":
                return int(count)
        return None

    def process_stat(self, pid: int) -> ProcessStat:
        """See proc_pid_stat(5). Takes no lock of the process that it may hold for long, as mmap_lock."""
        _comm, stat = self._stat(pid)
        return stat

    def thread_status(self, tid: int) -> ThreadStatus:
        """See proc_pid_status(5) and cgroups(7). Takes no lock that the process may hold for long."""
        comm, stat = self._stat(tid)
        # In status the name is escaped: no line but the kernel's own begins like these. Not splitlines(): other ends of
        # a line than the kernel's stand there, and in the name of a group, as they are.
        lines = (line.partition(b":\t") for line in self._read(f"{tid}/status").split(b"\n"))
        status = {key: value.split() for key, _colon, value in lines}
        try:
            pid, parent, uid = (int(status[key][0]) for key in (b"Tgid", b"PPid", b"Uid"))
        except (KeyError, IndexError) as error:
            raise ValueError(f"found no {error} in the status of a thread") from error
        return ThreadStatus(pid, parent, comm, uid, self._memory_cgroup(tid), stat.start_ticks)

    def command_line(self, pid: int, start_ticks: int, limit: int) -> bytes:
        """See proc_pid_cmdline(5); empty too when the process did not start then. May wait for its mmap_lock, for long.

        At most ``limit`` bytes.
        """
        # Opened first: whoever has the number now and started then had it when this file was opened.
        with open(f"{self._root}/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read(limit) if self.process_stat(pid).start_ticks == start_ticks else b""

    def _stat(self, tid: int) -> tuple[bytes, ProcessStat]:
        """With the name, which may hold anything; but nothing after it holds a parenthesis."""
        comm, _parenthesis, rest = self._read(f"{tid}/stat").partition(b"(")[2].rpartition(b")")
        words = rest.split()
        if len(words) < 20:
            raise ValueError(f"found {counted(len(words), 'field')} after the name, expected 20 or more")
        return comm, ProcessStat(printable(words[0]), int(words[19]))

    def _memory_cgroup(self, tid: int) -> bytes | None:
        """The path from the root of the hierarchy that the memory controller is in."""
        lines = (line.split(b":", 2) for line in self._read(f"{tid}/cgroup").split(b"\n"))
        paths = {name: row[2] for row in lines if len(row) == 3 for name in row[1].split(b",")}
        # Version 1 says the root of every thread that is exiting; version 2 says where it was.
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
        """Of a file that stays open: to open /proc/vmstat takes many times as long as to read it."""
        fd = self._kept_fds.get(name)
        if fd is None:
            fd = self._kept_fds[name] = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        content = b""
        while chunk := os.pread(fd, _CHUNK_BYTES, len(content)):
            content += chunk
        return content
