# SPDX-License-Identifier: Apache-2.0
"""The state of the machine at the kill: the kernel's own counters, read by the probe."""

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, MIB, kills_after

# The probe's value and /proc's, a moment later, differ by at most this number of bytes: the victim's memory may be free
# by then, and each CPU keeps some pages of a count to itself.
AT_KILL = {
    **dict.fromkeys(("MEMFREE", "ANONPAGES"), LIMIT + 8 * MIB),
    **dict.fromkeys(("MAPPED", "SHMEM", "SLAB", "DIRTY", "WRITEBACK"), 6 * MIB),
    "SWAPFREE": 0,
}


@pytest.mark.each_kernel
@pytest.mark.matrix("machine at the kill")
def test_the_state_of_the_machine_is_read_in_the_kernel_at_the_kill(here: live.Moment, level: str) -> None:
    with live.cgroup("single", LIMIT) as where:
        live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    found = {key: int(entry[f"OOM_AT_KILL_{key}_BYTES"]) for key in AT_KILL}
    after = {key: int(entry[f"OOM_MEMINFO_{key}_BYTES"]) for key in AT_KILL}
    assert {key: found[key] - after[key] for key in AT_KILL if abs(found[key] - after[key]) > AT_KILL[key]} == {}
    loads = [float(entry[f"OOM_AT_KILL_LOADAVG_{minutes}"]) for minutes in (1, 5, 15)]
    afterwards = [float(entry[f"OOM_LOADAVG_{minutes}"]) for minutes in (1, 5, 15)]
    # The kernel updates the load averages every 5 s.
    assert all(abs(load - later) < 0.5 for load, later in zip(loads, afterwards, strict=True)), (loads, afterwards)
    assert max(loads) > 0.0
