# SPDX-License-Identifier: Apache-2.0
"""The capture levels, best first, and what stands in the way of each on this system."""

from typing import NamedTuple

from oomkilld.arm.btf import VMLINUX
from oomkilld.arm.system import System
from oomkilld.errors import CaptureUnavailable, NoPrivilege, OomkilldError

PER_CPU_OFFSET = "__per_cpu_offset"


class Probe(NamedTuple):
    """A function of the BPF program and the kernel function that it hooks."""

    function: str
    symbol: str
    on_return: bool = False


# In the order of attaching: what uses the slot filled by another is attached first, so that no hit
# sees half of the program. A decision under way while they are attached is recorded without its why.
KPROBES = (
    Probe("on_decision_closed", "oom_kill_process", on_return=True),
    Probe("on_decision", "oom_kill_process"),
    Probe("on_mark", "mark_oom_victim"),
    Probe("on_attempt", "__oom_kill_process"),
)
# Best first: "auto" takes the first that nothing stands in the way of.
LEVELS = ("kprobe",)


def choose(wanted: str, system: System, symbols: dict[str, int]) -> str:
    """The level to use; ``wanted`` is one of LEVELS or ``auto``. Raises what stands in the way of it."""
    level = LEVELS[0] if wanted == "auto" else wanted
    if obstacle := kprobe_obstacle(system, symbols):
        raise obstacle
    return level


def wanted_symbols() -> set[str]:
    """The kernel's symbols that matter for any level."""
    return {probe.symbol for probe in KPROBES} | {PER_CPU_OFFSET}


def kprobe_obstacle(system: System, symbols: dict[str, int]) -> OomkilldError | None:
    """Why kprobes cannot be attached here, by what the system says; None when nothing is known to prevent it."""
    if missing := _missing_capabilities(system):
        return NoPrivilege(
            f"no privilege to attach kprobes: {', '.join(missing)} missing",
            "start it as a service (`systemctl start oomkilld`) or as root; in a container, on its host",
        )
    if system.lockdown() == "confidentiality":
        return CaptureUnavailable(
            "the kernel is locked down (confidentiality): it lets nobody attach kprobes or read its memory",
            "boot without lockdown=confidentiality; lockdown=integrity, the mode of Secure Boot, is no obstacle",
        )
    if not (system.root / VMLINUX.relative_to("/")).exists():
        return CaptureUnavailable(
            f"this kernel gives no BTF type information: {VMLINUX} is missing",
            "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is), and do "
            "not hide /sys/kernel/btf from the service",
        )
    if not system.has_kprobe_events():
        return CaptureUnavailable(
            "this kernel has no kprobes: /sys/bus/event_source/devices/kprobe is missing",
            "run a kernel built with CONFIG_KPROBE_EVENTS=y (every current distribution kernel is)",
        )
    if absent := sorted({probe.symbol for probe in KPROBES} - symbols.keys()):
        return CaptureUnavailable(
            f"this kernel has no function {', '.join(absent)} to attach to (/proc/kallsyms)",
            "report this, with the kernel's release: its OOM killer is built differently",
        )
    return None


def _missing_capabilities(system: System) -> list[str]:
    """CAP_SYS_ADMIN includes the two others, and is asked for itself where perf is closed to them."""
    if not system.missing_capabilities(["CAP_SYS_ADMIN"]):
        return []
    if system.perf_event_paranoid() > 2:
        return ["CAP_SYS_ADMIN"]
    return system.missing_capabilities(["CAP_BPF", "CAP_PERFMON"])
