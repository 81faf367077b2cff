# SPDX-License-Identifier: Apache-2.0
"""Real kills, confined to cgroups of their own, and what the kernel and the journal report about them.

Works below a cgroup of the tests' own, version 1 or 2: $OOMKILLD_TEST_CGROUP. The processes that are killed run
$OOMKILLD_TEST_HOG (hog.c).
"""

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from oomkilld.host.ours import Ours
from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.support import entryschema, pace

ENOMEM_STATUS = 3
PAGE = os.sysconf("SC_PAGESIZE")
_AFTER = "--after-cursor="
# Not -u, which also finds what root sends about this unit from another one.
OF_THE_UNIT = ("_SYSTEMD_UNIT=oomkilld.service",)

Entry = dict[str, Any]


Result = TypeVar("Result")


def wait_for(
    what: str,
    poll: Callable[[], Result | None],
    seconds: float,
    explain: Callable[[], str] = str,
    every: float = 0.05,
) -> Result:
    """The first true result of ``poll``. Fails after ``seconds``, with the text of ``explain``.

    On a machine that was found to be slow it waits that many times longer.
    """
    seconds *= pace.patience()
    deadline = time.monotonic() + seconds
    while not (result := poll()):
        assert time.monotonic() < deadline, f"no {what} within {seconds} s\n{explain()}"
        time.sleep(every)
    return result


class Cgroup(NamedTuple):
    """A memory cgroup with a limit."""

    path: Path

    @property
    def procs(self) -> Path:
        return self.path / "cgroup.procs"

    def start(self, *words: str, stdin: int | None = None) -> "subprocess.Popen[str]":
        """Start a hog in this cgroup and wait until it holds its memory."""
        hog = subprocess.Popen(
            [os.environ["OOMKILLD_TEST_HOG"], self.procs, *words], stdin=stdin, stdout=subprocess.PIPE, text=True
        )
        assert hog.stdout is not None
        with hog.stdout as output:
            assert output.readline() == "ready\n", f"hog {words} ended with {hog.wait()}"
        return hog


@contextmanager
def cgroup(name: str, limit: int | None, *, group: bool = False) -> Iterator[Cgroup]:
    """A cgroup of ``limit`` bytes (None: no limit); ``group``: the kernel kills all of its processes together."""
    path = Path(os.environ["OOMKILLD_TEST_CGROUP"]) / name
    with memory_cgroup(path, limit, group_kill=group):
        yield Cgroup(path)


def hog_program() -> str:
    return os.environ["OOMKILLD_TEST_HOG"]


def killed(hog: "subprocess.Popen[str]", seconds: float = 60) -> bool:
    """Wait for the end of a hog. True: it was killed; False: it was refused memory instead."""
    seconds *= pace.patience()
    # Sleep instead of polling, as Popen.wait() does: polling alone can keep a machine without memory from finishing.
    end = os.pidfd_open(hog.pid)
    try:
        assert select.select([end], [], [], seconds)[0], f"a hog lives after {seconds} s"
    finally:
        os.close(end)
    status = hog.wait()
    assert status in (-signal.SIGKILL, ENOMEM_STATUS), f"a hog ended with {status}"
    return status == -signal.SIGKILL


def kill_one(where: Cgroup, *words: str, seconds: float = 60) -> "subprocess.Popen[str]":
    """Start a hog that eats until it is killed; retry if it was refused memory instead."""
    for _attempt in range(10):
        hog = where.start(*words, "eat")
        if killed(hog, seconds):
            return hog
    raise AssertionError("ten hogs were refused memory instead of being killed")


def vmstat_kills() -> int:
    """The kernel's own count of kills since boot."""
    found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    assert found, "this kernel's /proc/vmstat has no oom_kill"
    return int(found[1])


def journal(*matches: str) -> list[Entry]:
    """``journalctl -o json`` with all fields."""
    # Before systemd 255, --after-cursor= loses the first match where the cursor's own entry does not match
    # (systemd#30288).
    cursors = [match.removeprefix(_AFTER) for match in matches if match.startswith(_AFTER)]
    words = [match.replace(_AFTER, "--cursor=", 1) for match in matches]
    output = subprocess.run(
        ["journalctl", "--quiet", "--all", "-o", "json", *words], check=True, capture_output=True, text=True
    ).stdout
    entries = [json.loads(line) for line in output.splitlines()]
    if not any(match.startswith("--output-fields=") for match in matches):
        _check(entries)
    return [entry for entry in entries if entry["__CURSOR"] not in cursors]


# Cursors of entries that were compared with the field table: tests read the same ones again and again.
_checked: set[str] = set()


def _check(entries: Iterable[Entry]) -> None:
    """Fails if an entry of the service is not as the field table says."""
    ours = Ours("oomkilld.service")
    for entry in entries:
        is_event = "OOM_EVENT" in entry and (entry["_UID"], entry["SYSLOG_IDENTIFIER"]) == ("0", "oomkilld")
        if not is_event or not ours.sent(entry.get("_SYSTEMD_UNIT"), entry.get("_SYSTEMD_CGROUP")):
            continue
        if entry["__CURSOR"] not in _checked:
            entryschema.check(entry)
            _checked.add(entry["__CURSOR"])


class Moment(NamedTuple):
    """A point in time: the end of the journal, and the clock of the kernel's records."""

    after_cursor: str
    boottime_usec: int


def now() -> Moment:
    """Now; everything sent before is stored."""
    subprocess.run(["journalctl", "--sync"], check=True)
    last = journal("-n", "1")[-1]["__CURSOR"]
    return Moment(f"{_AFTER}{last}", time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)


def service_entries(
    event: str, since: Moment | None = None, *, boot: str = "0", sender: Sequence[str] = OF_THE_UNIT
) -> list[Entry]:
    """Entries of ``sender`` with this OOM_EVENT, sent by root, about events after ``since``; one per OOM_KILL_ID.

    An earlier kill that is sent again after a restart of journald is not among them.
    """
    matches = [*sender, "-b", boot, "_UID=0", f"OOM_EVENT={event}"]
    found = journal(*matches, *([since.after_cursor] if since else []))
    if since and event == "kill":
        found = [entry for entry in found if int(entry["OOM_BOOTTIME_TIMESTAMP"]) >= since.boottime_usec]
    return list({entry.get("OOM_KILL_ID", entry["__CURSOR"]): entry for entry in found}.values())


class KernelLine(NamedTuple):
    """The kernel's own line about a kill: sizes in bytes."""

    tid: int
    comm: str
    total_vm: int
    anon: int
    file: int
    shmem: int
    uid: int
    pgtables: int
    oom_score_adj: int


KILLED = re.compile(
    r"Killed process (\d+) \((.*)\) total-vm:(\d+)kB, anon-rss:(\d+)kB, file-rss:(\d+)kB, shmem-rss:(\d+)kB, "
    r"UID:(\d+) pgtables:(\d+)kB oom_score_adj:(-?\d+)"
)


def kernel_line(message: str) -> KernelLine | None:
    """None: the message is about something else."""
    found = KILLED.search(message)
    if not found:
        return None
    tid, comm, *sizes, uid, pgtables, adjust = found.groups()
    total_vm, anon, file, shmem = (int(size) << 10 for size in sizes)
    return KernelLine(int(tid), comm, total_vm, anon, file, shmem, int(uid), int(pgtables) << 10, int(adjust))


def kernel_lines(since: Moment) -> list[KernelLine]:
    """The kernel's lines about kills since then."""
    messages = (entry["MESSAGE"] for entry in journal("_TRANSPORT=kernel", since.after_cursor))
    return [line for message in messages if (line := kernel_line(message))]


class Books(NamedTuple):
    """The oracle of every test with kills: every kill that the kernel counted is accounted for."""

    entries: int
    repeats: int
    missing: int
    vmstat: int
    reaped: int

    def check(self) -> None:
        print(
            f"books: entries {self.entries} + repeats {self.repeats} + missing {self.missing} = "
            f"vmstat {self.vmstat}; reaped {self.reaped} = entries + missing"
        )
        assert self.vmstat > 0, "nothing was killed"
        assert self.entries + self.repeats + self.missing == self.vmstat
        assert self.entries + self.missing == self.reaped


def show(unit: str, name: str) -> str:
    """A property as ``systemctl show`` prints it."""
    return subprocess.run(
        ["systemctl", "show", "--value", "-p", name, unit], check=True, capture_output=True, text=True
    ).stdout.strip()


def main_pid() -> int:
    return int(show("oomkilld", "MainPID"))


class ServiceCounts(NamedTuple):
    """The counts of the status line."""

    kills: int
    repeats: int
    missing: int


def counts_in(status: str) -> ServiceCounts | None:
    found = re.search(r"(\d+) kills? recorded, (\d+) repeats?, (\d+) missing", status)
    return ServiceCounts(*map(int, found.groups())) if found else None


class Beginning(NamedTuple):
    """The counts before a test: the service's and the kernel's."""

    counts: ServiceCounts
    vmstat: int


def service_counts() -> ServiceCounts | None:
    return counts_in(show("oomkilld", "StatusText"))


def level() -> str:
    """The capture level in force, by the status line."""
    return wait_for("level", lambda: show("oomkilld", "StatusText").removeprefix("Level ").partition(":")[0], 10)


class _RecordedKills:
    """Kills of this boot. Reads on where the last reading ended, because journald removes its oldest files."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._after: tuple[str, ...] = ()

    def count(self) -> int:
        """Kills recorded until now, including those of packaging/try."""
        found = journal("-b", "SYSLOG_IDENTIFIER=oomkilld", "_UID=0", "OOM_EVENT=kill", *self._after)
        ours = Ours("oomkilld.service")
        if found:
            sent = (entry for entry in found if ours.sent(entry.get("_SYSTEMD_UNIT"), entry.get("_SYSTEMD_CGROUP")))
            self._ids.update(entry["OOM_KILL_ID"] for entry in sent)
            self._after = (f"{_AFTER}{found[-1]['__CURSOR']}",)
        return len(self._ids)


_recorded_kills = _RecordedKills()


def settled_counts() -> ServiceCounts:
    """The status line's counts, once they include every kill that the service has recorded in this boot."""

    def told() -> ServiceCounts | None:
        recorded = _recorded_kills.count()
        counts = service_counts()
        return counts if counts and counts.kills == recorded else None

    return wait_for("status of all kills recorded", told, 20, service_journal)


def process_status(pid: int, key: str) -> int:
    """A number from /proc/PID/status: kB for sizes."""
    found = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found, f"no {key} of process {pid}"
    return int(found[1])


def service_journal() -> str:
    """The unit's log, for a failing test to show."""
    return subprocess.run(
        ["journalctl", "-u", "oomkilld", "-n", "40", "--no-pager"], check=False, capture_output=True, text=True
    ).stdout
