# SPDX-License-Identifier: Apache-2.0
"""More than 100 kills at once: the later ones get reduced entries, a kill elsewhere a full one."""

from pathlib import Path

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.support import live
from tests.vm.guest.kills import MIB, SECONDS
from tests.vm.guest.service import run

# A separate owner: the kills of earlier tests count for the tests' unit.
FLOODED = Path("/sys/fs/cgroup/flooded.service")
MEMBERS = 130
FULL = 99


def kinds(names: set[str]) -> set[str]:
    """The names that were sent, without those that journald adds."""
    return {name for name in names if name.startswith(("OOM_", "OBJECT_"))}


def kill_in_a_unit() -> None:
    """A kill of another owner."""
    limits = ("-p", "MemoryMax=4M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=continue")
    for _attempt in range(10):
        result = run("systemd-run", "--wait", "--quiet", "--collect", *limits, live.hog_program(), "/dev/null", "eat")
        if result.returncode != live.ENOMEM_STATUS:
            return


def test_in_a_flood_in_one_cgroup_later_entries_are_reduced_and_one_elsewhere_is_full(here: live.Moment) -> None:
    # A group kill, so that the machine's speed does not matter: one decision kills all of them.
    with memory_cgroup(FLOODED, 128 * MIB, group_kill=True):
        where = live.Cgroup(FLOODED)
        members = [where.start("sleep") for _ in range(MEMBERS - 1)]
        members.append(where.start("hold=4", "eat"))
        assert all(live.killed(member) for member in members)
    kill_in_a_unit()
    with memory_cgroup(FLOODED, 4 * MIB):
        live.kill_one(live.Cgroup(FLOODED))
    entries = live.wait_for(
        "all entries",
        lambda: found if len(found := live.service_entries("kill", here)) >= MEMBERS + 2 else None,
        10 * SECONDS,
        live.service_journal,
    )
    entries.sort(key=lambda entry: int(entry["OOM_BOOTTIME_TIMESTAMP"]))
    *group, elsewhere, again = entries
    took = int(again["OOM_BOOTTIME_TIMESTAMP"]) - int(group[0]["OOM_BOOTTIME_TIMESTAMP"])
    late = int(group[-1]["OOM_SAMPLE_DELAY_USEC"])
    print(f"{MEMBERS} kills and two more within {took / 1e6:.2f} s, the last one sampled {late / 1e6:.2f} s after it")
    assert len({entry["OOM_DECISION_ID"] for entry in group}) == 1
    details = [entry["OOM_DETAIL"] for entry in group]
    too_slow = f"a flood is 100 kills within 10 s, and these took {took / 1e6:.2f} s"
    assert details == ["full"] * FULL + ["reduced"] * (MEMBERS - FULL), too_slow
    assert (elsewhere["OOM_DETAIL"], again["OOM_DETAIL"]) == ("full", "reduced")
    full, reduced = kinds(set(group[0])), kinds(set(group[-1]))
    assert reduced < full
    for name in (
        "OOM_DOMAIN_EVENTS_OOM_KILL",
        "OOM_DOMAIN_STAT_ANON_BYTES",
        "OOM_MEMINFO_MEMFREE_BYTES",
        "OOM_VMSTAT_OOM_KILL",
        "OOM_VICTIM_RSS_BYTES",
    ):
        assert name in full - reduced
    for name in (
        "OOM_VICTIM_CGROUP",
        "OOM_VICTIM_COMM",
        "OOM_DOMAIN_CGROUP",
        "OOM_TRIGGER_PID",
        "OOM_LOADAVG_1",
        "OOM_REASON",
    ):
        assert name in reduced
    # One reading of the cgroup served all full entries of the decision.
    stats = [
        {name: value for name, value in entry.items() if name.startswith("OOM_DOMAIN_STAT_")} for entry in group[:FULL]
    ]
    assert all(stat == stats[0] for stat in stats)
