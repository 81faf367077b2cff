# SPDX-License-Identifier: Apache-2.0
"""What files of /proc say of the whole machine: the kernel's rows become values.

A row that is not as the kernel writes it, or has no end, is left out.
"""

import re
from typing import NamedTuple

from oomkilld.text import printable

# Beginnings of the counters in /proc/vmstat that explain a kill: pages looked at and taken back, allocations that had
# to wait for that, file pages that were needed again, swap, kills. Some have a row for each zone or kind of memory.
VMSTAT_KEYS = ("allocstall", "oom_kill", "pgscan", "pgsteal", "pswpin", "pswpout", "workingset_refault")

_COUNTER = re.compile(rb"^((?:%s)[a-z0-9_]*) (\d{1,20})\n" % "|".join(VMSTAT_KEYS).encode(), re.MULTILINE)
_AVERAGE = rb"(\d{1,3}\.\d\d)"
_STALL = re.compile(
    rb"^(some|full) avg10=%s avg60=%s avg300=%s total=(\d{1,20})\n" % (_AVERAGE, _AVERAGE, _AVERAGE), re.MULTILINE
)


class LoadAverage(NamedTuple):
    """/proc/loadavg: the line, and the averages over 1, 5 and 15 minutes."""

    line: str
    averages: tuple[float, float, float]


class MeminfoRow(NamedTuple):
    """A row of /proc/meminfo; ``in_bytes`` when it has a unit, and the value is converted."""

    value: int
    in_bytes: bool


class Stall(NamedTuple):
    """How long tasks waited for a resource: percent of the last 10, 60 and 300 s, and microseconds since the boot."""

    averages: tuple[float, float, float]
    total_usec: int


def load_average(raw: bytes) -> LoadAverage:
    """See proc_loadavg(5). Raises ValueError."""
    line = raw.rstrip(b"\n")
    one, five, fifteen = (float(word) for word in line.split()[:3])
    return LoadAverage(printable(line), (one, five, fifteen))


def meminfo(raw: bytes) -> dict[str, MeminfoRow]:
    """Rows by key, see proc_meminfo(5)."""
    rows = {}
    for line in raw.splitlines():
        key, _colon, rest = line.partition(b":")
        number, _space, unit = rest.strip().partition(b" ")
        if number.isdigit() and unit in (b"", b"kB"):
            value = int(number) * 1024 if unit else int(number)
            rows[printable(key)] = MeminfoRow(value, bool(unit))
    return rows


def stalls(raw: bytes) -> dict[str, Stall]:
    """``some`` (one task waited, at least) and ``full`` (all did), see Documentation/accounting/psi.rst."""
    return {
        kind.decode(): Stall((float(ten), float(sixty), float(three_hundred)), int(total))
        for kind, ten, sixty, three_hundred, total in _STALL.findall(raw)
    }


def counters(raw: bytes) -> dict[str, int]:
    """Of /proc/vmstat the rows that begin with one of VMSTAT_KEYS, by key: counts since the boot."""
    return {key.decode(): int(number) for key, number in _COUNTER.findall(raw)}
