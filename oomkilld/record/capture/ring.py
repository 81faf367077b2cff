# SPDX-License-Identifier: Apache-2.0
"""Reads a BPF ring buffer through its memory, and frees records only on request.

libbpf's reader frees a record as soon as its callback returns. Here reading and freeing are separate: the records
between the consumer position (shared with the kernel) and a reader's own position stay in the ring, for this process or
the next one. Layout: Linux ``kernel/bpf/ringbuf.c``; page 0 is the consumer position (ours to write), page 1 the
producer position; then come the records, which the kernel maps twice in a row so that none is ever split.

Order, on processors that do not keep it: the kernel writes a header, which says that the record is still being written,
then the producer position (a release), then the record, then the header again; it reads the consumer position with an
acquire. So the position must be read before the header, the header before the record, and a record before it is freed:
between any two of these is a full barrier. A position is read and written whole, because CPython copies an item of a
memory view by one instruction of its size (``ldr`` and ``str`` of 64 bits in Debian's python3.13 for arm64). A header
need not be: after its position was produced only its last byte changes, which has both flags.
"""

import mmap
import os
import sys
from collections.abc import Callable
from functools import partial

from oomkilld.errors import OomkilldError
from oomkilld.host.syscall import function
from oomkilld.record.capture.source import Item, Seen
from oomkilld.schema import NOT_SEEN

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = 8
# A mapping counts as resident in full, so only this much of the records is mapped at a time.
_WINDOW = 64 << 10
_SEQUENTIALLY_CONSISTENT = 5  # __ATOMIC_SEQ_CST of the compilers


class RingCorrupt(OomkilldError):
    """The ring contradicts itself."""


class Ring:
    """The ring behind ``fd``, of ``size`` bytes; ``fd`` must stay open."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._fence = _fence()
        read_write = mmap.PROT_READ | mmap.PROT_WRITE
        self._consumer_page = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, read_write)
        self._producer_page = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE)
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = memoryview(self._producer_page).cast("Q")
        self._window_start = 0
        self._window = self._map(0)

    @property
    def consumer_position(self) -> int:
        return self._consumer[0]

    def free(self, position: int) -> None:
        """Give all records before ``position`` back to the kernel."""
        self._fence()
        self._consumer[0] = position

    def peek(self, position: int) -> Item | None:
        """The record at ``position``; None: there is none yet. Raises RingCorrupt."""
        produced = self._producer[0]
        self._fence()
        if position == produced:
            return None
        header = int.from_bytes(self._read(position, 4), sys.byteorder)
        self._fence()
        if header & _BUSY:
            return None
        length = header & ~_DISCARDED
        end = position + (_HEADER + length + 7 & ~7)
        if end > produced or length > self._size:
            raise RingCorrupt(
                f"the ring holds a record of {length} bytes at {position}, but ends at {produced}",
                "the service restarts with a new ring; report this if it happens again",
            )
        return Item(None if header & _DISCARDED else self._read(position + _HEADER, length), end)

    def _read(self, position: int, length: int) -> bytes:
        at = position & (self._size - 1)
        start = at - self._window_start
        if start < 0 or start + length > len(self._window):
            self._window.close()
            self._window_start = at & -mmap.PAGESIZE
            self._window = self._map(self._window_start)
            start = at - self._window_start
        return self._window[start : start + length]

    def _map(self, start: int) -> mmap.mmap:
        # A record may begin at the end of the first page, and pages may be as large as the window.
        length = min(max(_WINDOW, 2 * mmap.PAGESIZE), 2 * self._size - start)
        offset = 2 * mmap.PAGESIZE + start
        return mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)


class Counters:
    """The BPF program's counters behind ``fd``, by name; read without a system call. Implements ``source.Tally``."""

    not_seen_reason = NOT_SEEN
    seen_until_ns: int | None = None  # the probe counts while the kernel kills

    def __init__(self, fd: int, names: tuple[str, ...]) -> None:
        self._page = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        self._slots = memoryview(self._page).cast("Q")
        self._names = names

    def read(self) -> dict[str, int]:
        return dict(zip(self._names, self._slots, strict=False))

    def seen(self) -> Seen:
        counts = self.read()
        return Seen(counts["kills"], counts["repeats"], counts["lost"])


def _fence() -> Callable[[], object]:
    """Return a memory barrier; it does nothing where the processor keeps the order itself."""
    if os.uname().machine in ("x86_64", "i686"):
        return lambda: None
    return partial(function("libatomic.so.1", "atomic_thread_fence"), _SEQUENTIALLY_CONSISTENT)
