# SPDX-License-Identifier: Apache-2.0
"""Allocation flags get the names that the kernel's own log gives them.

``formats/`` holds the format of the event kmem:mm_page_alloc: that of 6.18 from its tracefs, the others from images of
Debian's kernels, where the tracing code has not yet replaced words by numbers.
"""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.arm.btf import Btf
from oomkilld.arm.gfpnames import EVENT, NotUnderstood, flag_list, single_bits
from oomkilld.host.system import VMLINUX, System
from oomkilld.record.entry.killentry import flag_names
from tests.support import pace

FORMATS = {path.name: path.read_text() for path in Path(__file__).with_name("formats").iterdir()}
OLD = ("5.10", "6.1", "6.12")
NEW = ("6.18", "7.3")
# By number, from the BTF of 6.12; 7.3 lacks the last one.
BITS = (
    *("DMA", "HIGHMEM", "DMA32", "MOVABLE", "RECLAIMABLE", "HIGH", "IO", "FS", "ZERO", "UNUSED", "DIRECT_RECLAIM"),
    *("KSWAPD_RECLAIM", "WRITE", "NOWARN", "RETRY_MAYFAIL", "NOFAIL", "NORETRY", "MEMALLOC", "COMP", "NOMEMALLOC"),
    *("HARDWALL", "THISNODE", "ACCOUNT", "ZEROTAGS", "NO_OBJ_EXT"),
)


def enumerators(names: Collection[str]) -> dict[str, int]:
    return {f"___GFP_{bit}_BIT": i for i, bit in enumerate(BITS) if f"___GFP_{bit}_BIT" in names}


def no_enumerators(_names: Collection[str]) -> dict[str, int]:
    return {}


def event_format(flags: str) -> str:
    return f'print fmt: "gfp_flags=%s", (REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", {flags}) : "none"'


# From kernel logs: "invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL)". Linux 6.14 reversed the words of the fourth and
# the fifth line.
@pytest.mark.parametrize(
    ("kernels", "mask", "words"),
    [
        (OLD + NEW, 0xCC0, "GFP_KERNEL"),
        (OLD + NEW, 0x100CCA, "GFP_HIGHUSER_MOVABLE"),
        (OLD + NEW, 0x140CCA, "GFP_HIGHUSER_MOVABLE|__GFP_COMP"),
        (OLD, 0x140DCA, "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"),
        (NEW, 0x140DCA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP"),
        (OLD, 0x440DC0, "GFP_KERNEL_ACCOUNT|__GFP_COMP|__GFP_ZERO"),
        (NEW, 0x440DC0, "GFP_KERNEL_ACCOUNT|__GFP_ZERO|__GFP_COMP"),
        (OLD + NEW, 0x400DC0, "GFP_KERNEL_ACCOUNT|__GFP_ZERO"),
        (OLD + NEW, 0x50CC0, "GFP_KERNEL|__GFP_NORETRY|__GFP_COMP"),
        # Not from logs, but by the kernel's rules.
        (("5.10", "6.1"), 0xEC0, "GFP_KERNEL|__GFP_ATOMIC"),
        (("6.12", *NEW), 0xEC0, "GFP_KERNEL|0x200"),
        (OLD + NEW, 0x80000CC0, "GFP_KERNEL|0x80000000"),
        (OLD + NEW, 0, "none"),
    ],
)
def test_each_kernels_names_are_used(kernels: tuple[str, ...], mask: int, words: str) -> None:
    for kernel in kernels:
        assert flag_names(mask, flag_list(FORMATS[kernel], enumerators)) == words


def test_words_that_tracing_replaced_need_no_btf() -> None:
    assert flag_list(FORMATS["6.18"], no_enumerators) == flag_list(FORMATS["6.18"], enumerators)
    with pytest.raises(NotUnderstood, match="found '___GFP_DIRECT_RECLAIM_BIT', expected a value"):
        flag_list(FORMATS["7.3"], no_enumerators)


@pytest.mark.parametrize("kernel", FORMATS)
def test_each_mask_has_its_own_name(kernel: str) -> None:
    names = flag_list(FORMATS[kernel], enumerators)
    assert len(names) == FORMATS[kernel].count('"}')
    assert all(0 < mask <= 0xFFFFFFFF for mask in names.values())
    # Or an earlier name of the same mask.
    first: dict[int, str] = {}
    for name, mask in names.items():
        assert flag_names(mask, names) == first.setdefault(mask, name)


@pytest.mark.parametrize(
    ("expression", "mask"),
    [
        ("0x400u", 0x400),
        ("(1UL << 5)", 0x20),
        ("((gfp_t)((((gfp_t)0x400u)|((gfp_t)0x800u))))", 0xC00),
        ("( unsigned long)(( gfp_t)((((1UL))) << (___GFP_IO_BIT)))", 0x40),
        ("0x3u | 0x4u & 0x6u ^ 0x10u << 1", 0x27),
        ("0x100 >> 4 >> 2", 4),
        ("7 - 2 - 1 + 1", 5),
        ("(gfp_t)0xffffffffu & ~(gfp_t)0xfu", 0xFFFFFFF0),
        ("~~5 & ~0", 5),
        ("0 - 1", 0xFFFFFFFFFFFFFFFF),
        ("0", 0),
    ],
)
def test_masks_are_computed_as_in_c(expression: str, mask: int) -> None:
    assert flag_list(event_format(f'{{{expression}, "X"}}'), enumerators) == {"X": mask}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print fmt: nothing", "found no list of gfp_flags"),
        (event_format(""), "found no flags"),
        (event_format("{ 0, ((void *)0) }"), "found no flags"),
        (event_format('{1 << 64, "X"}'), "found a shift by 64"),
        (event_format('{1 << (0 - 1), "X"}'), "found a shift by -1"),
        (event_format('{0400, "X"}'), "found '0400', expected a number"),
        (event_format('{___GFP_NO_SUCH_BIT, "X"}'), "found '___GFP_NO_SUCH_BIT', expected a value"),
        (event_format('{sizeof(int), "X"}'), "found 'sizeof', expected a value"),
        (event_format('{1, "X"}, 2'), "found '2', expected ')'"),
        (event_format('{1 "X"}'), "found 'X', expected ','"),
        (event_format('{1, "X" 2}'), "found '2', expected '}'"),
        (event_format("{1 @"), "in the list of gfp_flags"),
        (event_format("{" + 51 * "(" + "1" + 51 * ")" + ', "X"}'), "more than 50 deep"),
        (event_format("{" + 5000 * "~" + '1, "X"}'), "more than 50 deep"),
        (event_format("{(unsigned long"), "in the list of gfp_flags"),
        (event_format("{(1"), "in the list of gfp_flags"),
    ],
)
def test_a_list_that_is_not_understood_is_reported(text: str, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=f"^format of {EVENT}: ") as caught:
        flag_list(text, enumerators)
    assert reason in str(caught.value)


@settings(max_examples=pace.examples(2_000))
@given(
    st.lists(
        st.sampled_from(
            [*'{}(),|^&~+-*"', "<<", ">>", "1", "0x8u", "gfp_t", "unsigned", "___GFP_IO_BIT", '"X"', '{1, "X"}', " "]
        )
    )
)
def test_no_text_raises_anything_else(parts: list[str]) -> None:
    with suppress(NotUnderstood):
        flag_list(event_format("".join(parts)), enumerators)


def test_without_tracing_the_names_of_single_bits_are_used() -> None:
    names = single_bits(enumerators)
    assert flag_names(0xCC0, names) == "__GFP_IO|__GFP_FS|__GFP_DIRECT_RECLAIM|__GFP_KSWAPD_RECLAIM"
    assert flag_names(0x200, names) == "0x200"


def test_without_any_names_there_are_no_words() -> None:
    assert single_bits(no_enumerators) == {}
    assert flag_names(0xCC0, {}) is None


def test_a_name_without_flags_is_printed_as_the_kernel_prints_it() -> None:
    # (flags & 0) == 0 matches a flag that the kernel was built without, if it is in the list.
    assert flag_names(3, {"A": 1, "NONE": 0, "B": 2, "NEVER": 0}) == "A|NONE|B"


@pytest.mark.parametrize("mounted_at", ["sys/kernel/tracing", "sys/kernel/debug/tracing"])
def test_tracefs_is_found_at_either_place(tmp_path: Path, mounted_at: str) -> None:
    assert System(tmp_path).event_format(EVENT) is None
    directory = tmp_path / mounted_at / "events" / EVENT
    directory.mkdir(parents=True)
    (directory / "format").write_text(FORMATS["6.18"])
    assert System(tmp_path).event_format(EVENT) == FORMATS["6.18"]


@pytest.mark.skipif(not VMLINUX.exists(), reason=f"{VMLINUX} is missing")
def test_this_kernels_own_flags_are_understood() -> None:
    btf = Btf()
    bits = single_bits(btf.enumerators)
    text = System().event_format(EVENT)
    listed = {} if text is None else flag_list(text, btf.enumerators)
    btf.close()
    assert {name: mask for name, mask in bits.items() if name in listed and listed[name] != mask} == {}
