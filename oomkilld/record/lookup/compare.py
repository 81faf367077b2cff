# SPDX-License-Identifier: Apache-2.0
"""Compares the kills in the log with those that have entries, one part at a time."""

import os
import sys
from array import array
from collections.abc import Callable
from typing import NamedTuple

from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup import match
from oomkilld.record.lookup.begin import Alive
from oomkilld.record.lookup.columns import LoggedColumns, RecordedColumns
from oomkilld.record.lookup.loggedkills import Logged
from oomkilld.record.lookup.match import Clocks

# Lines and entries per part; some 20 MB.
PART = 20_000


class Comparison(NamedTuple):
    """What a comparison needs. Entries of kills after ``read_ns`` do not count as known."""

    line_id: Callable[[KillRecord], str]
    clocks: Clocks
    read_ns: int


def compare(
    logged: LoggedColumns, first: int, recorded: RecordedColumns, by: Comparison, alive: Alive
) -> tuple["array[int]", int]:
    """Positions of the kills from ``first`` on without an entry, after correcting their times; number of known entries.

    Only kills with the same thread id can be the same one. So the parts are made by thread id, and each part compares
    the clocks for itself.
    """
    parts = 1 + (len(logged) - first + len(recorded)) // PART
    found, known = array("q"), 0
    salt = int.from_bytes(os.urandom(8), sys.byteorder) | 1
    lines, entries = _by_part(logged.tids, first, parts, salt), _by_part(recorded.tids, 0, parts, salt)
    for line_places, entry_places in zip(lines, entries, strict=True):
        alive.tell()
        part = [Logged(logged.kill(at), logged.repeats.get(at, 0), at) for at in line_places]
        recorded_part = [recorded.recorded(at) for at in entry_places]
        for each in match.unrecorded(part, recorded_part, by.line_id, by.clocks):
            logged.times_ns[each.at] = each.kill.kill_boottime_ns
            found.append(each.at)
        known += len({each.kill_id for each in recorded_part if each.boottime_ns <= by.read_ns})
    return array("q", sorted(found)), known


def _by_part(tids: "array[int]", first: int, parts: int, salt: int) -> list["array[int]"]:
    """``salt``, an odd number, spreads thread ids that somebody chose so that all are in one part."""
    places = [array("q") for _ in range(parts)]
    for at in range(first, len(tids)):
        places[(tids[at] * salt >> 32 & 0xFFFFFFFF) % parts].append(at)
    return places
