# SPDX-License-Identifier: Apache-2.0
"""packaging/try before anything is installed: cgroup version 2, every capture level available."""

import json
import subprocess

from tests.support import live
from tests.vm.guest.first_boot.test_1_install import tree


def test_try_shows_the_entry_of_one_kill_and_leaves_the_machine_as_it_was() -> None:
    before, vmstat = tree(), live.vmstat_kills()
    result = subprocess.run(["packaging/try", "--json"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    entry = json.loads(result.stdout)
    assert live.vmstat_kills() - vmstat == 1
    assert entry["OOM_SOURCE"] == "kprobe"
    assert entry["OOM_DOMAIN"] == "cgroup"
    assert int(entry["OOM_TOTAL_BYTES"]) == 30 << 20
    assert entry["_SYSTEMD_UNIT"].startswith("oomkilld-try-")
    assert tree() == before
    units = subprocess.run(
        ["systemctl", "list-units", "--all", "oomkilld-try*"], check=True, capture_output=True, text=True
    )
    assert "oomkilld-try" not in units.stdout
