# SPDX-License-Identifier: Apache-2.0
"""MESSAGE names what filled the limit, if that is not the victim's resident memory."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import live
from tests.vm.guest.kills import LIMIT, MIB, kills_after

FILE = Path("/dev/shm/filled")
FILL = f"echo $$ > $0/cgroup.procs; exec dd if=/dev/zero of={FILE} bs=1M count=100"


def test_files_in_memory(here: live.Moment, level: str) -> None:
    with live.cgroup("files", LIMIT) as where:
        try:
            subprocess.run(["/bin/sh", "-c", FILL, where.path], check=False, stderr=subprocess.DEVNULL)
            (entry,) = kills_after(here, 1, level)
        finally:
            FILE.unlink(missing_ok=True)
    assert int(entry["OOM_VICTIM_RSS_BYTES"]) < LIMIT / 2
    if level != "tracepoint":
        assert re.search(r" \(limit 30\.0M, 2\d\.\dM of it shared memory or tmpfs\): killed process", entry["MESSAGE"])


@pytest.mark.usefixtures("swap")
def test_swapped_memory(here: live.Moment, level: str) -> None:
    with live.cgroup("swapped", LIMIT) as where:
        (where.path / "memory.swap.max").write_text("max")
        live.kill_one(where)
        (entry,) = kills_after(here, 1, level)
    assert int(entry["OOM_VICTIM_SWAP_BYTES"]) > 50 * MIB
    assert re.search(r", [123]\d\.\dM resident and [56]\d\.\dM swapped out; asked by", entry["MESSAGE"])
