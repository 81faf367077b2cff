# SPDX-License-Identifier: Apache-2.0
"""The record's layout is the same for a C compiler and for the decoder."""

import ctypes
import re
import struct
import subprocess
from pathlib import Path

import pytest

from oomkilld import recordlayout
from oomkilld.arm import headers
from oomkilld.config.files import DEFAULT_RING_BYTES

TYPEDEFS = """
typedef unsigned long long u64; typedef long long s64; typedef unsigned int u32; typedef int s32;
typedef unsigned short u16; typedef short s16;
"""


@pytest.mark.parametrize(
    ("struct_name", "record"),
    [("kill_record", recordlayout.KILL_RECORD), ("release_record", recordlayout.RELEASE_RECORD)],
)
def test_the_compiler_places_every_member_where_the_decoder_reads_it(
    tmp_path: Path, struct_name: str, record: tuple[recordlayout.Member, ...]
) -> None:
    prints = "".join(
        f'printf("{member.name} %zu\\n", __builtin_offsetof(struct {struct_name}, {member.name}));\n'
        for member in record
    )
    source = tmp_path / "layout.c"
    source.write_text(
        f"#include <stdio.h>\n{TYPEDEFS}{recordlayout.c_declarations()}"
        f'int main(void) {{ {prints} printf("size %zu\\n", sizeof(struct {struct_name})); }}'
    )
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", tmp_path / "layout", source], check=True)
    output = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    offset = 0
    expected = []
    for member in record:
        expected.append(f"{member.name} {offset}")
        sizes = {"u64": 8, "s64": 8, "u32": 4, "s32": 4, "u16": 2, "s16": 2, "char": 1}
        offset += sizes[member.c_type] * member.length
    assert output.splitlines() == [*expected, f"size {struct.calcsize(recordlayout.struct_format(record))}"]
    assert offset == struct.calcsize(recordlayout.struct_format(record))


def test_every_fact_has_a_bit_of_its_own_in_present() -> None:
    bits = list(recordlayout.fact_bits().values())
    assert len(set(bits)) == len(bits)
    assert max(bits) < 1 << 8 * ctypes.sizeof(ctypes.c_uint64)


def test_the_program_fills_every_member_and_counts_in_every_slot() -> None:
    program = Path(__file__).parents[2] / "oomkilld/arm/bpf"
    text = "".join(part.read_text() for part in sorted(program.iterdir()))
    filled = [member.name for member in recordlayout.KILL_RECORD if member.name != "present"]
    # Members that trigger and victim have in common are filled by one macro.
    common = [name.partition("_")[2] for name in filled if name.startswith(("trigger_", "victim_"))]
    generated = [each[0] for each in (*headers.MACHINE_COUNTS, *headers.DOMAIN_COUNTS)]
    missing = [name for name in filled if name not in text and name not in generated]
    assert [name for name in missing if f"who##_{name.partition('_')[2]}" not in text] == []
    assert missing
    assert len(set(common)) < len(common)
    assert [name for name in recordlayout.COUNTERS if f"COUNT_{name}" not in text] == []


def test_no_fact_of_the_previous_victim_remains() -> None:
    cleared = re.search(r"^#define FACTS_OF_VICTIM (0x[0-9a-f]+)ULL$", recordlayout.c_declarations(), re.MULTILINE)
    assert cleared
    left = {name for name, bit in recordlayout.fact_bits().items() if not int(cleared[1], 16) & bit}
    assert {name.partition("_")[0] for name in left} == {
        *("candidates", "cgroup", "chosen", "constraint", "decision", "domain", "gfp", "group", "machine", "order"),
        *("reason", "total", "trigger"),
    }


def test_records_of_hostile_victims_do_not_fill_the_ring_before_they_are_freed() -> None:
    """At 400 kills per second, each freed 2 s after it was sent, plus half a second for the loop."""
    names = 3 * 256  # the name of both programs, and a cpuset
    head = 8 + struct.calcsize(recordlayout.struct_format())
    release = 8 + struct.calcsize(recordlayout.struct_format(recordlayout.RELEASE_RECORD))
    # Without a domain the paths have no common beginning: both are whole.
    longest = (
        head
        + 2 * recordlayout.PATH_ROOM
        + names
        + struct.calcsize(recordlayout.CMDLINE_HEAD)
        + recordlayout.CMDLINE_ROOM
        + release
    )
    short = head + 2 * recordlayout.PATH_ROOM_SHORT + names + release
    ring = DEFAULT_RING_BYTES
    held = ring // 2 // longest + ring // 2 // short
    print(f"at most {longest} bytes a kill, {short} once the ring is half full: {held} kills fill it")
    assert held >= 400 * 2.5
