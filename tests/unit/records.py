# SPDX-License-Identifier: Apache-2.0
"""Kill records for tests, as the BPF program writes them."""

import struct

from oomkilld import recordlayout
from oomkilld.record.capture.decode import decode
from oomkilld.record.entry.origin import Origin
from oomkilld.record.kill import KillRecord

ORIGIN = Origin(
    boot_id=b"0f2c1f0e-9a3b-4f6a-8f1d-2f1f5a0c9e11",
    kernel_release=b"6.12.0-test",
    level="kprobe",
    priority=2,
    page_bytes=4096,
    constraints=["CONSTRAINT_NONE", "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_MEMCG"],
    gfp_names={"GFP_KERNEL": 0xCC0, "__GFP_ZERO": 0x100},
)


def raw_candidates(*candidates: tuple[int, int, int, bytes]) -> bytes:
    """Memory in pages, process, oom_score_adj and name of each; the other places are unused."""
    places = (*candidates, *[(0, 0, 0, b"")] * recordlayout.MOST_CANDIDATES)[: recordlayout.MOST_CANDIDATES]
    return b"".join(struct.pack("=" + recordlayout.CANDIDATE, *numbers, 0, comm) for *numbers, comm in places)


FACTS: dict[str, int | bytes] = {
    "kill_boottime_ns": 5_000_000_000,
    "decision_boottime_ns": 4_999_000_000,
    "total_pages": 7680,
    "chosen_points": 7600,
    "domain_limit_pages": 7680,
    "domain_usage_pages": 7679,
    "domain_swap_limit_pages": 256,
    "domain_swap_usage_pages": 255,
    "domain_anon_pages": 6000,
    "domain_file_pages": 1500,
    "domain_shmem_pages": 1400,
    "domain_kernel_pages": 100,
    "domain_nodes": 0,
    "candidates": 3,
    "candidates_exempt": 1,
    "candidates_pages": 9900,
    "machine_free_pages": 1000,
    "machine_swap_free_pages": 2000,
    "machine_anon_pages": 3000,
    "machine_mapped_pages": 400,
    "machine_shmem_pages": 50,
    "machine_slab_reclaimable_pages": 600,
    "machine_slab_unreclaimable_pages": 700,
    "machine_dirty_pages": 8,
    "machine_writeback_pages": 9,
    "machine_load_1": 3 * 2048 + 1024,
    "machine_load_5": 2048,
    "machine_load_15": 512,
    "trigger_start_boottime_ns": 2_000_000_000,
    "victim_start_boottime_ns": 3_000_000_000,
    "victim_total_vm_pages": 9000,
    "victim_anon_pages": 7000,
    "victim_file_pages": 500,
    "victim_shmem_pages": 4,
    "victim_swap_pages": 0,
    "victim_pgtables_bytes": 65536,
    "layout": recordlayout.layout_id(),
    "spared": 0,
    "victim_pid": 4242,
    "victim_tid": 4243,
    "victim_uid": 1000,
    "victim_ns_pid": 7,
    "victim_parent_pid": 4200,
    "victim_memory_sharers": 0,
    "trigger_pid": 4240,
    "trigger_tid": 4241,
    "trigger_uid": 1001,
    "trigger_ns_pid": 6,
    "trigger_parent_pid": 4100,
    "chosen_pid": 4242,
    "constraint": 3,
    "order": 0,
    "gfp_mask": 0xCC0,
    "cgroup_version": 2,
    "group_kill": 0,
    "victim_oom_score_adj": -17,
    "victim_comm": b"victim",
    "victim_parent_comm": b"victim's parent",
    "trigger_comm": b"trigger",
    "trigger_parent_comm": b"trigger's paren",
    "reason": b"Memory cgroup out of memory",
    "domain_cgroup": b"/tenants.slice",
    "domain_cpuset": b"",
    "largest_candidates": raw_candidates((8000, 4242, -17, b"victim"), (1900, 17, -1000, b"exempt")),
    "trigger_cgroup": b"/tenants.slice/asker.service",
    "trigger_exe": b"asker",
    "victim_cgroup": b"/tenants.slice/victim.service",
    "victim_exe": b"victim-bin",
    # Whether the path has more inner names, for which the record has no room.
    "domain_cgroup_cut": False,
    "trigger_cgroup_cut": False,
    "victim_cgroup_cut": False,
    "cmdline": b"",  # see raw_cmdline()
}
RELEASE_FACTS = {
    "boottime_ns": 5_100_000_000,
    "start_boottime_ns": 3_000_000_000,
    "layout": recordlayout.layout_id(),
    "pid": 4242,
    "tid": 4243,
    "reserved": 0,
}


def raw_record(*, unknown: tuple[str, ...] = (), **changes: int | bytes) -> bytes:
    """The bytes of a record and its texts; ``unknown`` facts and texts are absent."""
    facts: dict[str, int | bytes] = {**FACTS, **changes}
    facts.setdefault("present", sum(bit for name, bit in recordlayout.fact_bits().items() if name not in unknown))
    behind = b""
    for name in recordlayout.TEXTS:
        text = facts[name] if name not in unknown else b""
        assert isinstance(text, bytes)
        raw = path_names(text) if name.endswith("_cgroup") else text if name == "largest_candidates" else text + b"\0"
        behind += raw if text else b""
        mark = recordlayout.PATH_CUT if facts.get(f"{name}_cut") else 0
        facts.setdefault(f"{name}_length", len(raw) | mark if text else 0)
    cmdline = facts["cmdline"]
    assert isinstance(cmdline, bytes)
    values = [facts[member.name] for member in recordlayout.KILL_RECORD]
    return struct.pack(recordlayout.struct_format(), *values) + behind + cmdline


def raw_cmdline(text: bytes, whole: int | None = None) -> bytes:
    """A command line behind the texts; ``whole``: its full length, if ``text`` is only a part."""
    return struct.pack("=I", len(text) if whole is None else whole) + text


def path_names(path: bytes) -> bytes:
    """A path as the BPF program writes it: the directory names, beginning below the root."""
    return path.rstrip(b"/").replace(b"/", b"\0") + b"\0"


def raw_release(**changes: int) -> bytes:
    """The bytes of a release of the victim of ``raw_record``."""
    facts = {**RELEASE_FACTS, **changes}
    return struct.pack(
        recordlayout.struct_format(recordlayout.RELEASE_RECORD),
        *(facts[member.name] for member in recordlayout.RELEASE_RECORD),
    )


def kill_of(unknown: tuple[str, ...] = (), **changes: int | bytes) -> KillRecord:
    """The decoded record."""
    kill = decode(raw_record(unknown=unknown, **changes))
    assert isinstance(kill, KillRecord)
    return kill


def id_of(kill: KillRecord) -> str:
    """An id that contains the victim's pid."""
    return f"{kill.victim_pid:032x}"
