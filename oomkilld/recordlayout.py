# SPDX-License-Identifier: Apache-2.0
"""The layout of the records that the BPF program sends to user space: one table for both sides.

The arming stage renders it as C for the BPF program (``arm/headers.py``), the resident stage as a ``struct`` format for
the decoder (``record/capture/decode.py``). Standard library only: both stages import it.
"""

import mmap

from oomkilld.lighttyping import NamedTuple


class Member(NamedTuple):
    """One member of the record. ``fact``: its value may be unknown; fact_bits() gives its bit in ``present``."""

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
    Member("domain_swap_limit_pages", "u64"),  # cgroup version 1: of memory and swap together
    Member("domain_swap_usage_pages", "s64"),  # cgroup version 1: of memory and swap together
    # What filled the cgroup; known only where the kernel has just summed it up for its log.
    Member("domain_anon_pages", "s64"),
    Member("domain_file_pages", "s64"),
    Member("domain_shmem_pages", "s64"),
    Member("domain_kernel_pages", "s64"),
    Member("candidates_pages", "u64"),
    Member("domain_nodes", "u64"),  # a bit for each node; unknown if a node beyond number 63 is set
    # The kernel's own counts for the whole machine at the decision. Load averages are in units of 1 / LOAD_UNIT.
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
    Member("victim_memory_sharers", "u64"),  # threads of other processes that use its memory
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
    Member("candidates", "u32"),
    Member("gfp_mask", "u32"),
    Member("victim_oom_score_adj", "s16"),
    Member("spared", "u16", fact=False),  # 1: exiting already, not killed; or SPARED_THREAD, NOTHING_KILLED
    Member("candidates_exempt", "u16"),
    Member("group_kill", "u16"),  # 1: the kernel kills all processes of a cgroup
    Member("cgroup_version", "u16"),  # of the memory controller
    Member("domain_cgroup_length", "u16", fact=False),
    Member("domain_cpuset_length", "u16", fact=False),
    Member("largest_candidates_length", "u16", fact=False),
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

# The texts that follow the record, in this order. The member NAME_length gives each one's length; 0: unknown. A path is
# a list of directory names from the root's (which is empty) inwards, each with a NUL.
TEXTS = (
    *("domain_cgroup", "domain_cpuset", "largest_candidates"),
    *("trigger_cgroup", "trigger_exe", "victim_cgroup", "victim_exe"),
)
# One of the largest candidates: memory in pages, process, oom_score_adj, 16 bits unused, and the name of its thread.
CANDIDATE = "QIhH16s"
MOST_CANDIDATES = 5
EXEMPT = -1000  # OOM_SCORE_ADJ_MIN, include/uapi/linux/oom.h: the kernel never kills such a process
# A program compiled with CMDLINE appends the trigger's command line: its length, at most CMDLINE_ROOM, then as many of
# its bytes as could be read, up to the end of the record. If nothing follows the texts, the command line is unknown.
CMDLINE_ROOM = 4096
CMDLINE_HEAD = "I"
# The most bytes that a path may have, the part that it continues included; the second applies if the ring is half full.
PATH_ROOM = 1024
PATH_ROOM_SHORT = 256
# A flag in the length of a path: the record lacks its inner names.
PATH_CUT = 0x8000
# A flag in the length of a path: it continues the recorded part of the domain's path, only the names after that follow.
PATH_CONTINUES = 0x4000
# Replaces both lengths of the trigger: the trigger is a thread of the victim, so the victim's facts are its own.
SAME_AS_VICTIM = 0xFFFE

LOAD_UNIT = 1 << 11  # FIXED_1, include/linux/sched/loadavg.h

# A value of ``spared``: the process was exiting already, and the kernel gave only the number of its thread, victim_tid.
SPARED_THREAD = 2

# A value of ``spared``: nothing could be killed, so there is no victim. victim_tid counts how often that happened since
# the cgroup's previous record.
NOTHING_KILLED = 3

# A victim has released its memory.
RELEASE_RECORD = (
    Member("boottime_ns", "u64", fact=False),
    Member("start_boottime_ns", "u64", fact=False),
    Member("layout", "u32", fact=False),
    Member("pid", "u32", fact=False),
    Member("tid", "u32", fact=False),
    Member("reserved", "u32", fact=False),
)

# Slots of the counters array, in order; each is a u64 that only grows as long as the map exists.
COUNTERS = (
    "decisions",  # oom_kill_process entered; not at level tracepoint
    "attempts",  # __oom_kill_process entered; not at level tracepoint
    "kills",  # mark_oom_victim after an attempt by the same task: what vmstat's oom_kill counts
    "repeats",  # further kills of a process by the same decision: no record of their own
    "spared",  # processes that were exiting already: attempts without a kill, marks without an attempt
    "lost",  # kills without a record, because the ring was full
    "lost_spared",  # the same for records other than kills
)

_FORMATS = {"u64": "Q", "s64": "q", "u32": "I", "s32": "i", "u16": "H", "s16": "h", "char": "s"}


def struct_format(record: tuple[Member, ...] = KILL_RECORD) -> str:
    """The record as a ``struct`` format: native byte order, no padding beyond the declared members."""
    return "=" + "".join(f"{m.length if m.length > 1 else ''}{_FORMATS[m.c_type]}" for m in record)


def fact_bits() -> dict[str, int]:
    """Member name -> its bit in ``present``, for the members that may be unknown."""
    return {m.name: 1 << i for i, m in enumerate(m for m in KILL_RECORD if m.fact)}


def layout_id() -> int:
    """A hash of the tables (FNV-1a, 32 bits): the decoder rejects records of another layout."""
    value = 0x811C9DC5
    paths = (PATH_CUT, PATH_CONTINUES)
    texts = (TEXTS, paths, CANDIDATE, MOST_CANDIDATES, CMDLINE_ROOM, CMDLINE_HEAD)
    for byte in repr((KILL_RECORD, texts, RELEASE_RECORD, COUNTERS)).encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def c_declarations() -> str:
    """The tables as C: structs, fact bits, counter slots."""
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
        "MOST_CANDIDATES": str(MOST_CANDIDATES),
        "EXEMPT": str(EXEMPT),
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
    """The size of a ring if ``size`` bytes, a power of two, are requested: at least one page."""
    return max(int(size), mmap.PAGESIZE)
