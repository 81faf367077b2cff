# SPDX-License-Identifier: Apache-2.0
"""What the service knows about a journald that hangs."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.host.service.daemon import Daemon, forge, kills_after
from tests.support import live
from tests.support.stalls import Stalls

SOCKET = "/run/systemd/journal/socket"
MIB = 1 << 20
# At first it retries often, because others may have flooded the queue. The bounds are per second.
STOPPED_SECONDS, MOST_COMPUTED, MOST_SWITCHES = (30, 0.01, 20) if "OOMKILLD_TEST_FULL" in os.environ else (4, 0.04, 80)
# Prints the ids of the newest two entries.
NEWEST = """
import select
from oomkilld.record.lookup.protocol import ALL, AskedStored
from oomkilld.record.lookup.inquiry import Process
process = Process("stored", AskedStored(2, shown=False))
ids = b""
while select.select([process], [], [], 30)[0] and (message := process.receive()) not in (ALL, b""):
    ids += message
print(ids.hex() if message == ALL else "it ended")
"""
# Prints the duration in ms of two sends per turn, in some turns, while the queue is full.
TURNS = """
import time
from oomkilld.record.deliver.journal import Journal
from oomkilld.record.deliver.sink import JournalRefused
journal = Journal([b"MESSAGE=hello", b"OOMKILLD_TEST=turns"])
for _ in range(20):
    journal.begin_turn()
    for _ in range(2):
        began, computed = time.monotonic(), time.thread_time()
        try:
            journal.send([b"MESSAGE=one", b"OOMKILLD_TEST=turns"])
        except JournalRefused:
            pass
        print((time.monotonic() - began - (time.thread_time() - computed)) * 1000)
"""
# Prints the duration in ms of the wait at its end, and whether everything was read then.
ENDING = """
import time
from oomkilld.record.deliver.journal import Journal
journal = Journal([b"MESSAGE=hello", b"OOMKILLD_TEST=ending"])
for _ in range(5):
    journal.send([b"MESSAGE=one", b"OOMKILLD_TEST=ending"])
began = time.monotonic()
journal.wait_until_read()
print((time.monotonic() - began) * 1000, journal.has_read(journal.mark()))
"""
# Prints whether everything is read, whenever asked.
PROGRAM = """
import sys
from oomkilld.record.deliver.journal import Journal
journal = Journal([b"MESSAGE=hello", b"OOMKILLD_TEST=hangs"])
def read():
    mark = journal.mark()
    return mark is not None and journal.has_read(mark)
print(read(), flush=True)
for line in sys.stdin:
    print(read(), flush=True)
"""


@contextmanager
def hanging(journald: int) -> Iterator[None]:
    """journald is stopped, and others have filled its queue."""
    os.kill(journald, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            # Each sender may have a limited amount unread. The queue is full when a new sender cannot send anything.
            while fill(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))):
                pass
            yield
    finally:
        os.kill(journald, signal.SIGCONT)


def fill(other: socket.socket) -> int:
    """The number of entries that it could send."""
    other.connect(SOCKET)
    for sent in range(100_000):
        try:
            other.send(b"MESSAGE=waits\nOOMKILLD_TEST=other\n")
        except BlockingIOError:
            return sent
    raise AssertionError("it has no end")


def test_the_newest_stored_entries_are_found_and_no_forged_ones(daemon: Daemon, here: live.Moment) -> None:
    with live.cgroup("stored", 4 * MIB) as where:
        for _ in range(3):
            live.kill_one(where)
    ids = [entry["OOM_KILL_ID"] for entry in kills_after(daemon, here, 3)]
    forge(1)
    live.wait_for("forged entry", lambda: live.journal("OOM_KILL_ID=" + f"{1:032x}", here.after_cursor), 20)
    told = subprocess.run(
        ["/usr/bin/python3", "-c", NEWEST],
        env={**os.environ, "PYTHONPATH": str(daemon.package.parent)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.stdout == ids[2] + ids[1] + "\n", told.stderr


def test_nothing_counts_as_read_before_an_entry_of_this_run_is(daemon: Daemon, here: live.Moment) -> None:
    """Entries of the previous run may still wait behind a socket that no longer exists."""
    with hanging(daemon.journald):
        asked = subprocess.Popen(
            ["/usr/bin/python3", "-c", PROGRAM],
            env={**os.environ, "PYTHONPATH": str(daemon.package.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert asked.stdin is not None
        assert asked.stdout is not None
        assert asked.stdout.readline() == "False\n"

    def read() -> bool:
        assert asked.stdin is not None
        assert asked.stdout is not None
        asked.stdin.write("\n")
        asked.stdin.flush()
        return asked.stdout.readline() == "True\n"

    live.wait_for("all to be read", read, 20, lambda: str(asked.poll()))
    asked.communicate(timeout=20)
    live.wait_for(
        "its entry", lambda: len(live.journal("OOMKILLD_TEST=hangs", here.after_cursor)) == 1, 20, daemon.status
    )


def test_at_the_end_it_waits_for_a_short_time_until_everything_is_read(daemon: Daemon) -> None:
    def ending() -> tuple[float, bool]:
        told = subprocess.run(
            ["/usr/bin/python3", "-c", ENDING],
            env={**os.environ, "PYTHONPATH": str(daemon.package.parent)},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        milliseconds, read = told.stdout.split()
        return float(milliseconds), read == "True"

    live.wait_for("end after all was read", lambda: ending()[1], 10)
    os.kill(daemon.journald, signal.SIGSTOP)
    try:
        with Stalls() as stalls:
            waited, read = ending()
    finally:
        os.kill(daemon.journald, signal.SIGCONT)
    assert not read
    assert 200 <= waited < 250 + stalls.seconds * 1000


def test_while_the_queue_is_full_one_send_per_turn_waits_for_a_short_time(daemon: Daemon) -> None:
    with Stalls() as stalls, hanging(daemon.journald):
        told = subprocess.run(
            ["/usr/bin/python3", "-c", TURNS],
            env={**os.environ, "PYTHONPATH": str(daemon.package.parent)},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    waits = [float(line) for line in told.stdout.split()]
    waited, not_waited = waits[::2], waits[1::2]
    print(
        f"waited {min(waited):.1f} to {max(waited):.1f} ms, and {max(not_waited):.1f} ms when that was done, "
        f"in {stalls.seconds * 1000:.0f} ms of which this machine stood still"
    )
    assert min(waited) >= 10
    assert max(waited) <= 50 + stalls.seconds * 1000
    assert sorted(not_waited)[len(not_waited) // 2] < 5


def test_while_the_queue_is_full_the_service_sleeps(daemon: Daemon, here: live.Moment) -> None:
    with live.cgroup("sleeps", 4 * MIB) as where, hanging(daemon.journald):
        live.kill_one(where)
        live.wait_for("its status", lambda: "its queue is full" in daemon.status(), 10, daemon.status)
        before, pid = spent(daemon.pid()), daemon.pid()
        time.sleep(STOPPED_SECONDS)
        after = spent(pid)
    computed, switches = ((end - start) / STOPPED_SECONDS for start, end in zip(before, after, strict=True))
    print(f"in {STOPPED_SECONDS} s: {computed * 100:.2f} % of a processor, {switches:.1f} times a second it slept")
    assert computed <= MOST_COMPUTED
    assert switches <= MOST_SWITCHES
    kills_after(daemon, here, 1)


def test_repeated_hangs_are_logged_once_and_counted_at_the_end(
    daemon: Daemon, here: live.Moment, capfd: pytest.CaptureFixture[str]
) -> None:
    daemon.restart()  # so that its log lines arrive where this test reads them
    with live.cgroup("again", 4 * MIB) as where:
        for number in range(1, 4):
            with hanging(daemon.journald):
                live.kill_one(where)
                live.wait_for("its status", lambda: "its queue is full" in daemon.status(), 10, daemon.status)
                time.sleep(1.2)  # longer than an entry is promised
            kills_after(daemon, here, number, 10)
    with capfd.disabled():
        daemon.restart()
    said = [entry["MESSAGE"] for entry in live.journal(*daemon.sender, here.after_cursor)]
    said += [line.removeprefix("oomkilld: ") for line in capfd.readouterr().err.splitlines()]
    first, count = (message for message in said if message.startswith("journald took no entries"))
    assert re.fullmatch(
        r"journald took no entries for \d\.\d s \(its queue is full\), sending waiting entries now", first
    )
    assert re.fullmatch(r"journald took no entries 2 more times, for \d\.\d s in total, before it took them", count)


def spent(pid: int) -> tuple[float, int]:
    """CPU seconds, and the number of voluntary sleeps."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return seconds, live.process_status(pid, "voluntary_ctxt_switches")
