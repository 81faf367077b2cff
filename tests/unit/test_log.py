# SPDX-License-Identifier: Apache-2.0
"""The kernel log as a source of kills: read line by line, with kills kept until they are stored."""

import errno
import os
from collections import deque
from pathlib import Path

import pytest

from oomkilld.host.clock import KernelClock
from oomkilld.host.procfs import ProcReader, ThreadStatus
from oomkilld.record.capture.logsource import MAX_KEPT, LogSource
from oomkilld.record.complete import Completer
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.clock import LogClock
from oomkilld.record.kernlog.kmsg import DevKmsg, Line
from oomkilld.record.kill import KillRecord
from tests.unit.fakes import FakeClock, FakeProcesses
from tests.unit.test_assemble import killed_line


class Lines(DevKmsg):
    """A fake log."""

    def __init__(self, *texts: bytes) -> None:
        self.waiting = deque(Line(i * 1000, text) for i, text in enumerate(texts))

    def read(self) -> Line | None:
        return self.waiting.popleft() if self.waiting else None

    def add(self, text: bytes) -> None:
        self.waiting.append(Line(10**9, text))


def source_of(lines: Lines, clock: KernelClock | None = None) -> LogSource:
    clock = clock or FakeClock()
    return LogSource(lines, Assembler(LogClock(clock), 4096), clock)


def tids(source: LogSource, position: int) -> list[int | None]:
    """The items from ``position`` on; None: lines that are no kill."""
    found = []
    while item := source.peek(position):
        assert item.record is None or isinstance(item.record, KillRecord)
        found.append(item.record.victim_tid if item.record else None)
        position = item.end
    return found


def test_kills_are_kept_until_they_are_freed_and_can_be_read_again() -> None:
    lines = Lines(b"other", killed_line(1), b"other", killed_line(2))
    source = source_of(lines)
    assert tids(source, 0) == tids(source, 0) == [1, 2]
    source.free(1)
    assert (source.consumer_position, tids(source, 1)) == (1, [2])
    lines.add(killed_line(3))
    assert tids(source, 1) == [2, 3]
    source.free(3)
    assert tids(source, 3) == []
    assert source.seen().kills == 3


def test_other_lines_take_no_position() -> None:
    source = source_of(Lines(*[b"other"] * 60))
    assert tids(source, 0) == []
    assert source.consumer_position == 0
    # After some of them, other duties get their turn.
    lines = Lines(*[b"other"] * 100, killed_line(1))
    source = source_of(lines)
    item = source.peek(0)
    assert item == (None, 0)
    assert len(lines.waiting) == 37
    assert tids(source, 0) == [1]


def test_the_number_of_kept_kills_is_bounded_and_the_rest_stays_in_the_log() -> None:
    lines = Lines(*[killed_line(tid) for tid in range(1, MAX_KEPT + 11)])
    source = source_of(lines)
    assert len(tids(source, 0)) == MAX_KEPT
    assert (len(lines.waiting), source.seen_until_ns) == (10, -1)
    source.free(5)
    assert len(tids(source, MAX_KEPT)) == 5


def test_dev_kmsg_is_read_from_its_end_and_a_gap_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("6,1,1,-;before\n")
    fd = os.open(tmp_path / "log", os.O_RDONLY)
    answers: list[bytes | OSError] = [
        b"6,2,2000,-;first\n",
        OSError(errno.EPIPE, "overwritten"),
        OSError(errno.EPIPE, "overwritten"),
        b"nonsense",
        b"3,9,3000,-;after\n SUBSYSTEM=x\n",
        b"12,10,4000,-;user's\n",
        OSError(errno.EAGAIN, "none"),
    ]

    def read(_fd: int, _size: int) -> bytes:
        assert os.lseek(fd, 0, os.SEEK_CUR) == len("6,1,1,-;before\n")
        answer = answers.pop(0)
        if isinstance(answer, bytes):
            return answer
        raise answer

    reader = DevKmsg(fd)
    monkeypatch.setattr(os, "read", read)
    assert reader.read() == Line(2000, b"first", number=2)
    assert reader.read() == Line(3000, b"after", after_gap=True, number=9)
    assert reader.read() == Line(4000, b"user's", facility=1, number=10)
    assert reader.read() is None
    os.close(fd)


def test_the_kernels_count(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 12\noom_kill_x 3\n")
    assert ProcReader(str(tmp_path)).oom_kills() == 12
    (tmp_path / "vmstat").write_text("pgfault 7\n")
    assert ProcReader(str(tmp_path)).oom_kills() is None


def logged(**changes: object) -> KillRecord:
    record = KillRecord._make([None] * len(KillRecord._fields))
    facts = {"victim_tid": 42, "victim_comm": b"hog", "victim_uid": 1000, "kill_boottime_ns": 500, "logged_usec": 1}
    return record._replace(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("there", "pid"),
    [
        (ThreadStatus(40, 7, b"hog", 1000, b"/elsewhere", 3), 40),
        (ThreadStatus(40, 7, b"other", 1000, b"/elsewhere", 3), None),
        (ThreadStatus(40, 7, b"hog", 0, b"/elsewhere", 3), None),
        (ThreadStatus(40, 7, b"hog", 1000, b"/elsewhere", 600), None),
        (None, None),
    ],
)
def test_a_logged_kill_gets_its_process_only_while_it_is_still_there(
    there: ThreadStatus | None, pid: int | None
) -> None:
    processes = FakeProcesses()
    if there:
        processes.threads[42] = there
    completer = Completer(processes)
    kill = completer.completed(logged(trigger_tid=42, victim_cgroup=b"/as/printed"))
    assert (kill.victim_pid, kill.trigger_pid, kill.victim_cgroup) == (pid, pid, b"/as/printed")
    assert completer.completed(logged(trigger_tid=43)).trigger_pid is None
