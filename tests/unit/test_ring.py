# SPDX-License-Identifier: Apache-2.0
"""The ring reader, on memory laid out as the kernel lays it out."""

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.host.syscall import function
from oomkilld.record.capture import ring as ring_module
from oomkilld.record.capture.ring import Counters, Ring, RingCorrupt

PAGE = mmap.PAGESIZE
BUSY, DISCARDED = 1 << 31, 1 << 30


class Kernel:
    """The writing side: a file in place of the map, with its data twice, as the kernel maps it twice."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * size)
        self.produced = 0

    def put(self, record: bytes, flags: int = 0) -> int:
        """The position of the record."""
        content = struct.pack("II", len(record) | flags, 0) + record
        position = self.produced
        self.write(position, content)
        self.produced += (len(content) + 7) & ~7
        os.pwrite(self.fd, struct.pack("Q", self.produced), mmap.PAGESIZE)
        return position

    def write(self, position: int, content: bytes) -> None:
        for i, byte in enumerate(content):
            at = (position + i) % self.size
            for copy in (0, self.size):
                os.pwrite(self.fd, bytes([byte]), 2 * mmap.PAGESIZE + copy + at)

    def consumed(self) -> int:
        return int(struct.unpack("Q", os.pread(self.fd, 8, 0))[0])


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel(PAGE)
    yield made
    os.close(made.fd)


def test_an_empty_ring_has_nothing(kernel: Kernel) -> None:
    assert Ring(kernel.fd, kernel.size).peek(0) is None


def test_records_are_read_in_order_and_stay_until_freed(kernel: Kernel) -> None:
    ring = Ring(kernel.fd, kernel.size)
    kernel.put(b"one")
    kernel.put(b"number two")
    first = ring.peek(ring.consumer_position)
    assert first is not None
    assert first.record == b"one"
    second = ring.peek(first.end)
    assert second is not None
    assert second.record == b"number two"
    assert ring.peek(second.end) is None
    assert kernel.consumed() == 0
    ring.free(first.end)
    assert kernel.consumed() == ring.consumer_position == first.end


def test_a_record_that_is_still_being_written_is_not_read_yet(kernel: Kernel) -> None:
    ring = Ring(kernel.fd, kernel.size)
    at = kernel.put(b"later", BUSY)
    assert ring.peek(0) is None
    kernel.write(at, struct.pack("I", 5))
    item = ring.peek(0)
    assert item is not None
    assert item.record == b"later"


def test_a_discarded_record_is_skipped(kernel: Kernel) -> None:
    ring = Ring(kernel.fd, kernel.size)
    kernel.put(b"never mind", DISCARDED)
    kernel.put(b"this")
    item = ring.peek(0)
    assert item is not None
    assert item.record is None
    following = ring.peek(item.end)
    assert following is not None
    assert following.record == b"this"


def test_a_length_beyond_what_was_written_is_refused(kernel: Kernel) -> None:
    ring = Ring(kernel.fd, kernel.size)
    at = kernel.put(b"short")
    kernel.write(at, struct.pack("I", 4000))
    with pytest.raises(RingCorrupt, match="a record of 4000 bytes at 0, but ends at 16"):
        ring.peek(0)


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=700), min_size=5, max_size=60), st.sampled_from([1, 4, 32]))
def test_records_that_wrap_around_the_ring_arrive_unchanged(records: list[bytes], pages: int) -> None:
    kernel = Kernel(pages * PAGE)
    try:
        ring = Ring(kernel.fd, kernel.size)
        for record in records:
            kernel.put(record)
            item = ring.peek(ring.consumer_position)
            assert item is not None
            assert item.record == record
            ring.free(item.end)
    finally:
        os.close(kernel.fd)


class Noting:
    """Notes each access to its only item, by name."""

    def __init__(self, item: memoryview, name: str, steps: list[str]) -> None:
        self._item, self._name, self._steps = item, name, steps

    def __getitem__(self, at: int) -> int:
        self._steps.append(self._name)
        return int(self._item[at])

    def __setitem__(self, at: int, value: int) -> None:
        self._steps.append(self._name)
        self._item[at] = value


def test_a_barrier_separates_position_header_record_and_freeing(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(ring_module, "_fence", lambda: lambda: steps.append("barrier"))
    ring = Ring(kernel.fd, kernel.size)
    kernel.put(b"ordered")
    monkeypatch.setattr(ring, "_producer", Noting(ring._producer, "produced", steps))
    monkeypatch.setattr(ring, "_consumer", Noting(ring._consumer, "freed", steps))
    read = ring._read

    def noted(at: int, length: int) -> bytes:
        steps.append(f"{length} bytes")
        return read(at, length)

    monkeypatch.setattr(ring, "_read", noted)
    item = ring.peek(0)
    assert item is not None
    assert item.record == b"ordered"
    assert steps == ["produced", "barrier", "4 bytes", "barrier", "7 bytes"]
    steps.clear()
    ring.free(item.end)
    assert steps == ["barrier", "freed"]
    assert kernel.consumed() == item.end


def test_other_processors_have_the_barrier_of_libatomic(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    looked_up: list[tuple[str, str]] = []

    def noted(library: str, name: str) -> Callable[..., int]:
        looked_up.append((library, name))
        real = function(library, name)

        def call(order: int) -> int:
            calls.append(order)
            return real(order)

        return call

    monkeypatch.setattr(ring_module, "function", noted)
    ring_module._fence()()
    assert looked_up == []
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    ring_module._fence()()
    assert looked_up == [("libatomic.so.1", "atomic_thread_fence")]
    assert calls == [5]


@pytest.mark.parametrize("page", [PAGE, 16 << 10, 64 << 10])
def test_a_record_at_the_end_of_a_page_is_read_whole_whatever_the_size_of_pages(
    page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmap, "PAGESIZE", page)
    kernel = Kernel(2 * page)
    try:
        ring = Ring(kernel.fd, kernel.size)
        first = kernel.put(bytes(page - 24))
        kernel.put(record := os.urandom(page // 2))
        item = ring.peek(first + page - 16)
        assert item is not None
        assert item.record == record
    finally:
        os.close(kernel.fd)


def test_counters_are_read_by_name() -> None:
    fd = os.memfd_create("counters")
    os.ftruncate(fd, PAGE)
    os.pwrite(fd, struct.pack("QQ", 7, 9), 0)
    assert Counters(fd, ("lost", "kills")).read() == {"lost": 7, "kills": 9}
    os.close(fd)
