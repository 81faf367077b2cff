# SPDX-License-Identifier: Apache-2.0
"""Loading a kept program: whatever the kernel refuses, nothing stays attached or open."""

import ctypes
import errno
import gc
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from oomkilld.arm import loader
from oomkilld.arm.armed import Armed
from oomkilld.arm.keptprogram import Map, Program, Unusable
from oomkilld.errors import NoRoom
from oomkilld.host.levels import LEVELS, Hook

HOOKS = {level.name: level.hooks for level in LEVELS}
MAPS = [Map("drafts", 2, 4, 32, 1, 0), Map("kills", 27, 0, 0, 4096, 0), Map("counters", 2, 4, 8, 7, 1024)]
LOAD_MAP, NOTHING = 0x1118, 0xB7  # register 1; the last byte is the opcode


def instruction(word: int, value: int) -> bytes:
    return struct.pack("=Hhi", word, 0, value)


class Kernel:
    """libbpf, and the kernel below it, which refuses the call with the number ``fails_at`` with that errno."""

    def __init__(self, fails_at: int | None = None, error: int = 0) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._fails_at = fails_at
        self._error = error

    def _called(self, name: str, arguments: tuple[Any, ...], good: int) -> int:
        self.calls.append((name, arguments))
        if len(self.calls) - 1 == self._fails_at:
            return -self._error
        return os.memfd_create("x", 0) if good else 0

    def bpf_map_create(self, *arguments: Any) -> int:
        return self._called("map", arguments, 1)

    def bpf_map_update_elem(self, *arguments: Any) -> int:
        return self._called("fill", arguments, 0)

    def bpf_prog_load(self, *arguments: Any) -> int:
        return self._called("program", arguments, 1)

    def bpf_raw_tracepoint_open(self, *arguments: Any) -> int:
        return self._called("attach", arguments, 1)


def open_files() -> set[str]:
    gc.collect()  # closes what earlier tests have left
    return set(os.listdir("/proc/self/fd"))


def program_of(level: str, maps: list[Map] = MAPS) -> Program:
    code = instruction(LOAD_MAP, 1) + bytes(8) + instruction(NOTHING, 7)
    return Program(maps, [code] * len(HOOKS[level]))


def load(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, level: str = "tracepoint", **other: Any) -> Armed:
    monkeypatch.setattr(loader, "libbpf", lambda: kernel)
    hooks = HOOKS[level]
    arguments: dict[str, Any] = {"program": program_of(level), "hooks": hooks, "type_ids": [0] * len(hooks)}
    return loader.load(**arguments | {"addresses": [5, 0]} | other)


def test_all_is_loaded_before_anything_is_attached_and_the_addresses_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, before = Kernel(), open_files()
    armed = load(monkeypatch, kernel, "fentry", type_ids=list(range(100, 109)))
    names = [name for name, _arguments in kernel.calls]
    assert names == ["map"] * 3 + ["fill"] + ["program"] * 9 + ["attach"] * 9
    assert kernel.calls[3][1][2] == struct.pack("=2Q", 5, 0) + bytes(16)
    assert len({os.fstat(fd).st_ino for fd in (armed.ring, armed.counters, *armed.probes)}) == 11, "all stay open"
    first = kernel.calls[4][1]
    assert (first[0], first[1], first[2]) == (26, b"exit_oom_victim", b"GPL")
    kills = kernel.calls[1][1]
    assert kills[:5] == (27, b"kills", 0, 0, 4096)
    # The map's number has become its descriptor.
    assert first[3] == instruction(LOAD_MAP, armed.ring) + bytes(8) + instruction(NOTHING, 7)
    assert first[4].value == 3
    options = first[5]._obj
    assert (options.expected_attach_type, options.attach_btf_id) == (24, 100)
    for fd in open_files() - before:
        with suppress(OSError):  # the listing's own
            os.close(int(fd))


CALLS = 3 + 1 + 3 + 3  # maps, addresses, programs, attachments
WHAT = [
    *("to create the map drafts", "to create the map kills", "to create the map counters"),
    "to write the kernel's addresses",
    *(
        f"the program for a raw_tracepoint on {name}"
        for name in ("sched_process_exit", "signal_generate", "mark_victim")
    ),
    *(f"to attach a raw_tracepoint on {name}" for name in ("sched_process_exit", "signal_generate", "mark_victim")),
]


@pytest.mark.parametrize("number", range(CALLS))
@pytest.mark.parametrize("error", [errno.EINVAL, errno.E2BIG, errno.ENOENT])
def test_whatever_the_kernel_refuses_is_named_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch, number: int, error: int
) -> None:
    before = open_files()
    with pytest.raises(Unusable) as caught:
        load(monkeypatch, Kernel(number, error))
    assert str(caught.value) == f"the kernel refused {WHAT[number]}: {os.strerror(error)}"
    assert open_files() == before


@pytest.mark.parametrize("number", range(CALLS))
def test_a_missing_privilege_and_a_lack_of_room_are_told_from_a_refusal(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = open_files()
    with pytest.raises(loader.Forbidden):
        load(monkeypatch, Kernel(number, errno.EPERM))
    # For a program, that is the verifier's word.
    refused = loader.Forbidden if WHAT[number].startswith("to attach") else Unusable
    with pytest.raises(refused):
        load(monkeypatch, Kernel(number, errno.EACCES))
    for error in (errno.ENOMEM, errno.EMFILE, errno.ENOSPC):
        with pytest.raises(NoRoom, match="the kernel has no resources for the probe"):
            load(monkeypatch, Kernel(number, error))
    assert open_files() == before


@pytest.mark.parametrize("missing", ["drafts", "kills", "counters"])
def test_a_program_without_one_of_its_maps_is_refused(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    before = open_files()
    # In its place is another one, so that every number has a map.
    maps = [each._replace(name="other") if each.name == missing else each for each in MAPS]
    with pytest.raises(Unusable, match=f"found no map {missing}"):
        load(monkeypatch, Kernel(), program=program_of("tracepoint", maps))
    assert open_files() == before


def test_too_few_programs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before, program = open_files(), program_of("tracepoint")
    with pytest.raises(Unusable, match="found programs for 2 hooks, expected 3"):
        load(monkeypatch, Kernel(), program=program._replace(instructions=program.instructions[:2]))
    assert open_files() == before


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (instruction(LOAD_MAP, 3) + bytes(8), "1, 3"),  # no such map
        (instruction(0x2118, 0) + bytes(8), "2, 0"),  # a value in a map
        (instruction(0x3118, 7) + bytes(8), "3, 7"),  # a variable of the kernel, by its type
    ],
)
def test_an_instruction_that_refers_to_anything_but_a_map_is_refused(code: bytes, found: str) -> None:
    with pytest.raises(Unusable, match=f"refers to {found}, expected a map"):
        loader.with_maps(instruction(NOTHING, 0) + code, {0: 10, 1: 11, 2: 12})


def test_the_second_half_of_a_long_instruction_is_no_instruction() -> None:
    code = instruction(0x0118, 7) + instruction(LOAD_MAP, 9) + instruction(LOAD_MAP, 2) + bytes(8)
    assert loader.with_maps(code, {2: 12}) == (
        instruction(0x0118, 7) + instruction(LOAD_MAP, 9) + instruction(LOAD_MAP, 12) + bytes(8)
    )


@pytest.mark.parametrize("code", [b"\x18", instruction(LOAD_MAP, 1)[:7], instruction(NOTHING, 1) + b"\0"])
def test_a_part_of_an_instruction_is_refused(code: bytes) -> None:
    with pytest.raises(Unusable, match="part of an instruction"):
        loader.with_maps(code, {1: 11})


def test_a_kprobe_is_a_perf_event_as_the_kernel_describes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_KPROBES", tmp_path)
    hook = Hook("kretprobe", "oom_kill_process", "on_decision_closed")
    with pytest.raises(Unusable, match="Failed to find out how to attach a kretprobe on oom_kill_process"):
        loader._attach(Kernel(), hook, 0)  # type: ignore[arg-type]
    assert ctypes.sizeof(loader._PerfEvent) == 72  # PERF_ATTR_SIZE_VER1
    assert ctypes.sizeof(loader._ProgramOptions) == 40
    assert ctypes.sizeof(loader._MapOptions) == 32
