# SPDX-License-Identifier: Apache-2.0
"""What the record of a kill is, its id, and what becomes of its victim."""

from _blake2 import blake2b  # hashlib would load OpenSSL: 4 MB resident

from oomkilld.lighttyping import NamedTuple


class CommandLine(NamedTuple):
    """As in /proc/PID/cmdline: arguments, each with a NUL behind, bounded; ``cut``: there was more."""

    text: bytes
    cut: bool


class KillRecord(NamedTuple):
    """One kill, or one process that was spared, as the kernel saw it; None is a fact that was not to be had.

    Times are nanoseconds of CLOCK_BOOTTIME. ``pid`` is a process, ``tid`` a thread. Names and paths are raw bytes;
    a ``cgroup`` is the path from the root of its hierarchy, ``exe`` the base name of the file that is run. Where a path
    is ``cut`` it is of the outermost names only: inner ones were left out.
    """

    kill_boottime_ns: int
    spared: int  # not 0: found by the OOM killer while exiting anyway, not killed
    victim_pid: int | None  # None: the kernel told the thread only
    victim_tid: int
    trigger_pid: int | None  # None, as of its thread: the kernel's log did not tell
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
    victim_memory_sharers: int | None  # who else uses its memory, each thread of theirs
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
    domain_cgroup: bytes | None  # whose limit was hit; None too where it was none's
    domain_cgroup_cut: bool
    domain_limit_pages: int | None
    domain_usage_pages: int | None
    domain_swap_limit_pages: int | None  # in version 1 of cgroups of memory and swap together
    domain_swap_usage_pages: int | None  # likewise
    domain_anon_pages: int | None  # of a cgroup, as the kernel has counted them for its log
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
    trigger_cmdline: CommandLine | None  # None too where it is not asked for
    logged_usec: int | None  # read in the kernel's log: the line's own time, by printk's clock
    decision_logged_usec: int | None  # likewise, of the first kill of its decision
    domain_nodes: bytes | None  # NUMA nodes whose memory ran out, as the kernel lists them: ``0-3,8``
    domain_cpuset: bytes | None  # its name, where it is what ran out
    victim_within: bytes | None  # the cgroup in which, or below which, it was, where its own is not known


class Unkillable(NamedTuple):
    """Something ran out, and nothing could be killed. ``decision``: all but what is of a victim, and its time.

    ``times``: so often since the one before, of the same domain.
    """

    decision: KillRecord
    times: int = 1


class Release(NamedTuple):
    """A thread of a victim has let go of its memory. Nanoseconds of CLOCK_BOOTTIME."""

    boottime_ns: int
    pid: int
    tid: int
    start_boottime_ns: int  # of the process


def kill_id(kill: KillRecord, boot_id: bytes) -> str:
    """Names this kill among all kills of all boots, however often it is sent."""
    if kill.logged_usec is not None:
        return logged_kill_id(kill, boot_id)
    return _digest(boot_id, b"kill", kill.victim_tid, kill.kill_boottime_ns)


def logged_kill_id(kill: KillRecord, boot_id: bytes) -> str:
    """Of a kill that was read in the kernel's log."""
    assert kill.logged_usec is not None
    # The line's own time: what is made of it by other clocks is not the same at each reading.
    return _digest(boot_id, b"logged kill", kill.victim_tid, kill.logged_usec)


def decision_id(kill: KillRecord, boot_id: bytes) -> str | None:
    """Names the decision that killed, likewise; None: it is not known."""
    if kill.decision_logged_usec is not None:
        return _digest(boot_id, b"logged decision", 0, kill.decision_logged_usec)
    if kill.decision_boottime_ns is None or kill.trigger_tid is None:
        return None
    return _digest(boot_id, b"decision", kill.trigger_tid, kill.decision_boottime_ns)


def _digest(boot_id: bytes, kind: bytes, tid: int, boottime_ns: int) -> str:
    text = b"%s %s %d %d" % (boot_id, kind, tid, boottime_ns)
    return str(blake2b(text, digest_size=16).hexdigest())


class Victim(NamedTuple):
    """A killed process. ``fields``: those of any entry that tell of it, one a line, see killentry.victim_fields().

    Some of the kill's record only: hundreds are kept, and a whole one takes more than a kilobyte.
    """

    pid: int
    start_boottime_ns: int | None
    kill_boottime_ns: int
    fields: bytes

    @property
    def process(self) -> tuple[int, int | None]:
        """The process, not only its number, which the kernel gives again."""
        return self.pid, self.start_boottime_ns


class Stuck(NamedTuple):
    """It is still there so long after the kill; ``state`` of its first thread as in /proc/PID/stat, None: not shown."""

    victim: Victim
    after_ns: int
    state: str | None


class Gone(NamedTuple):
    """It has let go of its memory, or has left, so long after the kill; None: it was not seen when."""

    victim: Victim
    after_ns: int | None
