# SPDX-License-Identifier: Apache-2.0
"""Finds impossible records.

Only what the kernel rules out counts. A process must not be able to cause such a record: it would hide its own kill,
and after three of them everybody would lose the better level. So no resident size is compared with the machine's memory
(a process may map a file again and again) or with the address space (execve counts the new program's pages as the old
one's), and no text that another task may be changing is checked.
"""

from collections.abc import Iterator

from oomkilld.host.clock import KernelClock
from oomkilld.host.procfs import ProcReader
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import KillRecord

_PID_LIMIT = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h
_COMM_BYTES = 16  # TASK_COMM_LEN, with a NUL that is always there
_WHOLE_MACHINE = 0  # CONSTRAINT_NONE, include/linux/oom.h
_ADDRESS_SPACE_BYTES = 1 << 57  # with five-level page tables
# For memory that the kernel leaves out of its totals, and for memory that was plugged in since they were read.
_CAPACITY_SLACK = 1.25


class Machine(NamedTuple):
    """Bounds of a true record. ``capacity_bytes``: RAM and swap; None: unknown.

    The capacity was first read ``capacity_since_ns`` after boot: before that, there may have been more swap.
    """

    boottime_ns: int
    capacity_bytes: int | None
    capacity_since_ns: int
    page_bytes: int
    constraints: int  # how many the kernel has; 0: unknown


def why_impossible(kill: KillRecord, machine: Machine) -> str | None:
    """Why this record is impossible; None: it is possible."""
    checks = (_numbers(kill, machine), _times(kill, machine), _texts(kill), _sizes(kill, machine))
    return next((reason for check in checks for reason in check), None)


def _numbers(kill: KillRecord, machine: Machine) -> Iterator[str]:
    for name in ("victim_pid", "victim_tid", "trigger_pid", "trigger_tid"):
        number = getattr(kill, name)
        if number is not None and not 0 < number <= _PID_LIMIT:
            yield f"found {name} {number}, expected 1 to {_PID_LIMIT}"
    if kill.victim_oom_score_adj is not None and not -1000 <= kill.victim_oom_score_adj <= 1000:
        yield f"found oom_score_adj {kill.victim_oom_score_adj}, expected -1000 to 1000"
    if kill.order is not None and not -1 <= kill.order < 64:
        yield f"found order {kill.order}, expected -1 to 63"
    if kill.constraint is not None and machine.constraints and kill.constraint >= machine.constraints:
        yield f"found constraint {kill.constraint}, expected less than {machine.constraints}"


def _times(kill: KillRecord, machine: Machine) -> Iterator[str]:
    now, killed = machine.boottime_ns, kill.kill_boottime_ns
    if not 0 < killed <= now:
        yield f"found a kill {killed} ns after the boot, expected at most {now}"
    for what, instant in (("decision", kill.decision_boottime_ns), ("victim", kill.victim_start_boottime_ns)):
        if instant is not None and instant > killed:
            yield f"found a {what} that began {instant - killed} ns after the kill"


def _texts(kill: KillRecord) -> Iterator[str]:
    for name in ("victim_comm", "trigger_comm"):
        comm = getattr(kill, name)
        if comm is not None and len(comm) >= _COMM_BYTES:
            yield f"found {name} without a terminating NUL"
    if kill.reason is not None and not (kill.reason.isascii() and b"ut of memory" in kill.reason):
        yield f"found the reason {kill.reason!r}, expected the kernel's message"


def _sizes(kill: KillRecord, machine: Machine) -> Iterator[str]:
    for name in ("total_vm", "anon", "file", "shmem", "swap"):
        pages = getattr(kill, f"victim_{name}_pages")
        if pages is not None and pages > _ADDRESS_SPACE_BYTES // machine.page_bytes:
            yield f"found {pages} pages of {name}"
    if machine.capacity_bytes is None or kill.kill_boottime_ns < machine.capacity_since_ns:
        return
    most = int(machine.capacity_bytes * _CAPACITY_SLACK)
    physical = {
        "page tables": kill.victim_pgtables_bytes,
        "free memory": _bytes(kill.machine_free_pages, machine),
        "free swap": _bytes(kill.machine_swap_free_pages, machine),
        "RAM and swap": _bytes(kill.total_pages, machine) if kill.constraint == _WHOLE_MACHINE else None,
    }
    for what, size in physical.items():
        if size is not None and size > most:
            yield f"found {size} bytes of {what} on a machine with {machine.capacity_bytes}"


def _bytes(pages: int | None, machine: Machine) -> int | None:
    return None if pages is None else pages * machine.page_bytes


class Judge:
    """Judges records of this machine. ``constraints``: how many the kernel has; 0: unknown."""

    def __init__(self, proc: ProcReader, clock: KernelClock, page_bytes: int, constraints: int) -> None:
        self._proc = proc
        self._clock = clock
        self._page_bytes = page_bytes
        self._constraints = constraints
        self._since_ns = clock.boottime_ns()
        self._capacity = self._read_capacity()

    def why_impossible(self, kill: KillRecord) -> str | None:
        """Why this record is impossible; None: it is possible."""
        reason = why_impossible(kill, self._machine())
        if reason is not None:
            # Swap may have been added since. Keep the larger value: swap that is gone may have existed at the kill.
            self._capacity = max(filter(None, (self._capacity, self._read_capacity())), default=None)
            reason = why_impossible(kill, self._machine())
        return reason

    def _machine(self) -> Machine:
        return Machine(self._clock.boottime_ns(), self._capacity, self._since_ns, self._page_bytes, self._constraints)

    def _read_capacity(self) -> int | None:
        try:
            rows = self._proc.meminfo()
            return rows["MemTotal"].value + rows["SwapTotal"].value
        except (OSError, ValueError, KeyError):
            return None
