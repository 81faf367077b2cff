# SPDX-License-Identifier: Apache-2.0
"""Unit names in an entry are those that systemctl accepts, whatever characters they contain."""

import os
import string

import pytest

from tests.support import live
from tests.vm.guest.kills import kills_after, until_one_is_killed
from tests.vm.guest.service import run

# All VALID_CHARS of systemd's src/basic/unit-name.c but "@", which begins an instance and occurs once anyway.
LEGAL = string.digits + string.ascii_letters + ":-_.\\"
LIMITS = ("-p", "MemoryMax=30M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=continue")


@pytest.mark.parametrize(
    "unit",
    [
        rf"{LEGAL}@{LEGAL}@\x40.service",
        r"foo\x2dbar@a-b.service",
        r"\x5cx2d\\.service",
        r"_.\-:.service",
        "memory.max.service",
    ],
)
def test_a_name_is_the_one_that_systemctl_accepts(here: live.Moment, level: str, unit: str) -> None:
    slice_name = r"names-a\x2db.slice"
    hog = (os.environ["OOMKILLD_TEST_HOG"], "/dev/null", "eat")

    def start() -> None:
        run("systemctl", "reset-failed", "--", unit)
        run("systemd-run", "--wait", "--quiet", f"--unit={unit}", f"--slice={slice_name}", *LIMITS, "--", *hog)

    try:
        until_one_is_killed(start)
        (entry,) = kills_after(here, 1, level)
        for field in ("OOM_VICTIM_UNIT", "OBJECT_SYSTEMD_UNIT"):
            shown = run("systemctl", "status", "--no-pager", "--full", "--", entry[field])
            assert shown.stdout.partition(" ")[2].startswith(f"{unit} - "), shown.stdout + shown.stderr
    finally:
        run("systemctl", "reset-failed", "--", unit)
    assert entry["OOM_VICTIM_CGROUP"] == entry["OBJECT_SYSTEMD_CGROUP"]
    # systemd prefixes "_" to a name that could be a file of the kernel.
    assert entry["OOM_VICTIM_CGROUP"].removesuffix(unit) in (f"/names.slice/{slice_name}/{sign}" for sign in ("", "_"))
    assert entry["OOM_VICTIM_SLICE"] == slice_name
    state = run("systemctl", "show", "--property=LoadState", "--value", "--", entry["OOM_VICTIM_SLICE"]).stdout
    assert state == "loaded\n"
    if level != "tracepoint":
        shown_unit = unit if len(unit) <= 120 else f"{unit[:120]}..."
        assert entry["MESSAGE"].startswith(f"Out of memory in {shown_unit} (limit 30.0M): killed process ")
