# SPDX-License-Identifier: Apache-2.0
"""The record of a kill, its id, and the end of its victim."""

from _blake2 import blake2b  # hashlib would load OpenSSL: 4 MB resident

from oomkilld.lighttyping import NamedTuple


class CommandLine(NamedTuple):
    """As in /proc/PID/cmdline: arguments, each followed by a NUL, bounded. ``cut``: there was more."""

    text: bytes
    cut: bool


# Memory in pages, process, name of its thread, oom_score_adj. A plain tuple, which marshal can write, see loglines.
Candidate = tuple[int, int, bytes, int]


class KillRecord(NamedTuple):
    """One kill, or one spared process, as the kernel saw it. None: unknown.

    Times are nanoseconds of CLOCK_BOOTTIME. ``pid`` is a process, ``tid`` a thread. Names and paths are raw bytes:
    a ``cgroup`` is the path from the root of its hierarchy, ``exe`` the base name of the executed file. A path that is
    ``cut`` has only the outermost names.
    """

    kill_boottime_ns: int
    spared: int  # not 0: the OOM killer found it exiting, and did not kill it
    victim_pid: int | None  # None: the kernel reported only the thread
    victim_tid: int
    trigger_pid: int | None  # None, as for its thread: the kernel log does not have it
    trigger_tid: int | None
    victim_comm: bytes | None
    victim_uid: int | None
    victim_ns_pid: int | None  # in its own PID namespace
    victim_parent_pid: int | None
    victim_parent_comm: bytes | None
    victim_start_boottime_ns: int | None
    victim_oom_score_adj: int | None
    victim_total_vm_pages: int | None
    victim_anon_pages: int | None
    victim_file_pages: int | None
    victim_shmem_pages: int | None
    victim_swap_pages: int | None
    victim_pgtables_bytes: int | None
    victim_memory_sharers: int | None  # other users of its memory, each thread counted
    victim_cgroup: bytes | None
    victim_cgroup_cut: bool
    victim_exe: bytes | None
    trigger_comm: bytes | None
    trigger_uid: int | None
    trigger_ns_pid: int | None
    trigger_parent_pid: int | None
    trigger_parent_comm: bytes | None
    trigger_start_boottime_ns: int | None
    trigger_cgroup: bytes | None
    trigger_cgroup_cut: bool
    trigger_exe: bytes | None
    decision_boottime_ns: int | None
    total_pages: int | None
    chosen_points: int | None
    chosen_pid: int | None
    constraint: int | None
    order: int | None
    gfp_mask: int | None
    reason: bytes | None
    group_kill: int | None  # 1: all of a cgroup together
    cgroup_version: int | None  # of the memory controller: 1 or 2
    domain_cgroup: bytes | None  # it hit its limit; None also if no cgroup did
    domain_cgroup_cut: bool
    domain_limit_pages: int | None
    domain_usage_pages: int | None
    domain_swap_limit_pages: int | None  # in cgroup version 1: memory and swap together
    domain_swap_usage_pages: int | None  # the same
    domain_anon_pages: int | None  # of a cgroup, as the kernel counted them for its report
    domain_file_pages: int | None
    domain_shmem_pages: int | None
    domain_kernel_pages: int | None
    machine_free_pages: int | None
    machine_swap_free_pages: int | None
    machine_anon_pages: int | None
    machine_mapped_pages: int | None
    machine_shmem_pages: int | None
    machine_slab_reclaimable_pages: int | None
    machine_slab_unreclaimable_pages: int | None
    machine_dirty_pages: int | None
    machine_writeback_pages: int | None
    machine_load_1: int | None  # in units of 1 / recordlayout.LOAD_UNIT
    machine_load_5: int | None
    machine_load_15: int | None
    trigger_cmdline: CommandLine | None  # None also if not wanted
    logged_usec: int | None  # of a kill read in the kernel log: the line's timestamp, by printk's clock
    decision_logged_usec: int | None  # the same for the first kill of its decision
    domain_nodes: bytes | None  # NUMA nodes that ran out, as the kernel lists them: ``0-3,8``
    domain_cpuset: bytes | None  # its name, if a cpuset ran out
    victim_within: bytes | None  # if its own cgroup is unknown: one that it was in or below
    candidates: int | None  # processes of the domain, which the kernel chose from
    candidates_exempt: int | None  # those of them that it never kills
    candidates_pages: int | None  # of all of them, as badness counts: resident, swapped out and page tables
    largest_candidates: tuple[Candidate, ...] | None


class Unkillable(NamedTuple):
    """Something ran out, and nothing could be killed. ``decision``: its record and its time, without a victim.

    ``times``: how often since the previous one of the same domain.
    """

    decision: KillRecord
    times: int = 1


class Release(NamedTuple):
    """A thread of a victim released its memory. Nanoseconds of CLOCK_BOOTTIME."""

    boottime_ns: int
    pid: int
    tid: int
    start_boottime_ns: int  # of the process


def kill_id(kill: KillRecord, boot_id: bytes) -> str:
    """Identify this kill among all kills of all boots; every copy of its entry has the same id."""
    if kill.logged_usec is not None:
        return logged_kill_id(kill, boot_id)
    return _digest(boot_id, b"kill", kill.victim_tid, kill.kill_boottime_ns)


def logged_kill_id(kill: KillRecord, boot_id: bytes) -> str:
    """Identify a kill that was read in the kernel log."""
    assert kill.logged_usec is not None
    # By the line's own timestamp: its conversion to other clocks differs from reading to reading.
    return _digest(boot_id, b"logged kill", kill.victim_tid, kill.logged_usec)


def decision_id(kill: KillRecord, boot_id: bytes) -> str | None:
    """Identify the decision that killed, among those of all boots. None: unknown."""
    if kill.decision_logged_usec is not None:
        return _digest(boot_id, b"logged decision", 0, kill.decision_logged_usec)
    if kill.decision_boottime_ns is None or kill.trigger_tid is None:
        return None
    return _digest(boot_id, b"decision", kill.trigger_tid, kill.decision_boottime_ns)


def decision_of(kill: KillRecord) -> tuple[int | None, ...]:
    """The same for all kills of one decision."""
    return kill.trigger_tid, kill.decision_boottime_ns, kill.decision_logged_usec


def _digest(boot_id: bytes, kind: bytes, tid: int, boottime_ns: int) -> str:
    text = b"%s %s %d %d" % (boot_id, kind, tid, boottime_ns)
    return str(blake2b(text, digest_size=16).hexdigest())


class Victim(NamedTuple):
    """A killed process. ``fields``: what each entry about it repeats, one field a line, see killentry.victim_fields().

    Only a part of the kill's record: hundreds of victims are kept, and a whole record takes more than a kilobyte.
    """

    pid: int
    start_boottime_ns: int | None
    kill_boottime_ns: int
    fields: bytes

    @property
    def process(self) -> tuple[int, int | None]:
        """Identify the process: the kernel reuses process ids."""
        return self.pid, self.start_boottime_ns


class Stuck(NamedTuple):
    """The victim still exists this long after the kill. ``state``: as in /proc/PID/stat; None: /proc hides it."""

    victim: Victim
    after_ns: int
    state: str | None


class Gone(NamedTuple):
    """The victim released its memory, or left, this long after the kill; None: the service did not see when."""

    victim: Victim
    after_ns: int | None
