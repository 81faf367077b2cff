# SPDX-License-Identifier: Apache-2.0
"""The process: reads the log, waits until what the service has seen is in the journal, and tells what is not.

Over the socket that it is started with, one message each, see messages.py: it is asked, says that it has read the log,
is told to go on, gives the kills, oldest first, and their number at last.
"""

import marshal
import os
import time

from oomkilld.recall import kernellog, match, process, recorded
from oomkilld.recall.logged import Logged, kills_in
from oomkilld.recall.match import Clocks, Recorded
from oomkilld.recall.messages import END, KILL, LOG_IS_READ, Asked
from oomkilld.record.entry import logged_kill_id
from oomkilld.record.oomlines import CONSTRAINTS

_NICE = 10


def main() -> int:
    """Exit status 0 also when nobody waits for it any more."""
    with process.begin(b"oomkilld-recall") as service:
        os.nice(_NICE)  # nothing waits for it
        asked = Asked(*marshal.loads(service.recv(4096)))
        boot = asked.boot_id.replace(b"-", b"").decode()
        asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        logged = kills_in(kernellog.lines(boot), asked.page_bytes, asleep_ns)
        read_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        service.send(LOG_IS_READ)
        if not service.recv(1):
            return 0
        entries = list(recorded.kills(boot))
        found, repeats = _unrecorded(logged, entries, asked, asleep_ns)
        found = match.without_counted(found, asked.repeats - repeats)
        for each in match.latest(found, asked.kills, asked.at_most):
            service.send(marshal.dumps((KILL, tuple(each.kill), each.repeats)))
        known = len({entry.kill_id for entry in entries if entry.boottime_ns <= read_ns})
        service.send(marshal.dumps((END, CONSTRAINTS, len(found), known, repeats)))
    return 0


def _unrecorded(
    logged: list[Logged], entries: list[Recorded], asked: Asked, asleep_ns: int
) -> tuple[list[Logged], int]:
    """And how often the others are repeated."""
    boot = asked.boot_id.replace(b"-", b"").decode()
    begins_usec = recorded.begins_usec(boot)
    if begins_usec is None:
        return [], 0  # it cannot be read, or has another id for the boot: nothing tells what it has
    # Of what was before, the journal had entries perhaps.
    shift_ns = kernellog.behind_usec(boot) * 1000
    since_ns = begins_usec * 1000 + asleep_ns - shift_ns
    within = [each for each in logged if each.kill.kill_boottime_ns >= since_ns]
    clocks = Clocks(asleep_ns, shift_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    found = match.unrecorded(within, entries, lambda kill: logged_kill_id(kill, asked.boot_id), clocks)
    return found, sum(each.repeats for each in within) - sum(each.repeats for each in found)
