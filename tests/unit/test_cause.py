# SPDX-License-Identifier: Apache-2.0
"""What the kernel's numbers of a domain mean, in each kind of domain."""

from oomkilld.record.enrich.cause import Cause, cause_of
from tests.unit.records import ORIGIN, kill_of

PAGE = 4096
SHARED = 1400
UNLIMITED = ((1 << 63) - 1) // PAGE


def cause(unknown: tuple[str, ...] = (), **changes: int) -> Cause:
    return cause_of(kill_of(unknown=unknown, **changes), ORIGIN.constraints, PAGE)


def test_a_cgroup_of_version_2_counts_memory_and_swap_apart() -> None:
    assert cause() == Cause(
        constraint="CONSTRAINT_MEMCG",
        domain="cgroup",
        limit=7680 * PAGE,
        usage=7679 * PAGE,
        swap_limit=256 * PAGE,
        swap_usage=255 * PAGE,
        capacity=7680 * PAGE,
        shared=SHARED * PAGE,
    )


def test_a_cgroup_of_version_1_counts_both_together() -> None:
    found = cause(cgroup_version=1, domain_swap_limit_pages=8000, domain_swap_usage_pages=7700)
    assert (found.limit, found.swap_limit) == (7680 * PAGE, 320 * PAGE)
    assert (found.usage, found.swap_usage) == (7679 * PAGE, 21 * PAGE)


def test_what_is_not_limited_has_no_limit() -> None:
    found = cause(domain_limit_pages=UNLIMITED, domain_swap_limit_pages=UNLIMITED)
    assert (found.limit, found.swap_limit) == (None, None)
    assert (found.usage, found.swap_usage) == (7679 * PAGE, 255 * PAGE)
    assert cause(cgroup_version=1, domain_swap_limit_pages=UNLIMITED).swap_limit is None


def test_swap_in_use_is_never_below_nothing() -> None:
    # The two counters are not read at the same instant.
    assert cause(cgroup_version=1, domain_swap_usage_pages=7678).swap_usage == 0


def test_the_host_has_ram_and_swap() -> None:
    found = cause(constraint=0, domain_limit_pages=9000, domain_swap_limit_pages=3000)
    assert found == Cause(
        constraint="CONSTRAINT_NONE",
        domain="host",
        limit=9000 * PAGE,
        usage=8000 * PAGE,
        swap_limit=3000 * PAGE,
        swap_usage=1000 * PAGE,
        capacity=7680 * PAGE,
        shared=None,
    )


def test_without_the_addresses_of_the_kernels_data_the_hosts_numbers_are_unknown() -> None:
    unknown = ("domain_limit_pages", "domain_swap_limit_pages", "machine_free_pages", "machine_swap_free_pages")
    found = cause(unknown, constraint=0)
    assert (found.limit, found.usage, found.swap_limit, found.swap_usage) == (None, None, None, None)


def test_the_memory_of_some_nodes_has_a_capacity_only() -> None:
    # The machine's own numbers say nothing about them.
    found = cause(constraint=1, domain_limit_pages=1 << 24)
    assert found == Cause("CONSTRAINT_CPUSET", "cpuset", None, None, None, None, 7680 * PAGE, None)
