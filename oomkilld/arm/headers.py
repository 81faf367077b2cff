# SPDX-License-Identifier: Apache-2.0
"""Makes the header tree that bcc compiles against, for the running kernel: no kernel headers are needed.

The tree consists of the constant part in ``headers/``, the parts of the program in ``bpf/``, and three generated files:
``oomkilld/machine.h`` (page size, registers), ``oomkilld/kernel.h`` (the places of the kernel's data that we read) and
``oomkilld/record.h`` (the record, from ``recordlayout.py``).
"""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from oomkilld import recordlayout
from oomkilld.arm.btf import Btf, Member
from oomkilld.errors import CaptureUnavailable

STATIC_TREE = Path(__file__).with_name("headers")
PROGRAM_PARTS = Path(__file__).with_name("bpf")

# Every member that the BPF program reads. A member that the kernel lacks is compiled out.
MEMBERS = {
    "oom_control": ("totalpages", "constraint", "order", "gfp_mask", "chosen", "chosen_points", "memcg", "nodemask"),
    "task_struct": (
        *("pid", "tgid", "comm", "real_cred", "group_leader", "start_boottime", "signal", "mm", "real_parent"),
        *("cgroups", "usage", "flags", "alloc_lock", "mems_allowed", "thread_node"),
    ),
    "list_head": ("next",),
    "cred": ("uid",),
    "signal_struct": ("oom_score_adj", "pids", "oom_mm", "nr_threads", "thread_head"),
    "pid": ("level", "numbers"),
    "upid": ("nr",),
    "mm_struct": ("total_vm", "pgtables_bytes", "rss_stat", "exe_file", "mm_users", "arg_start", "arg_end"),
    "mm_rss_stat": ("count",),
    "percpu_counter": ("count", "counters"),
    "file": ("f_path",),
    "path": ("dentry",),
    "dentry": ("d_name",),
    "qstr": ("name",),
    "css_set": ("subsys", "dfl_cgrp"),
    "cgroup_subsys_state": ("cgroup", "parent"),
    "cgroup": ("kn", "root", "level", "ancestors"),
    "cgroup_root": ("hierarchy_id",),
    # The parent is read only if a cgroup has no ``ancestors``.
    "kernfs_node": ("name", "parent"),
    "mem_cgroup": ("css", "memory", "swap", "memsw", "oom_group", "vmstats"),
    "memcg_vmstats": ("state",),
    "page_counter": ("usage", "max"),
    "spinlock": ("rlock",),  # not with PREEMPT_RT, where it is a mutex
}
# Without these, a record would have no victim.
REQUIRED = (("task_struct", "pid"), ("task_struct", "tgid"))
# Data of the kernel, read if its address is known: a draft begins with these, in this order (see bpf/draft.h).
PER_CPU_OFFSET = "__per_cpu_offset"
_ZONES, _NODES, _SWAP, _LOADS = "vm_zone_stat", "vm_node_stat", "nr_swap_pages", "avenrun"
_COUNT_PLACES = "mem_cgroup_stats_index"
ADDRESSES = (PER_CPU_OFFSET, "_totalram_pages", "total_swap_pages", _ZONES, _NODES, _SWAP, _LOADS, _COUNT_PLACES)
CONSTRAINTS = ("CONSTRAINT_NONE", "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_MEMCG")
COUNTER_KINDS = ("MM_FILEPAGES", "MM_ANONPAGES", "MM_SWAPENTS", "MM_SHMEMPAGES")
INDEXES = ("memory_cgrp_id", "cpuset_cgrp_id", "PIDTYPE_TGID", "NR_INACTIVE_ANON", *CONSTRAINTS)
# The counts of the whole machine that are read at the decision, each of 64 bits: the fact, the kernel's array, and the
# index in it, as a number or by its name in the kernel's types.
MACHINE_COUNTS: tuple[tuple[str, str, str | int], ...] = (
    ("machine_free_pages", _ZONES, "NR_FREE_PAGES"),
    ("machine_swap_free_pages", _SWAP, 0),
    ("machine_anon_pages", _NODES, "NR_ANON_MAPPED"),
    ("machine_mapped_pages", _NODES, "NR_FILE_MAPPED"),
    ("machine_shmem_pages", _NODES, "NR_SHMEM"),
    ("machine_slab_reclaimable_pages", _NODES, "NR_SLAB_RECLAIMABLE_B"),
    ("machine_slab_unreclaimable_pages", _NODES, "NR_SLAB_UNRECLAIMABLE_B"),
    ("machine_dirty_pages", _NODES, "NR_FILE_DIRTY"),
    ("machine_writeback_pages", _NODES, "NR_WRITEBACK"),
    ("machine_load_1", _LOADS, 0),
    ("machine_load_5", _LOADS, 1),
    ("machine_load_15", _LOADS, 2),
)

# The counts of a cgroup, in pages: the fact, and the kernel's name for the count.
DOMAIN_COUNTS = (
    ("domain_anon_pages", "NR_ANON_MAPPED"),
    ("domain_file_pages", "NR_FILE_PAGES"),
    ("domain_shmem_pages", "NR_SHMEM"),
    # Since Linux 5.18 (a8c49af3be5f, "memcg: add per-memcg total kernel memory stat").
    ("domain_kernel_pages", "MEMCG_KMEM"),
)

# FETCH reads a member only into a variable of the same size (a text, also into a smaller one).
_FETCH = """\
#define FETCH(to, room, base, type, member) FETCH_##type##_##member(to, room, base)
#define MEMBER(base, type, member) ((void *)(base) + OFFSET_##type##_##member)
#define FETCH_MEMBER(to, room, base, offset, size)                                              \\
	({                                                                                      \\
		_Static_assert((room) == (size) || ((room) > 8 && (room) < (size)), "size");    \\
		bpf_probe_read_kernel(to, room, (void *)(base) + (offset));                     \\
	})
"""


def write_tree(target: Path, btf: Btf) -> None:
    """Fill ``target`` (a new directory) with the tree for the running kernel, the same in each boot.

    Raises CaptureUnavailable if the kernel's types lack a member of REQUIRED.
    """
    target.mkdir(mode=0o700)
    # Not with shutil, whose error for a tree has no errno.
    for header in STATIC_TREE.rglob("*.h"):
        copy = target / header.relative_to(STATIC_TREE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(header.read_bytes())
    generated = target / "include" / "oomkilld"
    generated.mkdir()
    for part in PROGRAM_PARTS.glob("*.h"):
        (generated / part.name).write_bytes(part.read_bytes())
    (generated / "machine.h").write_text(machine_header(btf))
    (generated / "kernel.h").write_text(kernel_header(btf))
    (generated / "record.h").write_text(recordlayout.c_declarations())


def kernel_header(btf: Btf) -> str:
    """``FETCH`` and ``MEMBER`` for every member in MEMBERS, and all other facts that the program needs."""
    for struct, name in REQUIRED:
        if btf.member(struct, name) is None:
            raise CaptureUnavailable(
                f"this kernel's BTF has no {struct}.{name}, which every record of a kill needs",
                "report this, with the kernel's release",
            )
    lines = [_FETCH]
    for struct, names in MEMBERS.items():
        if size := btf.struct_size(struct):
            lines.append(f"#define SIZE_{struct} {size}")
        for name in names:
            lines += _member_macros(btf, struct, name)
    if counts_per_cpu(btf):
        lines.append("#define HAVE_percpu_rss 1")
    kinds = btf.enumerators(COUNTER_KINDS)
    # The 0 of an unknown kind is never used: what reads the counts is compiled out below.
    lines += [f"#define {name} {kinds.get(name, 0)}" for name in COUNTER_KINDS]
    lines.append(f"#define COUNT_KINDS {len(COUNTER_KINDS)}")
    if len(kinds) < len(COUNTER_KINDS):
        lines += ["#undef HAVE_percpu_rss", "#undef HAVE_mm_rss_stat_count"]
    if btf.raw_tracepoint_gives("mark_victim", "task_struct"):
        lines.append("#define MARK_GIVES_TASK 1")
    lines += [f"#define {name} {number}" for name, number in btf.enumerators(INDEXES).items()]
    lines.append(f"#define ADDRESSES {len(ADDRESSES)}")
    lines += [f"#define ADDRESS_{name} (draft->addresses[{number}])" for number, name in enumerate(ADDRESSES)]
    lines.append(_machine_counts(btf))
    lines += _domain_counts(btf)
    if nodes := btf.member("task_struct", "mems_allowed"):
        lines.append(f"#define SIZE_nodemask {nodes.size}")
    lines.append(f"#define POSSIBLE_CPUS {possible_cpus()}")
    return "\n".join(lines) + "\n"


def _machine_counts(btf: Btf) -> str:
    """``TAKE_MACHINE_COUNTS``: those of MACHINE_COUNTS that this kernel has."""
    named = btf.enumerators([index for _fact, _array, index in MACHINE_COUNTS if isinstance(index, str)])
    places = [(fact, array, named.get(str(index), index)) for fact, array, index in MACHINE_COUNTS]
    known = [
        f"TAKE_COUNT(draft, {fact}, ADDRESS_{array} + {8 * index})"
        for fact, array, index in places
        if isinstance(index, int)
    ]
    return f"#define TAKE_MACHINE_COUNTS(draft) do {{ {'; '.join(known)}; }} while (0)"


def _domain_counts(btf: Btf) -> list[str]:
    """``TAKE_DOMAIN_COUNTS``: those of DOMAIN_COUNTS that this kernel has, and their places, if these are understood.

    mem_cgroup.vmstats was an array at first; since Linux 5.13 it is a memcg_vmstats with an array; since 6.1 a pointer
    to that. Since 6.11 (ff48c71c26aa, "memcg: reduce memory for the lruvec and memcg stats") the array has places only
    for values that are counted, and a table gives the place of each.
    """
    numbers = btf.enumerators([*(name for _fact, name in DOMAIN_COUNTS), "MEMCG_NR_STAT", "NR_INACTIVE_ANON"])
    counts = btf.member("mem_cgroup", "vmstats")
    state = btf.member("memcg_vmstats", "state")
    array = state or counts
    takes: list[str] = []
    lines: list[str] = []
    if counts is not None and array is not None:
        length = array.size // 8
        direct = length == numbers.get("MEMCG_NR_STAT")
        if direct or "NR_INACTIVE_ANON" in numbers:
            takes = [
                f"TAKE_DOMAIN_COUNT(draft, {fact}, {numbers[name]})" for fact, name in DOMAIN_COUNTS if name in numbers
            ]
            lines = [f"#define DOMAIN_COUNT_PLACES {length}"]
            lines += ["#define DOMAIN_COUNTS_DIRECT 1"] if direct else []
            lines += ["#define DOMAIN_COUNTS_POINTED_TO 1"] if state is not None and counts.size == 8 else []
    return [*lines, f"#define TAKE_DOMAIN_COUNTS(draft) do {{ {'; '.join(takes)}; }} while (0)"]


def counts_per_cpu(btf: Btf) -> bool:
    """Whether this kernel counts a process's memory for each CPU separately."""
    rss_stat = btf.member("mm_struct", "rss_stat")
    return rss_stat is not None and btf.element_struct(rss_stat) == "percpu_counter"


def constraint_names(btf: Btf) -> list[str]:
    """This kernel's names for the values of oom_control.constraint, by number; "" for an unknown number."""
    numbers = {number: name for name, number in btf.enumerators(CONSTRAINTS).items()}
    return [numbers.get(number, "") for number in range(max(numbers, default=-1) + 1)]


def _member_macros(btf: Btf, struct: str, name: str) -> list[str]:
    member = btf.member(struct, name)
    if member is None:
        return [f"#define FETCH_{struct}_{name}(to, room, base) (-1)"]
    return [
        f"#define HAVE_{struct}_{name} 1",
        f"#define OFFSET_{struct}_{name} {member.offset}",
        f"#define FETCH_{struct}_{name}(to, room, base) FETCH_MEMBER(to, room, base, {member.offset}, {member.size})",
    ]


def machine_header(btf: Btf) -> str:
    """The facts about the machine that bcc's own headers need."""
    major, minor, patch = kernel_version(platform.release())
    return (
        f"#define PAGE_SIZE {os.sysconf('SC_PAGESIZE')}\n"
        f"#define LINUX_VERSION_CODE KERNEL_VERSION({major}, {minor}, {patch})\n" + _registers(btf)
    )


def kernel_version(release: str) -> tuple[int, int, int]:
    """``6.12.3+deb13-amd64`` -> (6, 12, 3). Only bcc's headers need it; our program relies on the kernel's types."""
    numbers = [0, 0, 0]
    for i, part in enumerate(re.split(r"[-+]", release, maxsplit=1)[0].split(".")[:3]):
        numbers[i] = int(part) if part.isdigit() else 0
    return numbers[0], numbers[1], numbers[2]


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """The highest CPU number that is possible, plus 1: ``0-3,8-11`` -> 12."""
    return int(path.read_text().replace(",", "-").split("-")[-1]) + 1


# By machine: the structure with the registers from which bcc takes a probe's arguments, and these registers.
_REGISTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "x86_64": ("pt_regs", ("di", "si", "dx", "cx", "r8", "r9", "ax", "sp", "bp", "ip")),
    "aarch64": ("pt_regs", ("regs", "sp", "pc", "pstate")),
}


def _registers(btf: Btf) -> str:
    machine = platform.machine()
    if machine not in _REGISTERS:
        raise CaptureUnavailable(
            f"probes on {machine} are not supported yet",
            "run it on " + " or ".join(_REGISTERS) + ", or report that you need another",
        )
    struct, names = _REGISTERS[machine]
    fields = "".join(_register(name, member) for name in names if (member := btf.member(struct, name)))
    return f"struct {struct} {{ union {{\n{fields}\tchar whole[{btf.struct_size(struct)}];\n}}; }};\n"


def _register(name: str, member: Member) -> str:
    """A register at its own offset. The general registers of aarch64 are one array."""
    length = f"[{member.size // 8}]" if member.size > 8 else ""
    return f"\tstruct {{ char before_{name}[{member.offset}]; unsigned long {name}{length}; }};\n"
