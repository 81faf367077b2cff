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
    for check in (_privilege, _lockdown, _type_information, _kprobe_events, _functions):
        if obstacle := check(system, symbols):
            raise obstacle
    return level


def wanted_symbols() -> set[str]:
    """The kernel's symbols that matter for any level."""
    return {probe.symbol for probe in KPROBES} | {PER_CPU_OFFSET}


def _privilege(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    if system.in_user_namespace():
        return NoPrivilege(
            "no privilege to attach kprobes: this is a user namespace, where capabilities do not reach the kernel",
            "run it on the host of the container",
        )
    # CAP_SYS_ADMIN includes the two others, and is asked for itself where perf is closed to them.
    missing = system.missing_capabilities(["CAP_SYS_ADMIN"])
    if missing and system.perf_event_paranoid() <= 2:
        missing = system.missing_capabilities(["CAP_BPF", "CAP_PERFMON"])
    if not missing:
        return None
    return NoPrivilege(
        f"no privilege to attach kprobes: {', '.join(missing)} missing",
        "start it as a service (`systemctl start oomkilld`) or as root; in a container, on its host",
    )


def _lockdown(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    if system.lockdown() != "confidentiality":
        return None
    return CaptureUnavailable(
        "the kernel is locked down (confidentiality): it lets nobody attach kprobes or read its memory",
        "boot without lockdown=confidentiality; lockdown=integrity, the mode of Secure Boot, is no obstacle",
    )


def _type_information(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    if system.shows(str(VMLINUX.relative_to("/"))):
        return None
    return CaptureUnavailable(
        f"this kernel gives no BTF type information: {VMLINUX} is missing",
        "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is), and do "
        "not hide /sys/kernel/btf from the service",
    )


def _kprobe_events(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    if system.has_kprobe_events():
        return None
    return CaptureUnavailable(
        "this kernel has no kprobes: /sys/bus/event_source/devices/kprobe is missing",
        "run a kernel built with CONFIG_KPROBE_EVENTS=y (every current distribution kernel is)",
    )


def _functions(_system: System, symbols: dict[str, int]) -> OomkilldError | None:
    if not symbols:
        return CaptureUnavailable(
            "the kernel's list of symbols, /proc/kallsyms, cannot be read",
            "do not hide it from the service (ProtectKernelTunables= of the unit does)",
        )
    absent = sorted({probe.symbol for probe in KPROBES} - symbols.keys())
    if not absent:
        return None
    return CaptureUnavailable(
        f"this kernel has no function {', '.join(absent)} to attach to (/proc/kallsyms)",
        "report this, with the kernel's release: its OOM killer is built differently",
    )
