# SPDX-License-Identifier: Apache-2.0
"""Parses the files of /proc about the whole machine: the kernel's rows become values.

Malformed rows are left out; of PSI and vmstat files, rows without a newline as well.
"""

from oomkilld.lighttyping import NamedTuple
from oomkilld.text import printable

# Prefixes of the counters in /proc/vmstat that explain a kill: pages scanned and reclaimed, allocations that had to
# wait for reclaim, file pages that were needed again, swap, kills. Some have a row for each zone or kind of memory.
# And the pages that hold compressed memory now, which no other file has (zswap and zram).
VMSTAT_KEYS = ("allocstall", "oom_kill", "pgscan", "pgsteal", "pswpin", "pswpout", "workingset_refault", "nr_zspages")

_BEGINNINGS = tuple(key.encode() for key in VMSTAT_KEYS)
_AVERAGES = (b"avg10=", b"avg60=", b"avg300=")
_MAX_DIGITS = 20  # of 2^64 - 1


class LoadAverage(NamedTuple):
    """/proc/loadavg: the line, and the averages over 1, 5 and 15 minutes."""

    line: str
    averages: tuple[float, float, float]


class MeminfoRow(NamedTuple):
    """A row of /proc/meminfo. ``in_bytes``: it has a unit, and the value is converted."""

    value: int
    in_bytes: bool


class Stall(NamedTuple):
    """How long tasks waited for a resource: percent of the last 10, 60 and 300 s, and microseconds since boot."""

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
    """``some`` (at least one task waited) and ``full`` (all did), see Documentation/accounting/psi.rst."""
    found = {}
    for line in raw.split(b"\n")[:-1]:
        kind, *words = line.split(b" ")
        if kind not in (b"some", b"full") or len(words) != len(_AVERAGES) + 1:
            continue
        *averages, total = map(_after, words, (*_AVERAGES, b"total="))
        if all(map(_is_percent, averages)) and is_number(total):
            ten, sixty, three_hundred = map(float, averages)
            found[kind.decode()] = Stall((ten, sixty, three_hundred), int(total))
    return found


def counters(raw: bytes) -> dict[str, int]:
    """The rows of /proc/vmstat that begin with one of VMSTAT_KEYS, by key: counts since boot, ``nr_…`` of now."""
    found = {}
    for line in raw.split(b"\n")[:-1]:
        if line.startswith(_BEGINNINGS):
            key, _space, number = line.partition(b" ")
            if is_key(key) and is_number(number):
                found[key.decode()] = int(number)
    return found


def is_key(raw: bytes) -> bool:
    """Whether it is a name of a kernel counter: lower-case letters, digits and ``_``."""
    return raw.islower() and raw.replace(b"_", b"").isalnum()


def is_number(raw: bytes) -> bool:
    """Whether it is a decimal number of about 64 bits at most."""
    return raw.isdigit() and len(raw) <= _MAX_DIGITS


def _after(word: bytes, name: bytes) -> bytes:
    """The value in ``name=value``; empty, which is no valid value, if the word has another name."""
    return word[len(name) :] if word.startswith(name) else b""


def _is_percent(raw: bytes) -> bool:
    """Whether it has the kernel's form: 0.00 to 100.00."""
    whole, point, rest = raw.partition(b".")
    return whole.isdigit() and len(whole) <= 3 and point == b"." and rest.isdigit() and len(rest) == 2
