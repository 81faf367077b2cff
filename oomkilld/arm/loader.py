# SPDX-License-Identifier: Apache-2.0
"""Loads and attaches a program that was compiled before. Needs libbpf only."""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from oomkilld.arm.armed import Armed
from oomkilld.arm.keptprogram import Map, Program, Unusable
from oomkilld.errors import NO_ROOM, NoRoom
from oomkilld.host.levels import Hook, Kind

# The map whose only value begins with the addresses, see bpf/draft.h.
DRAFTS = "drafts"
# linux/bpf.h: opcode and registers of an instruction that loads 64 bits, and then: type of program, type of attachment.
_LOAD_64, _OF_A_MAP = 0x18, 1
_TYPES: dict[Kind, tuple[int, int]] = {
    "kprobe": (2, 0),
    "kretprobe": (2, 0),
    "raw_tracepoint": (17, 0),
    "fentry": (26, 24),
    "fexit": (26, 25),
}
_INSTRUCTION = struct.Struct("=BBhi")
_LICENSE = b"GPL"  # the program calls helpers that require it
# linux/perf_event.h.
_SET_BPF, _ENABLE, _CLOEXEC = 0x40042408, 0x2400, 8
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_KPROBES = Path("/sys/bus/event_source/devices/kprobe")


class Forbidden(Exception):
    """The kernel denies this process what attaching needs."""


class _MapOptions(ctypes.Structure):
    """The beginning of libbpf's ``struct bpf_map_create_opts``."""

    _fields_ = [("sz", ctypes.c_size_t), ("unused", ctypes.c_uint32 * 5), ("map_flags", ctypes.c_uint32)]


class _ProgramOptions(ctypes.Structure):
    """The beginning of libbpf's ``struct bpf_prog_load_opts``."""

    _fields_ = [
        *(("sz", ctypes.c_size_t), ("attempts", ctypes.c_int), ("expected_attach_type", ctypes.c_int)),
        *(("unused", ctypes.c_uint32 * 4), ("attach_btf_id", ctypes.c_uint32)),
    ]


class _PerfEvent(ctypes.Structure):
    """``struct perf_event_attr`` up to PERF_ATTR_SIZE_VER1."""

    _fields_ = [
        *(("type", ctypes.c_uint32), ("size", ctypes.c_uint32), ("config", ctypes.c_uint64)),
        *(("sample_period", ctypes.c_uint64), ("unused", ctypes.c_uint64 * 3), ("wakeup_events", ctypes.c_uint32)),
        *(("bp_type", ctypes.c_uint32), ("kprobe_func", ctypes.c_char_p), ("probe_offset", ctypes.c_uint64)),
    ]


def load(program: Program, hooks: Sequence[Hook], type_ids: Sequence[int], addresses: Sequence[int]) -> Armed:
    """Make the maps, load the program for each of ``hooks``, then attach them in this order.

    Raises Unusable, Forbidden or NoRoom with nothing left attached.
    """
    library = libbpf()
    with ExitStack() as unless_complete:

        def opened(result: int, what: str, forbidden: Collection[int] = (errno.EPERM,)) -> int:
            _check(result, what, forbidden)
            unless_complete.callback(os.close, result)
            return result

        maps = [opened(_make(library, each), f"to create the map {each.name}") for each in program.maps]
        named = {each.name: (fd, each) for each, fd in zip(program.maps, maps, strict=True)}
        if missing := sorted({DRAFTS, "kills", "counters"} - named.keys()):
            raise Unusable(f"found no map {missing[0]}")
        drafts, plan = named[DRAFTS]
        _check(fill(library, drafts, plan.value_bytes, addresses), "to write the kernel's addresses", (errno.EPERM,))
        if len(program.instructions) != len(hooks):
            raise Unusable(f"found programs for {len(program.instructions)} hooks, expected {len(hooks)}")
        programs = []
        for hook, type_id, instructions in zip(hooks, type_ids, program.instructions, strict=True):
            code = with_maps(instructions, dict(enumerate(maps)))
            programs.append(opened(_load(library, hook, type_id, code), f"the program for a {_name(hook)}"))
        probes = [
            opened(_attach(library, hook, loaded), f"to attach a {_name(hook)}", (errno.EPERM, errno.EACCES))
            for hook, loaded in zip(hooks, programs, strict=True)
        ]
        unless_complete.pop_all()
    return Armed(named["kills"][0], named["counters"][0], probes)


def fill(library: ctypes.CDLL, drafts: int, value_bytes: int, addresses: Sequence[int]) -> int:
    """Write the addresses into the only value of that map. Returns 0, or a negative errno."""
    value = struct.pack(f"={len(addresses)}Q", *addresses).ljust(value_bytes, b"\0")
    key = ctypes.c_uint32(0)
    return int(library.bpf_map_update_elem(drafts, ctypes.byref(key), value, ctypes.c_uint64(0)))


def with_maps(instructions: bytes, to: Mapping[int, int]) -> bytes:
    """The instructions with each map replaced by what ``to`` has for it. Raises Unusable for any other reference."""
    changed = bytearray(instructions)
    if len(changed) % _INSTRUCTION.size:
        raise Unusable("found part of an instruction")
    at = 0
    while at < len(changed):
        opcode, registers, offset, value = _INSTRUCTION.unpack_from(changed, at)
        if opcode == _LOAD_64:
            if (source := registers >> 4) not in (0, _OF_A_MAP) or (source and value not in to):
                raise Unusable(f"found an instruction that refers to {source}, {value}, expected a map")
            if source:
                _INSTRUCTION.pack_into(changed, at, opcode, registers, offset, to[value])
            at += _INSTRUCTION.size
        at += _INSTRUCTION.size
    return bytes(changed)


def libbpf() -> ctypes.CDLL:
    """Raises Unusable."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise Unusable(f"Failed to load libbpf: {error}") from error
    # Its own messages would go to stderr.
    library.libbpf_set_print(None)
    return library


def _check(result: int, what: str, forbidden: Collection[int]) -> None:
    """``result``: at least 0, or a negative errno. ``what`` the kernel refused; ``forbidden``: a missing privilege."""
    if result >= 0:
        return
    why = f"{what}: {os.strerror(-result)}"
    if -result in NO_ROOM:
        message = f"the kernel has no resources for the probe ({why})"
        raise NoRoom(message, "free memory or files; systemd restarts the service")
    if -result in forbidden:
        raise Forbidden(why)
    raise Unusable(f"the kernel refused {why}")


def _name(hook: Hook) -> str:
    return f"{hook.kind} on {hook.target}"


def _make(library: ctypes.CDLL, plan: Map) -> int:
    options = _MapOptions(sz=ctypes.sizeof(_MapOptions), map_flags=plan.flags)
    words = (plan.kind, plan.name.encode(), plan.key_bytes, plan.value_bytes, plan.entries)
    return int(library.bpf_map_create(*words, ctypes.byref(options)))


def _load(library: ctypes.CDLL, hook: Hook, type_id: int, code: bytes) -> int:
    kind, attach_type = _TYPES[hook.kind]
    options = _ProgramOptions(
        sz=ctypes.sizeof(_ProgramOptions), expected_attach_type=attach_type, attach_btf_id=type_id
    )
    name = (hook.function or hook.target).encode()
    length = ctypes.c_size_t(len(code) // _INSTRUCTION.size)
    return int(library.bpf_prog_load(kind, name, _LICENSE, code, length, ctypes.byref(options)))


def _attach(library: ctypes.CDLL, hook: Hook, program: int) -> int:
    if hook.kind in ("kprobe", "kretprobe"):
        return _attach_kprobe(hook, program)
    event = hook.target.encode() if hook.kind == "raw_tracepoint" else None
    return int(library.bpf_raw_tracepoint_open(event, program))


def _attach_kprobe(hook: Hook, program: int) -> int:
    """A perf event, as bcc makes it."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        returns_bit = int((_KPROBES / "format/retprobe").read_text().removeprefix("config:"))
        event = _PerfEvent(
            type=int((_KPROBES / "type").read_text()),
            size=ctypes.sizeof(_PerfEvent),
            config=(hook.kind == "kretprobe") << returns_bit,
            sample_period=1,
            wakeup_events=1,
            kprobe_func=hook.target.encode(),
        )
        number = _PERF_EVENT_OPEN[os.uname().machine]
    except (OSError, ValueError, KeyError) as error:
        raise Unusable(f"Failed to find out how to attach a {_name(hook)}: {error!r}") from error
    fd = int(libc.syscall(number, ctypes.byref(event), -1, 0, -1, _CLOEXEC))
    if fd < 0:
        return -ctypes.get_errno()
    try:
        fcntl.ioctl(fd, _SET_BPF, program)
        fcntl.ioctl(fd, _ENABLE, 0)
    except OSError as error:
        os.close(fd)
        return -(error.errno or errno.EIO)
    return fd
