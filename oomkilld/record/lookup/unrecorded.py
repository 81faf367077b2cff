# SPDX-License-Identifier: Apache-2.0
"""The process oomkilld-recall: finds the kills in the kernel log that have no entry in the journal.

It reads the log and reports that. The service answers once every kill that it has seen until then is stored. Then the
process reads the journal, compares, and sends the kills without an entry, oldest first, and at last their number. While
it reads, it reports every few seconds that it is alive. All messages: protocol.py.

A boot may have a million kills. So the process holds only some bytes of each (columns.py), compares them part by part
(compare.py), and reads the log a second time for the kills that it sends.
"""

import marshal
import os
import socket
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from oomkilld.host.ours import Ours, own_unit
from oomkilld.record.kernlog.grammar import CONSTRAINTS
from oomkilld.record.kill import KillRecord, logged_kill_id
from oomkilld.record.lookup import entries as recorded
from oomkilld.record.lookup import match
from oomkilld.record.lookup.begin import Alive, begin
from oomkilld.record.lookup.columns import LoggedColumns, RecordedColumns
from oomkilld.record.lookup.compare import Comparison, compare
from oomkilld.record.lookup.kernellog import KernelLog, behind_usec
from oomkilld.record.lookup.loggedkills import Logged, kills_in
from oomkilld.record.lookup.match import Clocks
from oomkilld.record.lookup.protocol import END, KILL, LOG_IS_READ, MESSAGE_BYTES, Asked
from oomkilld.record.lookup.whole import span

_NICE = 10
# The line of a kill is understood by the lines before it; this far back they are read, too.
_BEFORE_USEC = 60 * 10**6


def main() -> int:
    """Returns the exit status: 0, also when the service no longer listens."""
    with begin(b"oomkilld-recall") as service:
        os.nice(_NICE)  # it is not urgent
        told, log_fds, _flags, _address = socket.recv_fds(service, MESSAGE_BYTES, 1)
        asked = Asked(*marshal.loads(told))
        alive = Alive(service)
        boot = asked.boot_id.replace(b"-", b"").decode()
        log = _Log(KernelLog(boot, log_fds[0] if log_fds else None), asked, alive)
        logged, since_usec = log.columns()
        read_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        service.send(LOG_IS_READ)
        if not service.recv(1):
            return 0
        entries = RecordedColumns.of(alive.during(recorded.kills(boot, Ours(own_unit()))))
        clocks = Clocks(log.asleep_ns, behind_usec(boot) * 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        begins_usec = recorded.begins_usec(boot)
        if begins_usec is None:
            # The journal cannot be read, or has another id for this boot: skip every line, for each may have an entry.
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
    """The kernel log, read for one request."""

    def __init__(self, log: KernelLog, asked: Asked, alive: Alive) -> None:
        self._log = log
        self._asked = asked
        self._alive = alive
        self.asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def columns(self) -> tuple[LoggedColumns, int | None]:
        """All kills of the log, and since when it has lost no line (microseconds, printk's clock; None: unknown)."""
        columns = LoggedColumns()
        for each in self._kills(0):
            columns.add(each)
        return columns, self._log.whole_since_usec

    def whole(self, columns: LoggedColumns, places: Sequence[int]) -> Iterator[Logged]:
        """The full records of the kills at ``places``, with the corrected times and repeats from ``columns``."""
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
