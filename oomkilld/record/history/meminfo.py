# SPDX-License-Identifier: Apache-2.0
"""The rows of /proc/meminfo that are sampled. Found by position: a whole table would be made and dropped each time."""

import os
from array import array

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.history.rings import HOST, stored

# In the order of their columns.
KEYS = ("MemAvailable", "MemFree", "AnonPages", "Cached", "Shmem", "SUnreclaim", "SwapFree", "Dirty")
AVAILABLE = KEYS.index("MemAvailable")
_TOTAL = b"MemTotal:"
_ROWS = tuple(b"\n%s:" % key.encode() for key in KEYS)
_BYTES = 8192
_UNIT = 1024


class Machine(NamedTuple):
    """In pages. None: unknown."""

    available: int | None
    total: int | None


class Meminfo:
    """The file stays open. Raises OSError if it cannot be opened."""

    def __init__(self, page_bytes: int, root: str = "/proc") -> None:
        assert len(KEYS) == HOST
        self._page_bytes = page_bytes
        self._fd = os.open(f"{root}/meminfo", os.O_RDONLY | os.O_CLOEXEC)

    def read(self, values: "array[int]") -> Machine:
        """Write the rows to their columns; a row that this kernel lacks has no sample."""
        try:
            raw = os.pread(self._fd, _BYTES, 0)
        except OSError:
            raw = b""
        available = None
        for column, row in enumerate(_ROWS):
            pages = self._pages(raw, row)
            values[column] = 0 if pages is None else stored(pages)
            if column == AVAILABLE:
                available = pages
        return Machine(available, self._pages(raw, _TOTAL))

    def _pages(self, raw: bytes, row: bytes) -> int | None:
        at = raw.find(row)
        if at < 0:
            return None
        at += len(row)
        number = raw[at : raw.find(b"k", at)].strip()
        return int(number) * _UNIT // self._page_bytes if number.isdigit() else None

    def close(self) -> None:
        os.close(self._fd)
