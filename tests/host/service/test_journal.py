# SPDX-License-Identifier: Apache-2.0
"""What the service knows of a journald that hangs."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.host.service.daemon import Daemon, forge, kills_after
from tests.support import live

SOCKET = "/run/systemd/journal/socket"
MIB = 1 << 20
# Tells the ids of the newest two entries, one after the other.
NEWEST = """
import select
from oomkilld.recall.messages import ALL, AskedStored
from oomkilld.record.looker import Process
process = Process("stored", AskedStored(2))
ids = b""
while select.select([process], [], [], 30)[0] and (message := process.receive()) not in (ALL, b""):
    ids += message
print(ids.hex() if message == ALL else "it ended")
"""
# Says whether all is read, when asked.
PROGRAM = """
import sys
from oomkilld.record.journal import Journal
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
    """Stopped, and its queue full of what others have sent."""
    os.kill(journald, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            # Each may have so much unread of its own; full is the queue when another cannot send anything.
            while fill(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))):
                pass
            yield
    finally:
        os.kill(journald, signal.SIGCONT)


def fill(other: socket.socket) -> int:
    """How many entries it could send."""
    other.connect(SOCKET)
    for sent in range(100_000):
        try:
            other.send(b"MESSAGE=waits\nOOMKILLD_TEST=other\n")
        except BlockingIOError:
            return sent
    raise AssertionError("it has no end")


def test_of_what_is_stored_the_newest_is_told_and_nothing_of_what_others_say(daemon: Daemon, here: live.Moment) -> None:
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


def test_nothing_counts_as_read_before_something_of_this_run_is(daemon: Daemon, here: live.Moment) -> None:
    """What the run before has sent may still wait, behind a socket that is not there any more."""
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
