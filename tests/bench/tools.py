# SPDX-License-Identifier: Apache-2.0
"""The four tools that are compared, and how each is started, recognized as attached, and stopped. Runs in the guest."""

import mmap
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support import live

_PROBES = Path("/sys/kernel/debug/kprobes/list")
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_START_SECONDS = 300
_POLL_SECONDS = 0.01
_KEPT_PROGRAM = Path("/var/lib/oomkilld/program")
_LOOKS_AFTER_SECONDS = 3
# More than half of the guest's memory, and less than its free memory.
_OVERWRITTEN_MIB = 1400


class Tool(NamedTuple):
    """A tool that reports OOM kills."""

    name: str
    program: str | None  # None: an installed service
    functions: frozenset[str]  # kernel functions that it hooks once it is attached

    @property
    def unit(self) -> str:
        return "oomkilld.service" if self.program is None else f"bench-{self.name}.service"

    @property
    def output(self) -> Path:
        return Path(f"/run/bench-{self.name}.output")

    def start_command(self) -> list[str]:
        """A service in both cases, so that each has its own cgroup and systemd's clock for its start."""
        if self.program is None:
            return ["systemctl", "start", "--no-block", self.unit]
        # As in a terminal: Ctrl-C ends it, and it does not buffer its output.
        options = ["-pKillSignal=SIGINT", "-EPYTHONUNBUFFERED=1", f"-pStandardOutput=truncate:{self.output}"]
        return ["systemd-run", "--quiet", "--no-block", f"--unit={self.unit}", *options, self.program]


BCC = Tool("bcc", "/usr/sbin/oomkill-bpfcc", frozenset({"oom_kill_process"}))
BPFTRACE = Tool("bpftrace", "/usr/sbin/oomkill.bt", frozenset({"oom_kill_process"}))
LIBBPF = Tool("libbpf", "/usr/sbin/oomkill-libbpf", frozenset({"oom_kill_process"}))
OOMKILLD = Tool("oomkilld", None, frozenset({"oom_kill_process", "__oom_kill_process", "mark_oom_victim"}))
TOOLS = (BCC, BPFTRACE, LIBBPF, OOMKILLD)


class StartFailed(Exception):
    """The tool ended, or did not attach in time."""


class Started(NamedTuple):
    """Seconds from the start of the process."""

    attached: float
    ready: float  # for systemd


def hooked_functions() -> set[str]:
    """Functions with an enabled kprobe. perf's kprobes are listed too, from their opening to the end of the process."""
    lines = (line.split() for line in _PROBES.read_text().splitlines())
    return {words[2].partition("+")[0] for words in lines if "[DISABLED]" not in words}


@contextmanager
def running(tool: Tool, *, program_kept: bool = False) -> Iterator[Started]:
    """Start the tool, wait until it is attached, and stop it at the end. Raises StartFailed.

    ``program_kept``: oomkilld loads the program that its previous start compiled. Otherwise it compiles.
    """
    assert not hooked_functions(), "another tool is attached still"
    if tool is OOMKILLD:
        assert _KEPT_PROGRAM.exists() or not program_kept
        if not program_kept:
            _KEPT_PROGRAM.unlink(missing_ok=True)
    command = subprocess.Popen(tool.start_command())
    try:
        attached_at = _wait_attached(tool)
        command.wait()
        with suppress(ValueError):
            live.wait_for(f"active {tool.unit}", lambda: live.show(tool.unit, "ActiveState") == "active", 30)
        if tool.program is None:
            _wait_until_the_log_is_read()
        started_at = _monotonic(tool, "ExecMainStartTimestampMonotonic")
        yield Started(attached_at - started_at, seconds_to_ready(tool))
    finally:
        command.wait()
        subprocess.run(["systemctl", "stop", tool.unit], check=False, capture_output=True)
        subprocess.run(["systemctl", "reset-failed", tool.unit], check=False, capture_output=True)
        live.wait_for("end of its probes", lambda: not hooked_functions(), 30)


def _wait_attached(tool: Tool) -> float:
    """The time when it was attached, by CLOCK_MONOTONIC."""
    deadline = time.monotonic() + _START_SECONDS
    while not hooked_functions() >= tool.functions:
        time.sleep(_POLL_SECONDS)
        if time.monotonic() > deadline or live.show(tool.unit, "Result") not in ("success", ""):
            raise StartFailed(f"{tool.name}: {tool.output.read_text() if tool.program else live.service_journal()}")
    return time.monotonic()


def _wait_until_the_log_is_read() -> None:
    """oomkilld notices kills before its start after a second, and then searches the kernel log for them."""
    time.sleep(_LOOKS_AFTER_SECONDS)
    live.wait_for("end of that", lambda: "searching the kernel log" not in live.show(OOMKILLD.unit, "StatusText"), 60)


def seconds_to_ready(tool: Tool) -> float:
    """Seconds from the start of its process until it was ready for systemd."""
    return _monotonic(tool, "ActiveEnterTimestampMonotonic") - _monotonic(tool, "ExecMainStartTimestampMonotonic")


def _monotonic(tool: Tool, name: str) -> float:
    return int(live.show(tool.unit, name)) / 1e6


def forget_files() -> None:
    """Empty the page cache, as after a boot.

    Then overwrite the free memory. It contains pages that held programs, and the emulator keeps translations of these.
    It drops them page by page when a page is written, which takes seconds, and would count for whichever tool gets
    these pages.
    """
    os.sync()
    _DROP_CACHES.write_text("3")
    with live.cgroup("overwrite", (_OVERWRITTEN_MIB + 100) << 20) as where:
        hog = where.start(f"hold={_OVERWRITTEN_MIB}", "sleep")
        hog.kill()
        hog.wait()
    _DROP_CACHES.write_text("3")


@contextmanager
def compiler_kept_in_memory() -> Iterator[None]:
    """oomkilld gives back what its start read of the compiler, except pages that another process maps."""
    with ExitStack() as stack:
        for file in Path("/usr/lib").glob("*-linux-gnu/lib*"):
            if file.name.startswith(("libLLVM", "libclang", "libbcc")):
                with file.open("rb") as library:
                    flags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE
                    stack.enter_context(mmap.mmap(library.fileno(), 0, flags, mmap.PROT_READ))
        yield


def process_memory(tool: Tool) -> tuple[int, int]:
    """Resident and proportional bytes of its process."""
    rollup = Path(f"/proc/{live.show(tool.unit, 'MainPID')}/smaps_rollup").read_text()
    resident, proportional = (
        int(re.findall(rf"^{key}:\s+(\d+)", rollup, re.MULTILINE)[0]) << 10 for key in ("Rss", "Pss")
    )
    return resident, proportional


def cgroup_memory(tool: Tool) -> tuple[int, int]:
    """Bytes charged to its unit, with the files that it was the first to read: now, and the peak since its start."""
    cgroup = Path(f"/sys/fs/cgroup{live.show(tool.unit, 'ControlGroup')}")
    return int((cgroup / "memory.current").read_text()), int((cgroup / "memory.peak").read_text())


_TOLD = re.compile(r"OOM kill of PID (\d+) ")


def told_pids(tool: Tool, since: live.Moment) -> list[int]:
    """The processes that it reported, in order. A tool that prints has printed everything when it has ended."""
    if tool.program is not None:
        return [int(pid) for pid in _TOLD.findall(tool.output.read_text())]
    # Without kills before its start, which come from the kernel log.
    entries = [entry for entry in live.service_entries("kill", since) if entry["OOM_SOURCE"] != "kmsg"]
    return [int(entry["OOM_VICTIM_PID"]) for entry in entries]
