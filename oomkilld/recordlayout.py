# SPDX-License-Identifier: Apache-2.0
"""The layout of what the BPF program hands to user space: one table, read by both sides.

The arming stage renders it as C for the BPF program (``arm/headers.py``), the resident stage as a
``struct`` format for the decoder (``capture/decode.py``). Standard library only: both stages import it.
"""

import mmap

from oomkilld.lighttyping import NamedTuple


class Member(NamedTuple):
    """One member of the record. ``fact``: it may be unknown, and bit ``1 << index`` of ``present`` tells."""

    name: str
    c_type: str
    length: int = 1
    fact: bool = True


# Widest members first, so that the compiler adds no padding: the struct format below has none.
KILL_RECORD = (
    Member("present", "u64", fact=False),
    Member("kill_boottime_ns", "u64", fact=False),
    Member("decision_boottime_ns", "u64"),
    Member("total_pages", "u64"),
    Member("chosen_points", "s64"),
    Member("domain_limit_pages", "u64"),
    Member("domain_usage_pages", "s64"),
    Member("domain_swap_limit_pages", "u64"),  # in version 1 of cgroups of memory and swap together
    Member("domain_swap_usage_pages", "s64"),  # likewise
    # What a cgroup was filled with, where the kernel has just counted that together for its log.
    Member("domain_anon_pages", "s64"),
    Member("domain_file_pages", "s64"),
    Member("domain_shmem_pages", "s64"),
    Member("domain_kernel_pages", "s64"),
    Member("domain_nodes", "u64"),  # a bit for each; unknown where one has a number beyond 63
    # The kernel's own counts for the whole machine at the decision; the load averages in units of 1 / LOAD_UNIT.
    Member("machine_free_pages", "s64"),
    Member("machine_swap_free_pages", "s64"),
    Member("machine_anon_pages", "s64"),
    Member("machine_mapped_pages", "s64"),
    Member("machine_shmem_pages", "s64"),
    Member("machine_slab_reclaimable_pages", "s64"),
    Member("machine_slab_unreclaimable_pages", "s64"),
    Member("machine_dirty_pages", "s64"),
    Member("machine_writeback_pages", "s64"),
    Member("machine_load_1", "u64"),
    Member("machine_load_5", "u64"),
    Member("machine_load_15", "u64"),
    Member("trigger_start_boottime_ns", "u64"),
    Member("victim_start_boottime_ns", "u64"),
    Member("victim_total_vm_pages", "u64"),
    Member("victim_anon_pages", "s64"),
    Member("victim_file_pages", "s64"),
    Member("victim_shmem_pages", "s64"),
    Member("victim_swap_pages", "s64"),
    Member("victim_pgtables_bytes", "u64"),
    Member("victim_memory_sharers", "u64"),  # who else uses its memory, each thread of theirs
    Member("layout", "u32", fact=False),
    Member("victim_pid", "u32", fact=False),
    Member("victim_tid", "u32", fact=False),
    Member("victim_uid", "u32"),
    Member("victim_ns_pid", "u32"),
    Member("victim_parent_pid", "u32"),
    Member("trigger_pid", "u32", fact=False),
    Member("trigger_tid", "u32", fact=False),
    Member("trigger_uid", "u32"),
    Member("trigger_ns_pid", "u32"),
    Member("trigger_parent_pid", "u32"),
    Member("chosen_pid", "u32"),
    Member("constraint", "u32"),
    Member("order", "s32"),
    Member("gfp_mask", "u32"),
    Member("victim_oom_score_adj", "s16"),
    Member("spared", "u16", fact=False),  # 1: found by the OOM killer while exiting anyway, not killed; SPARED_THREAD
    Member("group_kill", "u16"),  # 1: the kernel kills all of a cgroup together
    Member("cgroup_version", "u16"),  # of the memory controller
    Member("domain_cgroup_length", "u16", fact=False),
    Member("domain_cpuset_length", "u16", fact=False),
    Member("trigger_cgroup_length", "u16", fact=False),
    Member("trigger_exe_length", "u16", fact=False),
    Member("victim_cgroup_length", "u16", fact=False),
    Member("victim_exe_length", "u16", fact=False),
    Member("victim_comm", "char", length=16),
    Member("victim_parent_comm", "char", length=16),
    Member("trigger_comm", "char", length=16),
    Member("trigger_parent_comm", "char", length=16),
    Member("reason", "char", length=64),
)

# Texts behind the record, in order, each as long as its _length says; 0: unknown. A path is the names of its
# directories, from the root's (which is empty) inwards, each with a NUL.
TEXTS = ("domain_cgroup", "domain_cpuset", "trigger_cgroup", "trigger_exe", "victim_cgroup", "victim_exe")
# Behind them, in a program that was compiled with CMDLINE, the command line of the trigger, to the end of the record:
# how long it is, CMDLINE_ROOM at the most, and as much of it as could be read; nothing of it: not there.
CMDLINE_ROOM = 4096
CMDLINE_HEAD = "I"
# Of a path at most so many bytes, with what it continues; of the second size when the ring is half full.
PATH_ROOM = 1024
PATH_ROOM_SHORT = 256
# Beside the length of a path: there are further names inwards.
PATH_CUT = 0x8000
# Likewise: it begins with what is there of the domain's path, and its names are those behind that.
PATH_CONTINUES = 0x4000
# Instead of both lengths of the trigger: it is a thread of the victim, and its process's facts are the victim's.
SAME_AS_VICTIM = 0xFFFE

LOAD_UNIT = 1 << 11  # FIXED_1, include/linux/sched/loadavg.h

# Instead of 1: likewise, and the kernel gave no more of it than the number of its thread, victim_tid.
SPARED_THREAD = 2

# Likewise: there is no victim, for nothing could be killed; victim_tid is how often since the record before of that
# cgroup.
NOTHING_KILLED = 3

# A victim's thread has let go of its memory.
RELEASE_RECORD = (
    Member("boottime_ns", "u64", fact=False),
    Member("start_boottime_ns", "u64", fact=False),
    Member("layout", "u32", fact=False),
    Member("pid", "u32", fact=False),
    Member("tid", "u32", fact=False),
    Member("reserved", "u32", fact=False),
)

# Slots of the counters array, in order; each a u64 that only grows while the map lives.
COUNTERS = (
    "decisions",  # oom_kill_process entered; not at level tracepoint
    "attempts",  # __oom_kill_process entered; not at level tracepoint
    "kills",  # mark_oom_victim after an attempt by the same task: what vmstat's oom_kill counts
    "repeats",  # kills of a process that the same decision had killed before: no record of their own
    "spared",  # processes that were exiting anyway: attempts without a kill, marks without an attempt
    "lost",  # kills for which the ring had no room
    "lost_spared",  # the same of records without a kill
)

_FORMATS = {"u64": "Q", "s64": "q", "u32": "I", "s32": "i", "u16": "H", "s16": "h", "char": "s"}


def struct_format(record: tuple[Member, ...] = KILL_RECORD) -> str:
    """The record as a ``struct`` format: native byte order, no padding but the declared."""
    return "=" + "".join(f"{m.length if m.length > 1 else ''}{_FORMATS[m.c_type]}" for m in record)


def fact_bits() -> dict[str, int]:
    """Member name -> its bit in ``present``, for the members that may be unknown."""
    return {m.name: 1 << i for i, m in enumerate(m for m in KILL_RECORD if m.fact)}


def layout_id() -> int:
    """A number that changes with the tables (FNV-1a, 32 bits): records of another layout are refused."""
    value = 0x811C9DC5
    paths = (PATH_CUT, PATH_CONTINUES)
    for byte in repr((KILL_RECORD, TEXTS, paths, CMDLINE_ROOM, CMDLINE_HEAD, RELEASE_RECORD, COUNTERS)).encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def c_declarations() -> str:
    """The tables as C: the structs, the bits of the facts, the counter slots."""
    bits = fact_bits()
    of_victim = sum(bit for name, bit in bits.items() if name.startswith("victim_"))
    defines = {
        **{f"FACT_{name}": f"{bit:#x}ULL" for name, bit in bits.items()},
        "FACTS_OF_VICTIM": f"{of_victim:#x}ULL",
        **{f"COUNT_{name}": str(slot) for slot, name in enumerate(COUNTERS)},
        "COUNTER_SLOTS": str(len(COUNTERS)),
        "PATH_ROOM": str(PATH_ROOM),
        "PATH_ROOM_SHORT": str(PATH_ROOM_SHORT),
        "PATH_CUT": str(PATH_CUT),
        "PATH_CONTINUES": str(PATH_CONTINUES),
        "SAME_AS_VICTIM": str(SAME_AS_VICTIM),
        "SPARED_THREAD": str(SPARED_THREAD),
        "NOTHING_KILLED": str(NOTHING_KILLED),
        "CMDLINE_ROOM": str(CMDLINE_ROOM),
        "CMDLINE_MASK": str(CMDLINE_ROOM - 1),
        "LAYOUT_ID": f"{layout_id():#x}U",
    }
    structs = _c_struct("kill_record", KILL_RECORD) + _c_struct("release_record", RELEASE_RECORD)
    return structs + "".join(f"#define {name} {value}\n" for name, value in defines.items())


def _c_struct(name: str, record: tuple[Member, ...]) -> str:
    members = "".join(f"\t{m.c_type} {m.name}{f'[{m.length}]' if m.length > 1 else ''};\n" for m in record)
    return f"struct {name} {{\n{members}}};\n"


def ring_bytes(size: int) -> int:
    """How large a ring is for which ``size`` bytes are asked, a power of two: a page at least."""
    return max(int(size), mmap.PAGESIZE)
