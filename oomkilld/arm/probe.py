# SPDX-License-Identifier: Apache-2.0
"""Compiles, loads and attaches the BPF program. The only module that imports bcc, which contains LLVM."""

import ctypes
import os
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from bcc import BPF, lib

from oomkilld.arm import keptprogram, loader
from oomkilld.arm.kallsyms import addresses_hidden
from oomkilld.host.levels import Hook, Kind, wanted_levels

PROGRAM = Path(__file__).with_name("bpf") / "oomkill.bpf.c"
Step = Literal["compile", "load", "attach"]


class ProbeFailure(Exception):
    """The step that failed, bcc's own message, which does not reliably name the cause, and the kernel's errno."""

    def __init__(self, step: Step, what: str, detail: str) -> None:
        super().__init__(f"{step} {what}: {detail}")
        self.step: Step = step
        self.what = what
        self.errno = ctypes.get_errno()


class _Module(BPF):  # type: ignore[misc]
    """bcc's module without automatic attaching: this program decides the order and handles the errors."""

    def _trace_autoload(self) -> None:
        """Do nothing; bcc would attach every function whose name has a prefix of the level fentry."""


_PROGRAM_TYPES: dict[Kind, int] = {
    "kprobe": BPF.KPROBE,
    "kretprobe": BPF.KPROBE,
    "fentry": BPF.TRACING,
    "fexit": BPF.TRACING,
    "raw_tracepoint": BPF.RAW_TRACEPOINT,
}


class Program:
    """The program compiled for one level, with its maps made. Raises ProbeFailure."""

    def __init__(self, headers: Path, ring_bytes: int, level: str, *, cmdline: bool) -> None:
        (self._level,) = wanted_levels(level)
        os.environ["BCC_KERNEL_SOURCE"] = str(headers)
        pages = ring_bytes // os.sysconf("SC_PAGESIZE")
        # bcc optimizes clang's output, so clang need not. Nothing reads the program's own type and line information,
        # which bcc requests and which would take a quarter of the compilation.
        flags = [f"-DRING_PAGES={pages}", f"-DLEVEL_{level}", "-Xclang", "-disable-llvm-passes", "-g0"]
        flags += ["-DCMDLINE"] if cmdline else []
        ctypes.set_errno(0)
        try:
            with addresses_hidden():
                self._module = _Module(text=PROGRAM.read_text(), cflags=flags)
        except Exception as error:  # bcc raises bare Exception for every error of clang or the kernel
            raise ProbeFailure("compile", PROGRAM.name, str(error)) from error

    def attach(self, lacking: Collection[str], addresses: Sequence[int]) -> list[int]:
        """Load and attach the level's hooks in order, except those on ``lacking``. Raises ProbeFailure.

        ``addresses``: of headers.ADDRESSES; 0: unknown. Returns file descriptors, as in Armed: ring, counters, and
        those that keep the program attached.
        """
        module = self._module
        self._fill(addresses)
        probe_fds: list[int] = []
        for hook in self._hooks(lacking):
            name = f"{hook.kind} on {hook.target}"
            function = hook.function or _function_of(module, hook)
            ctypes.set_errno(0)
            try:
                module.load_func(function, _PROGRAM_TYPES[hook.kind])
            except Exception as error:
                raise ProbeFailure("load", name, str(error)) from error
            known = _probe_fds(module)
            try:
                _attach_hook(module, hook, function)
            except Exception as error:
                raise ProbeFailure("attach", name, str(error)) from error
            probe_fds += _probe_fds(module) - known
        return [module["kills"].map_fd, module["counters"].map_fd, *probe_fds]

    def compiled(self, lacking: Collection[str]) -> keptprogram.Program:
        """What was compiled for these hooks. Raises loader.Unusable, or what bcc raises."""
        module = self._module
        maps = self._maps()
        numbers = {fd: number for number, fd in enumerate(maps)}
        instructions = []
        for hook in self._hooks(lacking):
            function = (hook.function or _function_of(module, hook)).encode()
            start, size = (of(module.module, function) for of in (lib.bpf_function_start, lib.bpf_function_size))
            instructions.append(loader.with_maps(ctypes.string_at(start, size), numbers))
        return keptprogram.Program(list(maps.values()), instructions)

    def _hooks(self, lacking: Collection[str]) -> list[Hook]:
        return [hook for hook in self._level.hooks if hook.target not in lacking]

    def _fill(self, addresses: Sequence[int]) -> None:
        library = loader.libbpf()
        drafts, plan = next((fd, plan) for fd, plan in self._maps().items() if plan.name == loader.DRAFTS)
        number = -loader.fill(library, drafts, plan.value_bytes, addresses)
        if number:
            ctypes.set_errno(number)
            raise ProbeFailure("load", "map of drafts", os.strerror(number))

    def _maps(self) -> dict[int, keptprogram.Map]:
        """The module's maps by file descriptor, in bcc's order."""
        library, module = loader.libbpf(), ctypes.c_void_p(self._module.module)
        lib.bpf_num_tables.restype, lib.bpf_table_name.restype = ctypes.c_ulonglong, ctypes.c_char_p
        names = [lib.bpf_table_name(module, ctypes.c_ulonglong(i)) for i in range(lib.bpf_num_tables(module))]
        maps = {}
        for name in names:
            fd = lib.bpf_table_fd(module, name)
            # The beginning of struct bpf_map_info, linux/bpf.h.
            told, size = ctypes.create_string_buffer(24), ctypes.c_uint32(24)
            if library.bpf_obj_get_info_by_fd(fd, told, ctypes.byref(size)) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name.decode())
            kind, _number, key_bytes, value_bytes, entries, flags = struct.unpack("=6I", told.raw)
            maps[fd] = keptprogram.Map(name.decode(), kind, key_bytes, value_bytes, entries, flags)
        return maps


def _function_of(module: BPF, hook: Hook) -> str:
    """The name that this version of bcc gives the function: some versions insert the module, ``vmlinux``."""
    prefix = "kfunc__" if hook.kind == "fentry" else "kretfunc__"
    plain, with_module = f"{prefix}{hook.target}", f"{prefix}vmlinux__{hook.target}"
    return with_module if lib.bpf_function_start(module.module, with_module.encode()) else plain


def _attach_hook(module: BPF, hook: Hook, function: str) -> None:
    match hook.kind:
        case "kprobe":
            module.attach_kprobe(event=hook.target, fn_name=function)
        case "kretprobe":
            module.attach_kretprobe(event=hook.target, fn_name=function)
        case "fentry":
            module.attach_kfunc(fn_name=function)
        case "fexit":
            module.attach_kretfunc(fn_name=function)
        case "raw_tracepoint":
            module.attach_raw_tracepoint(tp=hook.target, fn_name=function)


def _probe_fds(module: BPF) -> set[int]:
    kprobes = {fd for functions in module.kprobe_fds.values() for fd in functions.values()}
    return kprobes.union(
        module.kfunc_entry_fds.values(), module.kfunc_exit_fds.values(), module.raw_tracepoint_fds.values()
    )
