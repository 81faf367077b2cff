# SPDX-License-Identifier: Apache-2.0
"""The decoder takes what the kernel writes and refuses everything else."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld import layout
from oomkilld.record.decode import BadRecord, KillRecord, decode
from tests.unit.records import FACTS, raw_record

SIZE = struct.calcsize(layout.struct_format())


def test_every_fact_arrives_as_it_was_sent() -> None:
    kill = decode(raw_record())
    assert {name: value for name, value in FACTS.items() if name in KillRecord._fields} == kill._asdict()


@pytest.mark.parametrize("name", [name for name in layout.fact_bits() if name in KillRecord._fields])
def test_a_fact_that_is_not_present_is_unknown_whatever_its_bytes(name: str) -> None:
    kill = decode(raw_record(unknown=(name,)))
    assert [field for field, value in kill._asdict().items() if value is None] == [name]


def test_pages_below_zero_are_shown_as_the_kernel_shows_them() -> None:
    assert decode(raw_record(victim_shmem_pages=-3)).victim_shmem_pages == 0


def test_points_below_zero_are_kept() -> None:
    assert decode(raw_record(chosen_points=-5)).chosen_points == -5


def test_text_ends_at_its_first_nul() -> None:
    assert decode(raw_record(victim_comm=b"ab\0cd")).victim_comm == b"ab"
    assert decode(raw_record(victim_comm=b"\xff" * 16)).victim_comm == b"\xff" * 16


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", f"found 0 bytes, expected {SIZE}"),
        (raw_record() + b"\0", f"found {SIZE + 1} bytes, expected {SIZE}"),
        (raw_record(layout=1), f"found layout 0x1, expected {layout.layout_id():#x}"),
        (raw_record(victim_pid=0), "found victim 0/4243, expected process and thread ids"),
        (raw_record(victim_tid=0), "found victim 4242/0, expected process and thread ids"),
    ],
)
def test_what_cannot_be_a_kill_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason.replace("(", r"\(")):
        decode(raw)


@settings(max_examples=10_000, deadline=None)
@given(st.one_of(st.binary(max_size=2 * SIZE), st.binary(min_size=SIZE, max_size=SIZE)), st.booleans())
def test_no_bytes_raise_anything_else(raw: bytes, own_layout: bool) -> None:
    if own_layout and len(raw) == SIZE:
        at = struct.calcsize("=" + layout.struct_format()[1 : layout.struct_format().index("I")])
        raw = raw[:at] + struct.pack("=I", layout.layout_id()) + raw[at + 4 :]
    try:
        kill = decode(raw)
    except BadRecord:
        return
    assert kill.victim_pid > 0
