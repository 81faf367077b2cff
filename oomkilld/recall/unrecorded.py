# SPDX-License-Identifier: Apache-2.0
"""The process: reads the log, waits until what the service has seen is in the journal, and tells what is not.

Over the socket that it is started with, one message each, see messages.py: it is asked, says that it has read the log,
is told to go on, gives the kills, oldest first, and their number at last; and between these that it is alive.

A boot may have had a million kills. Of each only some bytes are kept, see columns.py, and a part of them is compared at
a time; of those that are given the log is read once more.
"""

import marshal
import os
import socket
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from oomkilld.recall import match, process, recorded
from oomkilld.recall.columns import LoggedColumns, RecordedColumns
from oomkilld.recall.kernellog import KernelLog, behind_usec
from oomkilld.recall.logged import Logged, kills_in
from oomkilld.recall.match import Clocks
from oomkilld.recall.messages import ALIVE, END, KILL, LOG_IS_READ, MESSAGE_BYTES, Asked
from oomkilld.recall.ours import Ours, own_unit
from oomkilld.record.decode import KillRecord
from oomkilld.record.entry import logged_kill_id
from oomkilld.record.oomlines import CONSTRAINTS

_NICE = 10
# So many lines and entries are compared at once: some 20 MB.
_PART = 20_000
# What a line means, those shortly before it tell.
_BEFORE_USEC = 60 * 10**6
_ALIVE_AFTER_NS, _LOOK_EVERY = 5 * 10**9, 1024

T = TypeVar("T")


def main() -> int:
    """Exit status 0 also when nobody waits for it any more."""
    with process.begin(b"oomkilld-recall") as service:
        os.nice(_NICE)  # nothing waits for it
        asked = Asked(*marshal.loads(service.recv(MESSAGE_BYTES)))
        alive = _Alive(service)
        boot = asked.boot_id.replace(b"-", b"").decode()
        log = _Log(KernelLog(boot), asked, alive)
        logged = log.columns()
        read_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        service.send(LOG_IS_READ)
        if not service.recv(1):
            return 0
        entries = _entries(alive.during(recorded.kills(boot, Ours(own_unit()))))
        first, clocks = _since_the_journal_begins(logged, boot, log.asleep_ns)

        def line_id(kill: KillRecord) -> str:
            return logged_kill_id(kill, asked.boot_id)

        in_doubt = match.Doubtful.of(asked.in_doubt, entries.all_ids() if asked.in_doubt else ())
        found, known = _compare(logged, first, entries, _Comparison(line_id, clocks, read_ns, in_doubt.stored, alive))
        again = _of_ids(logged, range(first, len(logged)), in_doubt.stored, line_id)
        within = sum(count for at, count in logged.repeats.items() if at >= first)
        repeats = within - _repeats(logged, found) - _repeats(logged, again)
        match.take_counted(logged.repeats, sorted([*again, *found]), asked.repeats - repeats)
        stored_repeats = _repeats(logged, again)
        wanted = asked.kills - len(in_doubt.stored) - stored_repeats
        lost = set(_of_ids(logged, found, in_doubt.lost, line_id))
        for each in log.whole(logged, match.chosen(found, logged.repeats, lost, wanted, asked.at_most)):
            service.send(marshal.dumps((KILL, tuple(each.kill), each.repeats)))
        # An older service, which keeps no ids, expects no more.
        stored = (len(in_doubt.stored), stored_repeats) if asked.in_doubt else ()
        service.send(marshal.dumps((END, CONSTRAINTS, len(found), known, repeats, *stored)))
    return 0


class _Alive:
    """Tells the service so while there is much to do."""

    def __init__(self, service: socket.socket) -> None:
        self._service = service
        self._told_ns = time.monotonic_ns()

    def during(self, work: Iterable[T]) -> Iterator[T]:
        """The same."""
        for number, each in enumerate(work):
            if number % _LOOK_EVERY == 0:
                self.tell()
            yield each

    def tell(self) -> None:
        """When it is time."""
        if (now_ns := time.monotonic_ns()) >= self._told_ns + _ALIVE_AFTER_NS:
            self._service.send(ALIVE)
            self._told_ns = now_ns


class _Log:
    """The kernel's log, and what it is read for."""

    def __init__(self, log: KernelLog, asked: Asked, alive: _Alive) -> None:
        self._log = log
        self._asked = asked
        self._alive = alive
        self.asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def columns(self) -> LoggedColumns:
        """All kills of it."""
        columns = LoggedColumns()
        for each in self._kills(0):
            columns.add(each)
        return columns

    def whole(self, columns: LoggedColumns, places: list[int]) -> Iterator[Logged]:
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


def _entries(recorded_kills: Iterable[match.Recorded]) -> RecordedColumns:
    columns = RecordedColumns()
    for each in recorded_kills:
        try:
            columns.add(each)
        except ValueError:
            continue
    return columns


class _Comparison(NamedTuple):
    """What ``_compare`` goes by. ``stored``: ids that do not count as known."""

    line_id: Callable[[KillRecord], str]
    clocks: Clocks
    read_ns: int
    stored: set[str]
    alive: _Alive


def _compare(logged: LoggedColumns, first: int, entries: RecordedColumns, by: _Comparison) -> tuple["array[int]", int]:
    """Places of the kills from ``first`` on that have no entry, their times put right; and how many entries are known.

    Only what has the same number can be the same kill: so in parts, by number, of which each tells the clocks anew.
    """
    parts = 1 + (len(logged) - first + len(entries)) // _PART
    lines, others = _by_part(logged.tids, first, parts), _by_part(entries.tids, 0, parts)
    found, known = array("q"), 0
    for line_places, entry_places in zip(lines, others, strict=True):
        by.alive.tell()
        part = [Logged(logged.kill(at), logged.repeats.get(at, 0), at) for at in line_places]
        recorded_part = [entries.recorded(at) for at in entry_places]
        for each in match.unrecorded(part, recorded_part, by.line_id, by.clocks):
            logged.times_ns[each.at] = each.kill.kill_boottime_ns
            found.append(each.at)
        known += len({each.kill_id for each in recorded_part if each.boottime_ns <= by.read_ns} - by.stored)
    return array("q", sorted(found)), known


def _by_part(tids: "array[int]", first: int, parts: int) -> list["array[int]"]:
    places = [array("q") for _ in range(parts)]
    for at in range(first, len(tids)):
        places[tids[at] % parts].append(at)
    return places


def _of_ids(
    logged: LoggedColumns, places: Iterable[int], ids: set[str], line_id: Callable[[KillRecord], str]
) -> list[int]:
    return [at for at in places if line_id(logged.kill(at)) in ids] if ids else []


def _repeats(logged: LoggedColumns, places: Iterable[int]) -> int:
    return sum(logged.repeats.get(at, 0) for at in places)


def _since_the_journal_begins(logged: LoggedColumns, boot: str, asleep_ns: int) -> tuple[int, Clocks]:
    """The place of the first of which the journal would have an entry: of what was before, it had some perhaps."""
    begins_usec = recorded.begins_usec(boot)
    shift_ns = behind_usec(boot) * 1000
    clocks = Clocks(asleep_ns, shift_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    if begins_usec is None:
        return len(logged), clocks  # it cannot be read, or has another id for the boot: nothing tells what it has
    return bisect_left(logged.times_ns, begins_usec * 1000 + asleep_ns - shift_ns), clocks
