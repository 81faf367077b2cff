# SPDX-License-Identifier: Apache-2.0
"""Compiles, loads and attaches the BPF program. The only module that imports bcc, which carries LLVM."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from bcc import BPF

from oomkilld.arm.levels import Probe

PROGRAM = Path(__file__).with_name("oomkill.bpf.c")
Step = Literal["compile", "load", "attach"]


class ProbeFailure(Exception):
    """The step that failed, bcc's own words, which name no cause to rely on, and the kernel's errno."""

    def __init__(self, step: Step, what: str, detail: str) -> None:
        super().__init__(f"{step} {what}: {detail}")
        self.step: Step = step
        self.what = what
        self.errno = ctypes.get_errno()


class Attached(NamedTuple):
    """File descriptors that keep the program running; closing the probes' detaches them."""

    ring: int
    counters: int
    probes: list[int]


def attach_kprobes(headers: Path, ring_bytes: int, probes: Iterable[Probe]) -> Attached:
    """Attach ``probes`` in their order. Raises ProbeFailure."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers)
    pages = ring_bytes // os.sysconf("SC_PAGESIZE")
    ctypes.set_errno(0)
    try:
        program = BPF(text=PROGRAM.read_text(), cflags=[f"-DRING_PAGES={pages}"])
    except Exception as error:  # bcc raises bare Exception for whatever clang or the kernel refused
        raise ProbeFailure("compile", PROGRAM.name, str(error)) from error
    probe_fds: list[int] = []
    for probe in probes:
        ctypes.set_errno(0)
        try:
            program.load_func(probe.function, BPF.KPROBE)
        except Exception as error:
            raise ProbeFailure("load", probe.function, str(error)) from error
        attach, attached = program.attach_kprobe, program.kprobe_fds
        if probe.on_return:
            attach = program.attach_kretprobe
        known = _all_fds(attached)
        try:
            attach(event=probe.symbol, fn_name=probe.function)
        except Exception as error:
            raise ProbeFailure("attach", probe.symbol, str(error)) from error
        probe_fds += _all_fds(attached) - known
    return Attached(program["kills"].map_fd, program["counters"].map_fd, probe_fds)


def _all_fds(attached: dict[bytes, dict[bytes, int]]) -> set[int]:
    return {fd for functions in attached.values() for fd in functions.values()}
