# SPDX-License-Identifier: Apache-2.0
"""The capture levels, best first, and the obstacles to each on this system."""

import os
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

from oomkilld.errors import NO_ROOM, CaptureBroken, CaptureUnavailable, NoPrivilege, OomkilldError, privilege_hint
from oomkilld.host.system import VMLINUX, System

# bcc's own test for fentry. Only an attempt shows whether this kernel can attach such programs.
_TRAMPOLINE = "bpf_trampoline_link_prog"

Kind = Literal["kprobe", "kretprobe", "fentry", "fexit", "raw_tracepoint"]


class Hook(NamedTuple):
    """The target, a kernel function or for raw_tracepoint an event, and the function of the BPF program.

    ``function`` is empty if bcc's macros name it after the kernel's. ``needed``: False: if the kernel lacks the target,
    the hook is left out, and the values that it provides are unknown.
    """

    kind: Kind
    target: str
    function: str = ""
    needed: bool = True


class Level(NamedTuple):
    """A way to capture kills: its hooks in the order of attaching, and its possible obstacles.

    A level without hooks needs no probe and no compiler: it reads the kernel's log. ``exact``: the level sees every
    kill that the kernel counts.
    """

    name: str
    hooks: tuple[Hook, ...]
    obstacles: tuple[Callable[[System, dict[str, int]], OomkilldError | None], ...]
    exact: bool = True

    def obstacle(self, system: System, symbols: dict[str, int]) -> OomkilldError | None:
        """The first obstacle found; None: the level is worth a try."""
        for find in self.obstacles:
            if found := find(system, symbols):
                return found
        return None


# The order matters. An attempt without its mark has no effect, but a mark without its attempt would look like that of a
# spared process. A decision that is open while the hooks are attached is recorded without its cause, and without the
# candidates of its search.
_KPROBES = (
    Hook("kprobe", "exit_oom_victim", "on_release"),
    Hook("kprobe", "__oom_kill_process", "on_attempt"),
    Hook("kprobe", "mark_oom_victim", "on_mark"),
    Hook("kretprobe", "__oom_kill_process", "on_attempt_closed"),
    Hook("kretprobe", "mem_cgroup_print_oom_meminfo", "on_logged", needed=False),
    Hook("kprobe", "oom_badness", "on_candidate", needed=False),
    Hook("kprobe", "out_of_memory", "on_search", needed=False),
    Hook("kretprobe", "oom_kill_process", "on_decision_closed"),
    Hook("kprobe", "oom_kill_process", "on_decision"),
)
_FENTRIES = tuple(
    Hook("fentry" if hook.kind == "kprobe" else "fexit", hook.target, needed=hook.needed) for hook in _KPROBES
)
# The order matters: a mark whose signal was not seen would look like that of a spared process.
_TRACEPOINTS = (
    Hook("raw_tracepoint", "sched_process_exit", "on_exit"),
    Hook("raw_tracepoint", "signal_generate", "on_signal"),
    Hook("raw_tracepoint", "mark_victim", "on_victim_marked"),
)
_FUNCTIONS = {hook.target for hook in _KPROBES}
_NEEDED = {hook.target for hook in _KPROBES if hook.needed}
# Where the kernel's compiler has split a function, as in Debian 11's 5.10, out_of_memory() calls only this part. A hook
# at the whole one would see no candidate, and cost those who read /proc/PID/oom_score.
_PARTS = {"oom_badness": "oom_badness.part.0"}


def wanted_symbols() -> set[str]:
    """The kernel functions that any level needs or can use, and the names that show which it cannot."""
    return _FUNCTIONS | {_TRAMPOLINE, *_PARTS.values()}


def unreliable(reason: str) -> CaptureBroken:
    """The obstacle to a level that was set aside for the rest of this boot."""
    hint = "report this; after `rm /run/oomkilld/level`, the next start tries the level again"
    return CaptureBroken(f"set aside in this boot: {reason}", hint)


def lacking_functions(symbols: Collection[str]) -> tuple[str, ...]:
    """Optional functions that are not among the kernel's ``symbols``, or that it does not call itself."""
    split = {name for name, part in _PARTS.items() if part in symbols}
    return tuple(sorted(_FUNCTIONS - _NEEDED - set(symbols) | split))


def kprobe_privilege(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    """A missing privilege to attach kprobes."""
    # CAP_SYS_ADMIN includes the two others. Where these may not use perf, only CAP_SYS_ADMIN will do.
    missing = system.missing_capabilities(["CAP_SYS_ADMIN"])
    if missing and system.may_use_perf():
        missing = system.missing_capabilities(["CAP_BPF", "CAP_PERFMON"])
    return _no_privilege(system, "attach kprobes", missing)


def bpf_privilege(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    """A missing privilege to load BPF programs."""
    missing = system.missing_capabilities(["CAP_SYS_ADMIN"])
    if missing:
        missing = system.missing_capabilities(["CAP_BPF", "CAP_PERFMON"])
    return _no_privilege(system, "load BPF programs", missing)


def _no_privilege(system: System, what: str, missing: list[str]) -> OomkilldError | None:
    if system.in_user_namespace():
        return NoPrivilege(
            f"no privilege to {what}: this is a user namespace, where capabilities do not reach the kernel",
            "run it on the container's host",
        )
    if not missing:
        return None
    return NoPrivilege(f"no privilege to {what}: {', '.join(missing)} missing", privilege_hint())


def lockdown(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    """A kernel that lets nobody look into it."""
    if system.lockdown() != "confidentiality":
        return None
    return CaptureUnavailable(
        "the kernel is locked down (confidentiality): nobody can attach kprobes or read its memory",
        "boot without lockdown=confidentiality; lockdown=integrity, the mode of Secure Boot, is no obstacle",
    )


def type_information(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    """A kernel without BTF."""
    if system.has_type_information():
        return None
    return CaptureUnavailable(
        f"this kernel has no BTF type information: {VMLINUX} is missing",
        "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is), and do "
        "not hide /sys/kernel/btf from the service",
    )


def _kprobe_events(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    if system.shows("sys/bus/event_source/devices/kprobe/type"):
        return None
    return CaptureUnavailable(
        "this kernel has no kprobes: /sys/bus/event_source/devices/kprobe is missing",
        "run a kernel built with CONFIG_KPROBE_EVENTS=y (every current distribution kernel is)",
    )


def _trampolines(_system: System, symbols: dict[str, int]) -> OomkilldError | None:
    if not symbols or _TRAMPOLINE in symbols:
        return None
    return CaptureUnavailable(
        f"this kernel has no BPF trampolines, which fentry needs: no function {_TRAMPOLINE} (/proc/kallsyms)",
        "run a kernel built with CONFIG_BPF_JIT=y and CONFIG_DYNAMIC_FTRACE=y (every current distribution kernel is)",
    )


def _functions(_system: System, symbols: dict[str, int]) -> OomkilldError | None:
    if not symbols:
        return CaptureUnavailable(
            "the kernel's list of symbols, /proc/kallsyms, cannot be read",
            "do not hide it from the service (ProtectKernelTunables= of the unit does)",
        )
    absent = sorted(_NEEDED - symbols.keys())
    if not absent:
        return None
    return CaptureUnavailable(
        f"this kernel has no function {', '.join(absent)} to attach to (/proc/kallsyms)",
        "report this, with the kernel's release: its OOM killer is different",
    )


def _kernel_log(system: System, _symbols: dict[str, int]) -> OomkilldError | None:
    try:
        os.close(system.open_kernel_log())
    except PermissionError as error:
        return NoPrivilege(
            f"no privilege to read the kernel's log: /dev/kmsg: {error.strerror}",
            "start it as a service (`systemctl start oomkilld`), or give it CAP_SYSLOG and access to the device",
        )
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return CaptureUnavailable(
            f"the kernel's log cannot be read: /dev/kmsg: {error.strerror}",
            "make the machine's /dev/kmsg visible to the service, as the unit does; in a container, as a device",
        )
    return None


# Best first: "auto" takes the first that works.
LEVELS = (
    Level("kprobe", _KPROBES, (kprobe_privilege, lockdown, type_information, _kprobe_events, _functions)),
    Level("fentry", _FENTRIES, (bpf_privilege, lockdown, type_information, _trampolines, _functions)),
    # The kernel does not mark a process again if an earlier decision has marked it and it still lives.
    Level("tracepoint", _TRACEPOINTS, (bpf_privilege, lockdown, type_information), exact=False),
    Level("kmsg", (), (_kernel_log,)),
)
NAMES = [level.name for level in LEVELS]


def wanted_levels(setting: str) -> list[Level]:
    """The levels to try, best first. ``setting``: ``auto`` or the name of one level."""
    return [level for level in LEVELS if setting in ("auto", level.name)]
