# SPDX-License-Identifier: Apache-2.0
"""The kills of a long boot are compared part by part, exactly and in little memory."""

import os
import socket
import time
import tracemalloc
from array import array
from collections.abc import Iterator
from itertools import islice

import pytest

from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kill import logged_kill_id
from oomkilld.record.lookup import compare as comparing
from oomkilld.record.lookup.begin import Alive
from oomkilld.record.lookup.columns import LoggedColumns, RecordedColumns
from oomkilld.record.lookup.compare import Comparison, compare
from oomkilld.record.lookup.joined import joined
from oomkilld.record.lookup.loggedkills import Logged, kills_in
from oomkilld.record.lookup.match import Clocks, Recorded
from oomkilld.record.lookup.protocol import ALIVE
from oomkilld.record.lookup.whole import Whole, span
from tests.unit.records import kill_of
from tests.unit.test_assemble import GROUP, header, killed_line

KILLS, PART = 6000, 1000
MS = 10**6
BOOT = b"ab" * 16
# How far printk's clock is behind.
BEHIND = 23 * MS


def logged(number: int) -> Logged:
    kill = kill_of(victim_tid=tid_of(number), victim_comm=b"hog%d" % (number % 100), kill_boottime_ns=time_of(number))
    return Logged(kill._replace(logged_usec=time_of(number) // 1000), repeats=int(number % 5000 == 0))


def time_of(number: int) -> int:
    return 10**12 + number * 3 * MS


def tid_of(number: int) -> int:
    """Thread numbers repeat."""
    return 1000 + number * 7 % 9973


def recorded(number: int, kill_id: str = "") -> Recorded:
    name = f"hog{number % 100}" if number % 3 else None
    return Recorded(kill_id or f"{number:032x}", tid_of(number), name, time_of(number) + BEHIND)


def lacks_an_entry(number: int) -> bool:
    return number % 1000 == 7


def entries_of_all_but_some() -> Iterator[Recorded]:
    for number in range(KILLS):
        if number == 3007:  # an earlier search made its entry from the log line
            yield recorded(number, logged_kill_id(logged(number).kill, BOOT))
        elif not lacks_an_entry(number):
            yield recorded(number)


@pytest.fixture
def alive() -> Iterator[Alive]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Alive(ours)


def test_kills_without_an_entry_are_found_among_very_many_in_little_memory(
    alive: Alive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "PART", PART)
    tracemalloc.start()
    lines = LoggedColumns()
    for number in range(KILLS):
        lines.add(logged(number))
    entries = RecordedColumns.of(entries_of_all_but_some())
    clocks = Clocks(asleep_ns=0, shift_ns=BEHIND, now_ns=10**18)
    by = Comparison(lambda kill: logged_kill_id(kill, BOOT), clocks, time_of(KILLS))
    found, known = compare(lines, 0, entries, by, alive)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = [number for number in range(KILLS) if lacks_an_entry(number) and number != 3007]
    assert list(found) == expected
    assert all(abs(lines.times_ns[at] - time_of(at) - BEHIND) < MS for at in found)
    assert known == len(entries) - sum(time_of(number) + BEHIND > time_of(KILLS) for number in range(KILLS - 20, KILLS))
    print(f"{KILLS} kills and {len(entries)} entries: {peak >> 10} KiB at the most")
    assert peak < 5 << 20


def test_entries_with_impossible_values_are_left_out() -> None:
    strange = [
        *(recorded(1, "x"), recorded(1, "ab" * 15), recorded(1)._replace(tid=-1)),
        *(recorded(1)._replace(tid=1 << 40), recorded(1)._replace(boottime_ns=1 << 63)),
    ]
    entries = RecordedColumns.of([*strange, recorded(2)])
    assert [entries.id(at) for at in range(len(entries))] == [f"{2:032x}"]


def test_reading_the_log_does_not_hold_it_in_memory() -> None:
    def lines() -> Iterator[Line]:
        for number in range(10**9):
            yield Line(10**6 + 100 * number, killed_line(number))

    assert [each.kill.victim_tid for each in islice(kills_in(lines(), 4096, 0), 3)] == [0, 1, 2]


def test_a_repeat_at_the_end_of_a_large_group_is_counted_with_its_kill() -> None:
    texts = [*header(42), killed_line(42), GROUP, *(killed_line(tid) for tid in range(1000, 4000)), killed_line(42)]
    found = list(kills_in((Line(10**6 + 1000 * at, text) for at, text in enumerate([b"begin", *texts])), 4096, 0))
    assert (found[0].kill.victim_tid, found[0].repeats, len(found)) == (42, 1, 3001)


def test_reading_much_reports_to_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 0
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setblocking(False)
        alive = Alive(ours)
        for each in alive.during(range(10**4)):
            now_ns = each * 10**6
        assert theirs.recv(99) == ALIVE
        now_ns = 0
        with pytest.raises(BlockingIOError):
            theirs.recv(99)


def test_chosen_thread_numbers_do_not_fill_one_part() -> None:
    parts = 6
    tids = array("q", range(1000, 1000 + 6000 * parts, parts))
    most = []
    for _ in range(20):
        salt = int.from_bytes(os.urandom(8), "little") | 1
        most.append(max(map(len, comparing._by_part(tids, 0, parts, salt))))
    # An even share is 1000.
    assert sorted(most)[len(most) // 2] < 1500


SECOND_NS, MINUTE_USEC = 10**9, 60 * 10**6


def line(number: int, *, after_gap: bool = False) -> Line:
    """Line ``number``, written ``number`` minutes after boot."""
    return Line(number * MINUTE_USEC, b"line %d" % number, number=number, after_gap=after_gap)


@pytest.mark.parametrize(
    ("kept", "held", "whole_since"),
    [
        # The kernel holds the log from boot on, or has overwritten the oldest lines.
        ([], [line(0), line(1)], 0),
        ([], [line(3), line(4)], 3),
        ([], [line(0), line(2, after_gap=True)], 2),
        # journald has the older lines, or some of them.
        ([line(1), line(2), line(3)], [line(3), line(4)], 1),
        ([line(1), line(2, after_gap=True), line(3)], [line(3), line(4)], 2),
        ([line(1), line(2)], [line(4), line(5)], 4),
        ([line(1), line(3)], [line(3), line(4), line(6, after_gap=True)], 6),
        ([line(0), line(1), line(2)], [line(0), line(2, after_gap=True)], 0),
        ([], [], None),
    ],
)
def test_since_when_the_log_has_lost_no_line(kept: list[Line], held: list[Line], whole_since: int | None) -> None:
    whole, from_boot = Whole(), bool(held) and held[0].number == 0
    lines = list(whole.during(joined(kept, held), from_boot=from_boot))
    assert whole.since_usec == (None if whole_since is None else whole_since * MINUTE_USEC)
    # Unknown until the whole log is read.
    next(whole.during(lines or [line(1)], from_boot=True))
    assert whole.since_usec is None


# Minutes since boot of the earliest kill in question, of the journal's first entry, and since when the log is whole.
@pytest.mark.parametrize(
    ("since", "begins", "log_since", "first", "whole"),
    [
        (10, 1, 0, 9.83, True),
        (10, 1, 9, 9.83, True),
        (10, 1, 9.9, 9.83, False),
        (10, 1, None, 9.83, False),
        (10, 10, 0, 10, True),
        (10, 12, 0, 12, False),
        (0, 1, 0, 1, False),
    ],
)
def test_the_span_that_is_searched_and_whether_it_is_whole(
    since: int, begins: int, log_since: float | None, first: float, whole: bool
) -> None:
    asleep_ns, now_ns, minute_ns = 30 * SECOND_NS, 1200 * SECOND_NS, 1000 * MINUTE_USEC
    log_usec = None if log_since is None else int(log_since * MINUTE_USEC)
    found = span(since * minute_ns, begins * MINUTE_USEC, log_usec, Clocks(asleep_ns, shift_ns=0, now_ns=now_ns))
    # The clocks may have drifted since boot.
    assert 0 <= first * minute_ns + asleep_ns - found.first_ns < SECOND_NS
    assert found.whole == whole


def test_the_span_is_earlier_where_the_clock_of_the_log_is_behind() -> None:
    clocks = Clocks(asleep_ns=0, shift_ns=100 * SECOND_NS, now_ns=0)
    since_ns = 300 * SECOND_NS
    assert span(since_ns, 0, 190 * 10**6, clocks) == (190 * SECOND_NS, True)
    assert span(since_ns, 0, 190 * 10**6 + 1, clocks) == (190 * SECOND_NS, False)
    # A clock that is ahead now may have been ahead only for a while, so a negative shift does not count.
    assert span(since_ns, 0, 0, clocks._replace(shift_ns=-clocks.shift_ns)) == (290 * SECOND_NS, True)
