# SPDX-License-Identifier: Apache-2.0
"""The process: reads the log, waits until what the service has seen is in the journal, and tells what is not.

Over the socket that it is started with, one message each, see messages.py: it is asked, says that it has read the log,
is told to go on, gives the kills, oldest first, and their number at last.
"""

import marshal
import os
import time
from collections.abc import Iterable

from oomkilld.recall import kernellog, match, process, recorded
from oomkilld.recall.logged import Logged, kills_in
from oomkilld.recall.match import Clocks
from oomkilld.recall.messages import END, KILL, LOG_IS_READ, MESSAGE_BYTES, Asked
from oomkilld.recall.ours import Ours, own_unit
from oomkilld.record.decode import KillRecord
from oomkilld.record.entry import logged_kill_id
from oomkilld.record.oomlines import CONSTRAINTS

_NICE = 10


def main() -> int:
    """Exit status 0 also when nobody waits for it any more."""
    with process.begin(b"oomkilld-recall") as service:
        os.nice(_NICE)  # nothing waits for it
        asked = Asked(*marshal.loads(service.recv(MESSAGE_BYTES)))
        boot = asked.boot_id.replace(b"-", b"").decode()
        asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        logged = kills_in(kernellog.lines(boot), asked.page_bytes, asleep_ns)
        read_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        service.send(LOG_IS_READ)
        if not service.recv(1):
            return 0
        entries = list(recorded.kills(boot, Ours(own_unit())))
        within, clocks = _since_the_journal_begins(logged, boot, asleep_ns)

        def line_id(kill: KillRecord) -> str:
            return logged_kill_id(kill, asked.boot_id)

        found = match.unrecorded(within, entries, line_id, clocks)
        in_doubt = match.Doubtful.of(asked.in_doubt, entries)
        again = [each for each in within if line_id(each.kill) in in_doubt.stored]
        repeats = _repeats(within) - _repeats(found) - _repeats(again)
        again, found = match.without_counted(again, found, asked.repeats - repeats)
        stored_repeats = _repeats(again)
        wanted = asked.kills - len(in_doubt.stored) - stored_repeats
        lost = {at for at, each in enumerate(found) if line_id(each.kill) in in_doubt.lost}
        for each in match.chosen(found, lost, wanted, asked.at_most):
            service.send(marshal.dumps((KILL, tuple(each.kill), each.repeats)))
        known = len({entry.kill_id for entry in entries if entry.boottime_ns <= read_ns} - in_doubt.stored)
        # An older service, which keeps no ids, expects no more.
        stored = (len(in_doubt.stored), stored_repeats) if asked.in_doubt else ()
        service.send(marshal.dumps((END, CONSTRAINTS, len(found), known, repeats, *stored)))
    return 0


def _since_the_journal_begins(logged: list[Logged], boot: str, asleep_ns: int) -> tuple[list[Logged], Clocks]:
    """Of what was before, the journal had entries perhaps."""
    begins_usec = recorded.begins_usec(boot)
    shift_ns = kernellog.behind_usec(boot) * 1000
    clocks = Clocks(asleep_ns, shift_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    if begins_usec is None:
        return [], clocks  # it cannot be read, or has another id for the boot: nothing tells what it has
    since_ns = begins_usec * 1000 + asleep_ns - shift_ns
    return [each for each in logged if each.kill.kill_boottime_ns >= since_ns], clocks


def _repeats(logged: Iterable[Logged]) -> int:
    return sum(each.repeats for each in logged)
