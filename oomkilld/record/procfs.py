# SPDX-License-Identifier: Apache-2.0
"""Reads the system's state from /proc, below an injectable root."""

from typing import NamedTuple

from oomkilld.text import printable


class LoadAverage(NamedTuple):
    """/proc/loadavg: the line, and the averages over 1, 5 and 15 minutes."""

    line: str
    averages: tuple[float, float, float]


class MeminfoRow(NamedTuple):
    """A row of /proc/meminfo; ``in_bytes`` when it has a unit, and the value is converted."""

    value: int
    in_bytes: bool


class ProcReader:
    """Every method raises OSError or ValueError (a file that is not as the kernel writes it)."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root

    def load_average(self) -> LoadAverage:
        """See proc_loadavg(5)."""
        line = self._read("loadavg").rstrip(b"\n")
        one, five, fifteen = (float(word) for word in line.split()[:3])
        return LoadAverage(printable(line), (one, five, fifteen))

    def meminfo(self) -> dict[str, MeminfoRow]:
        """All rows by key, see proc_meminfo(5). A row that is not ``Key: number [kB]`` is left out."""
        rows = {}
        for line in self._read("meminfo").splitlines():
            key, _colon, rest = line.partition(b":")
            number, _space, unit = rest.strip().partition(b" ")
            if number.isdigit() and unit in (b"", b"kB"):
                value = int(number) * 1024 if unit else int(number)
                rows[printable(key)] = MeminfoRow(value, bool(unit))
        return rows

    def _read(self, name: str) -> bytes:
        with open(f"{self._root}/{name}", "rb", buffering=0) as file:
            return file.read()
