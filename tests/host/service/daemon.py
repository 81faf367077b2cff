# SPDX-License-Identifier: Apache-2.0
"""The service under test: in the foreground beside a private journald, or as the unit of a booted system."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from tests.support import live
from trial import alone

KMSG = Path("/dev/kmsg")
RATELIMIT = Path("/proc/sys/kernel/printk_devkmsg")
# Read after every other file.
DROP_IN = Path("/etc/oomkilld/oomkilld.toml.d/zzzz-test.toml")


class Daemon(Protocol):
    """One service, started and ready."""

    sender: tuple[str, ...]  # journalctl's matches for its entries
    package: Path  # its Python package
    program: Path

    @property
    def journald(self) -> int:
        """The process id of the journald that it sends to."""

    def status(self) -> str:
        """Its current status line."""

    def pid(self) -> int: ...

    def restart(self) -> None:
        """Restart it, and wait until it is ready."""

    def stop(self) -> None:
        """Stop it; restart() starts it again."""

    def wait_for_the_run_after(self, pid: int) -> None:
        """Wait until that process has ended by itself and the next one is ready."""


def package_below(prefix: Path) -> Path:
    """The directory of the package."""
    return prefix / "lib/oomkilld"


class Foreground:
    """The program as a child of this process."""

    sender: tuple[str, ...] = ("SYSLOG_IDENTIFIER=oomkilld",)

    def __init__(self, program: Path, journald: int) -> None:
        self.program = program
        self.journald = journald
        self.package = package_below(program.parents[1])
        self._stack = ExitStack()
        self._status = ""
        self._process: alone.Process | None = None

    def status(self) -> str:
        while self._hear():
            pass
        return self._status

    def pid(self) -> int:
        assert self._process is not None
        return self._process.process.pid

    def restart(self) -> None:
        self.stop()
        self._status = ""
        self._process = self._stack.enter_context(alone.running(self.program))
        live.wait_for("readiness", self._ready, 60)

    def stop(self) -> None:
        self._stack.close()

    def _ready(self) -> bool:
        assert self._process is not None
        ended = self._process.process.poll()
        assert ended is None, f"it ended with status {ended}"
        return "READY=1" in self._hear()

    def _hear(self) -> list[str]:
        """The lines of its next message; empty while there is none."""
        assert self._process is not None
        told = self._process.told()
        for line in told:
            if line.startswith("STATUS="):
                self._status = line.removeprefix("STATUS=")
        return told

    def wait_for_the_run_after(self, pid: int) -> None:
        assert self.pid() == pid
        assert self._process is not None
        self._process.process.wait(20)
        self.restart()


class Unit:
    """The installed unit."""

    sender: tuple[str, ...] = live.OF_THE_UNIT

    def __init__(self) -> None:
        self.package = package_below(Path("/opt/oomkilld"))
        self.program = Path("/usr/local/sbin/oomkilld")

    @property
    def journald(self) -> int:
        """See Daemon."""
        return int(live.show("systemd-journald", "MainPID"))

    def status(self) -> str:
        return live.show("oomkilld", "StatusText")

    def pid(self) -> int:
        return live.main_pid()

    def restart(self) -> None:
        subprocess.run(["systemctl", "restart", "oomkilld"], check=True)

    def stop(self) -> None:
        subprocess.run(["systemctl", "stop", "oomkilld"], check=True)

    def wait_for_the_run_after(self, pid: int) -> None:
        live.wait_for("another run", lambda: live.main_pid() not in (0, pid), 20, self.status)
        live.wait_for("start", lambda: live.show("oomkilld", "ActiveState") == "active", 60, self.status)


@contextmanager
def settings(daemon: Daemon, text: str) -> Iterator[None]:
    """This file is in force from the next restart until the block ends."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(text)
    try:
        yield
    finally:
        DROP_IN.unlink()
        daemon.restart()


@contextmanager
def changed(daemon: Daemon, module: str, old: str, new: str) -> Iterator[None]:
    """A changed program for runs that start during the block.

    Afterwards it has its old time stamp, to the nanosecond: Python would compile newer files again at each start, which
    takes memory (800 kB).
    """
    path = daemon.package / module
    text, before = path.read_text(), path.stat()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def kills(daemon: Daemon, here: live.Moment) -> list[live.Entry]:
    return live.service_entries("kill", here, sender=daemon.sender)


def kills_after(daemon: Daemon, here: live.Moment, count: int, seconds: float = 5) -> list[live.Entry]:
    """Wait for this number of kill entries; more are a failure."""
    found = live.wait_for(
        f"{count} entries",
        lambda: found if len(found := kills(daemon, here)) >= count else None,
        seconds,
        lambda: f"{len(kills(daemon, here))} entries; {daemon.status()}",
    )
    assert len(found) == count, f"killed: {[entry['OOM_VICTIM_COMM'] for entry in found]}"
    return found


# At level tracepoint only a header in the kernel log has these, and the kernel prints ten within five seconds. Reading
# the contents of the domain stops after 20 ms.
_OF_SOME = ("OOM_DOMAIN_", "OOM_GFP_", "OOM_ORDER", "OOM_CONSTRAINT", "OOM_VICTIM_SWAP_BYTES")


def names_of_each(entry: live.Entry) -> set[str]:
    """The names of its fields, without those that a similar kill may lack."""
    return {name for name in entry if not name.startswith(_OF_SOME)}


def beginning(daemon: Daemon) -> live.Beginning:
    return live.Beginning(settled(daemon), live.vmstat_kills())


def assert_balanced(
    daemon: Daemon, began: live.Beginning, entries: int | None, reaped: int, missing: int = 0
) -> live.ServiceCounts:
    """The current counts, checked. ``entries`` None: as many as the service counts."""
    delta, counts = live.vmstat_kills() - began.vmstat, settled(daemon)
    told = counts.kills - began.counts.kills if entries is None else entries
    repeats, missed = counts.repeats - began.counts.repeats, counts.missing - began.counts.missing
    live.Books(told, repeats, missed, delta, reaped).check()
    assert missed == missing
    return counts


def settled(daemon: Daemon) -> live.ServiceCounts:
    """The counts of its status line, once they stop changing."""
    seen = ""

    def settled_status() -> live.ServiceCounts | None:
        nonlocal seen
        before, seen = seen, daemon.status()
        return live.counts_in(seen) if seen == before and "searching the kernel log" not in seen else None

    # The service sends its status at most once a second, and notices kills before its start after a second.
    return live.wait_for("status that stays", settled_status, 30, daemon.status, every=2.2)


# As any process may send it; one more field than ours makes it findable.
FORGE = """
import socket, subprocess, sys
fields = ["MESSAGE=forged", "SYSLOG_IDENTIFIER=oomkilld", "OOM_EVENT=kill", "OOM_VICTIM_COMM=hog", *sys.argv[1:]]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(
    "".join(f"{field}\\n" for field in fields).encode(), "/run/systemd/journal/socket"
)
# It is there while journald looks who it is.
subprocess.run(["journalctl", "--sync"])
"""


def forge(tid: int) -> None:
    """Send a forged entry of that kill, as a user without any right, and as root in another unit, as in a container."""
    now_usec = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    fields = [f"OOM_VICTIM_TID={tid}", f"OOM_BOOTTIME_TIMESTAMP={now_usec}", f"OOM_KILL_ID={tid:032x}"]
    command = [sys.executable, "-c", FORGE, *fields]
    subprocess.run(command, check=True, user=65534, group=65534, extra_groups=[], stderr=subprocess.DEVNULL)
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemd-run", "--quiet", "--wait", "--collect", *command], check=True)


def overwrite_the_log() -> None:
    """Overwrite everything that the kernel log has until now."""
    limited = RATELIMIT.read_text()
    RATELIMIT.write_text("on\n")
    try:
        with KMSG.open("w") as log:
            for _ in range(10_000):
                log.write("<15>" + "x" * 900 + "\n")
                log.flush()
    finally:
        RATELIMIT.write_text(limited)


def assert_has_no_capability(pid: int) -> None:
    """The process and the programs that it executes get no capability."""
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    print(f"{status['Name']} may have {status['CapBnd']}, has {status['CapPrm']}")
    assert [status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == ["0" * 16] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
