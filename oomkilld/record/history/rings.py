# SPDX-License-Identifier: Apache-2.0
"""The samples: three rings of fixed size, allocated once.

A row holds one sample of each column, in pages: the first HOST columns are rows of /proc/meminfo, each other one is a
cgroup. Rows stand on a fixed grid of CLOCK_BOOTTIME: a slot of the grid has one row or, if nobody read then (suspend, a
late turn), none. Nothing is interpolated.
"""

from array import array

# Of each ring: seconds between its slots, and number of its rows.
GRID = ((1, 60), (12, 60), (300, 72))
HOST = 8
MAX_CGROUPS = 256
LONGEST_NS = GRID[-1][0] * GRID[-1][1] * 10**9
_NS = 10**9
_ROWS = sum(rows for _seconds, rows in GRID)
_MOST = (1 << 32) - 2


def stored(pages: int) -> int:
    """The number that a row holds for a size; 0 means that there is no sample."""
    return min(pages, _MOST) + 1


class Rings:
    """``columns``: the host's and one for each cgroup. Times are nanoseconds of CLOCK_BOOTTIME."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._cells = array("I", bytes(4 * columns * _ROWS))
        view = memoryview(self._cells)
        self._rows = [view[columns * row : columns * (row + 1)] for row in range(_ROWS)]
        self._times = array("Q", bytes(8 * _ROWS))
        self._slots = [-1] * len(GRID)  # of each ring the last one that has a row
        self._last: list[int] = []  # the rows of the last sample
        self._nothing = array("I", bytes(4 * _ROWS))

    def is_free(self, now_ns: int, ring: int) -> bool:
        """Whether the current slot of that ring has no row yet."""
        return now_ns // (GRID[ring][0] * _NS) != self._slots[ring]

    def add(self, now_ns: int, values: "array[int]") -> None:
        """Copy ``values``, one for each column, to every ring whose current slot is free."""
        first = 0
        self._last.clear()
        for ring, (seconds, rows) in enumerate(GRID):
            slot = now_ns // (seconds * _NS)
            if slot != self._slots[ring]:
                row = first + slot % rows
                self._rows[row][:] = values
                self._times[row] = now_ns
                self._slots[ring] = slot
                self._last.append(row)
            first += rows

    def amend(self, now_ns: int, column: int, value: int) -> None:
        """Add a column to the sample of that time, if it is the last one: a cgroup that was found right after it."""
        for row in self._last:
            if self._times[row] == now_ns:
                self._rows[row][column] = value

    def clear(self, column: int) -> None:
        """Forget all samples of a column: it becomes another cgroup's."""
        self._cells[column :: self.columns] = self._nothing

    def rows(self, since_ns: int, until_ns: int) -> list[int]:
        """The rows sampled from ``since_ns`` to ``until_ns``, oldest first, each sample once."""
        by_time = {time: row for row, time in enumerate(self._times) if time and since_ns <= time <= until_ns}
        return [by_time[time] for time in sorted(by_time)]

    def time_ns(self, row: int) -> int:
        return self._times[row]

    def pages(self, row: int, column: int) -> int | None:
        """None: no sample."""
        value = self._rows[row][column]
        return value - 1 if value else None
