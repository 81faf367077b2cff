# SPDX-License-Identifier: Apache-2.0
"""What ran out: the domain, its limit, and how much of it was in use."""

from collections.abc import Sequence

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import KillRecord

_DOMAINS = {
    "CONSTRAINT_NONE": "host",
    "CONSTRAINT_MEMCG": "cgroup",
    "CONSTRAINT_CPUSET": "cpuset",
    "CONSTRAINT_MEMORY_POLICY": "mempolicy",
}
_LONG_MAX = (1 << 63) - 1


class Cause(NamedTuple):
    """None: unknown; of a limit also: none is set. Sizes in bytes."""

    constraint: str | None  # the kernel's word
    domain: str | None  # host, cgroup, cpuset or mempolicy
    limit: int | None
    usage: int | None
    swap_limit: int | None
    swap_usage: int | None
    capacity: int | None  # oom_control.totalpages: all that the domain may use, with swap
    shared: int | None  # part of a cgroup's usage: shared memory and tmpfs, as the kernel counted it for its report


_Pages = tuple[int | None, int | None, int | None, int | None]


def cause_of(kill: KillRecord, constraints: Sequence[str], page_bytes: int) -> Cause:
    """``constraints``: the kernel's names, by number."""
    constraint = _constraint(kill, constraints)
    domain = _DOMAINS.get(constraint) if constraint else _domain_by(kill.reason)
    sizes: _Pages = None, None, None, None
    if domain == "host":
        sizes = _whole_machine(kill)
    elif domain == "cgroup":
        sizes = _cgroup(kill, page_bytes)
    others = kill.total_pages, kill.domain_shmem_pages if domain == "cgroup" else None
    return Cause(constraint, domain, *(None if pages is None else pages * page_bytes for pages in sizes + others))


def _constraint(kill: KillRecord, names: Sequence[str]) -> str | None:
    number = kill.constraint
    return (names[number] or None) if number is not None and number < len(names) else None


def _domain_by(reason: bytes | None) -> str | None:
    """The domain by the kernel's message alone: any message but this one fits several domains."""
    return "cgroup" if reason == b"Memory cgroup out of memory" else None


def _whole_machine(kill: KillRecord) -> _Pages:
    ram, swap = kill.domain_limit_pages, kill.domain_swap_limit_pages
    return ram, _less(ram, kill.machine_free_pages), swap, _less(swap, kill.machine_swap_free_pages)


def _cgroup(kill: KillRecord, page_bytes: int) -> _Pages:
    unlimited = _LONG_MAX // page_bytes  # PAGE_COUNTER_MAX, include/linux/page_counter.h
    limits = kill.domain_limit_pages, kill.domain_swap_limit_pages
    memory, swap = (pages if pages is not None and pages < unlimited else None for pages in limits)
    usage, swap_usage = kill.domain_usage_pages, kill.domain_swap_usage_pages
    if kill.cgroup_version == 1:
        return memory, usage, _less(swap, memory), _less(swap_usage, usage)
    return memory, usage, swap, swap_usage


def _less(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)
