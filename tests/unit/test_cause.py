# SPDX-License-Identifier: Apache-2.0
"""The meaning of the kernel's numbers in each kind of domain."""

from oomkilld.record.enrich.cause import Cause, cause_of
from tests.unit.records import ORIGIN, kill_of

PAGE = 4096
SHARED = 1400
UNLIMITED = ((1 << 63) - 1) // PAGE


def cause(unknown: tuple[str, ...] = (), **changes: int) -> Cause:
    return cause_of(kill_of(unknown=unknown, **changes), ORIGIN.constraints, PAGE)


def test_cgroup_version_2_counts_memory_and_swap_separately() -> None:
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


def test_cgroup_version_1_counts_memory_and_swap_together() -> None:
    found = cause(cgroup_version=1, domain_swap_limit_pages=8000, domain_swap_usage_pages=7700)
    assert (found.limit, found.swap_limit) == (7680 * PAGE, 320 * PAGE)
    assert (found.usage, found.swap_usage) == (7679 * PAGE, 21 * PAGE)


def test_no_limit_gives_no_limit_field() -> None:
    found = cause(domain_limit_pages=UNLIMITED, domain_swap_limit_pages=UNLIMITED)
    assert (found.limit, found.swap_limit) == (None, None)
    assert (found.usage, found.swap_usage) == (7679 * PAGE, 255 * PAGE)
    assert cause(cgroup_version=1, domain_swap_limit_pages=UNLIMITED).swap_limit is None


def test_swap_in_use_is_never_negative() -> None:
    # The kernel does not read the two counters at the same instant.
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


def test_if_the_kernel_hides_its_addresses_the_hosts_numbers_are_unknown() -> None:
    unknown = ("domain_limit_pages", "domain_swap_limit_pages", "machine_free_pages", "machine_swap_free_pages")
    found = cause(unknown, constraint=0)
    assert (found.limit, found.usage, found.swap_limit, found.swap_usage) == (None, None, None, None)


def test_a_set_of_nodes_has_only_a_capacity() -> None:
    # The machine's own numbers do not describe these nodes.
    found = cause(constraint=1, domain_limit_pages=1 << 24)
    assert found == Cause("CONSTRAINT_CPUSET", "cpuset", None, None, None, None, 7680 * PAGE, None)
