# SPDX-License-Identifier: Apache-2.0
"""The result of arming, which the privileged stage reads back although the other stage could have replaced it."""

import json
import marshal
import os
from typing import Any

import pytest

from oomkilld.arm import keptarming
from oomkilld.service.handover import Arming, seal

ARMING = Arming(
    *("fentry", {"kprobe": "why"}, "tracepoint", True, 4096, 6, 77, None, ["CONSTRAINT_NONE", ""]),
    {"GFP_USER": 0x100CC0, "GFP_KERNEL": 0xCC0, "__GFP_IO": 0x40},
)


def test_it_comes_back_in_its_order() -> None:
    back = keptarming.read(keptarming.keep(ARMING))
    assert back == ARMING
    assert back is not None
    # The order of the names is the kernel's, and matters.
    assert list(back.gfp_names) == list(ARMING.gfp_names)


FORGED: dict[str, list[Any]] = {
    "level": ["magic", None, ["fentry"]],
    "level_failures": [{"magic": ""}, {"kprobe": 7}, ["kprobe"], None, {"kprobe": "\ud800"}, {"kprobe": "a\nb"}],
    "level_below": ["magic", 7],
    "exact": [1, None],
    "ring_bytes": [0, -4096, 5000, 1 << 40, "4096", True],
    "probes": [-1, 17, 1 << 60, 6.0, True],
    "made_boottime_ns": [-1, 1 << 64, "77"],
    "kills_before": [-1, 1.5, False],
    "constraints": [[7], "CONSTRAINT_NONE", ["x"] * 257],
    "gfp_names": [{"GFP_USER": "1"}, {"GFP_USER": -1}, []],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FORGED.items() for value in values])
def test_a_result_that_arming_cannot_have_is_refused(name: str, value: Any) -> None:
    told = ARMING._replace(**{name: value})
    assert keptarming.read(keptarming.keep(told)) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", marshal.dumps(ARMING._asdict()), b"[" * 50_000, json.dumps([*ARMING, 1]).encode()],
)
def test_other_content_is_refused(content: bytes) -> None:
    assert keptarming.read(seal(content)) is None


def test_a_file_that_is_unsealed_or_too_large_or_not_in_memory_is_refused() -> None:
    open_to_change = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(open_to_change, json.dumps(ARMING).encode())
    reading, writing = os.pipe()
    for fd in (open_to_change, seal(json.dumps(ARMING).encode() + b" " * (1 << 17)), reading):
        assert keptarming.read(fd) is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    os.close(writing)
