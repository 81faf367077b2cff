# SPDX-License-Identifier: Apache-2.0
"""The process: reads the log, waits until what the service has seen is in the journal, and tells what is not.

Over the socket that it is started with, one message each, see protocol.py: it is asked, says that it has read the log,
is told to go on, gives the kills, oldest first, and their number at last; and between these that it is alive.

A boot may have had a million kills. Of each only some bytes are kept, see columns.py, and a part of them is compared at
a time, see compare.py; of those that are given the log is read once more.
"""

import marshal
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from oomkilld.record.kernlog.grammar import CONSTRAINTS
from oomkilld.record.kill import KillRecord, logged_kill_id
from oomkilld.record.lookup import entries as recorded
from oomkilld.record.lookup import match
from oomkilld.record.lookup.begin import Alive, asked_with_log, begin
from oomkilld.record.lookup.columns import LoggedColumns, RecordedColumns
from oomkilld.record.lookup.compare import Comparison, compare
from oomkilld.record.lookup.kernellog import KernelLog, behind_usec
from oomkilld.record.lookup.loggedkills import Logged, kills_in
from oomkilld.record.lookup.match import Clocks
from oomkilld.record.lookup.ours import Ours, own_unit
from oomkilld.record.lookup.protocol import END, KILL, LOG_IS_READ, Asked
from oomkilld.record.lookup.whole import span

_NICE = 10
# What a line means, those shortly before it tell.
_BEFORE_USEC = 60 * 10**6


def main() -> int:
    """Exit status 0 also when nobody waits for it any more."""
    with begin(b"oomkilld-recall") as service:
        os.nice(_NICE)  # nothing waits for it
        told, kernel_log = asked_with_log(service)
        asked = Asked(*marshal.loads(told))
        alive = Alive(service)
        boot = asked.boot_id.replace(b"-", b"").decode()
        log = _Log(KernelLog(boot, kernel_log), asked, alive)
        logged, since_usec = log.columns()
        read_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        service.send(LOG_IS_READ)
        if not service.recv(1):
            return 0
        entries = RecordedColumns.of(alive.during(recorded.kills(boot, Ours(own_unit()))))
        clocks = Clocks(log.asleep_ns, behind_usec(boot) * 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        begins_usec = recorded.begins_usec(boot)
        if begins_usec is None:
            # It cannot be read, or has another id for the boot: nothing tells what it has.
            first, whole = len(logged), False
        else:
            first_ns, whole = span(asked.since_ns, begins_usec, since_usec, clocks)
            first = bisect_left(logged.times_ns, first_ns)

        def line_id(kill: KillRecord) -> str:
            return logged_kill_id(kill, asked.boot_id)

        found, known = compare(logged, first, entries, Comparison(line_id, clocks, read_ns), alive)
        within = sum(count for at, count in logged.repeats.items() if at >= first)
        repeats = within - _repeats(logged, found)
        match.take_counted(logged.repeats, found, asked.repeats - repeats)
        for each in log.whole(logged, match.latest(found, logged.repeats, asked.kills, asked.at_most)):
            service.send(marshal.dumps((KILL, tuple(each.kill), each.repeats)))
        service.send(marshal.dumps((END, CONSTRAINTS, len(found), known, repeats, int(whole))))
    return 0


class _Log:
    """The kernel's log, and what it is read for."""

    def __init__(self, log: KernelLog, asked: Asked, alive: Alive) -> None:
        self._log = log
        self._asked = asked
        self._alive = alive
        self.asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def columns(self) -> tuple[LoggedColumns, int | None]:
        """All kills of it, and since when it is whole."""
        columns = LoggedColumns()
        for each in self._kills(0):
            columns.add(each)
        return columns, self._log.whole_since_usec

    def whole(self, columns: LoggedColumns, places: Sequence[int]) -> Iterator[Logged]:
        """Those at ``places``, as the lines tell them, but for what is put right in ``columns``."""
        wanted = {(columns.usecs[at], columns.tids[at]): at for at in places}
        if not wanted:
            return
        for each in self._kills(columns.usecs[places[0]] - _BEFORE_USEC):
            at = wanted.pop((each.kill.logged_usec or 0, each.kill.victim_tid), None)
            if at is not None:
                kill = each.kill._replace(kill_boottime_ns=columns.times_ns[at])
                yield Logged(kill, columns.repeats.get(at, 0), at)
                if not wanted:
                    return

    def _kills(self, since_usec: int) -> Iterator[Logged]:
        return kills_in(self._alive.during(self._log.lines(since_usec)), self._asked.page_bytes, self.asleep_ns)


def _repeats(logged: LoggedColumns, places: Iterable[int]) -> int:
    return sum(logged.repeats.get(at, 0) for at in places)
