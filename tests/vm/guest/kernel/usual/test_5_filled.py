# SPDX-License-Identifier: Apache-2.0
"""What filled the limit, as in the kernel's own report about the kill."""

import os
import subprocess

import pytest

from tests.support import live
from tests.vm.guest.kernel.oomlog import reports
from tests.vm.guest.kills import kills_after

SCOPES = 10 if "OOMKILLD_TEST_FULL" in os.environ else 5  # of each kind
KINDS = ("ANON", "FILE", "SHMEM", "KERNEL")
TMPFS = "/dev/shm/oomkilld-tests"
HOG = (os.environ["OOMKILLD_TEST_HOG"], "/dev/null", "eat")
DD = ("dd", "if=/dev/zero", f"of={TMPFS}", "bs=1M", "count=64", "status=none")


def kill_in_a_scope(*command: str) -> None:
    """Kill the scope's single process, so that nothing of it is left for later readers.

    Retries if memory was refused.
    """
    scope = ("systemd-run", "--scope", "--quiet", "--collect", "-p", "MemoryMax=8M", "-p", "MemorySwapMax=0")
    for _attempt in range(10):
        try:
            if subprocess.run([*scope, *command], check=False).returncode < 0:
                return
        finally:
            if os.path.exists(TMPFS):
                os.unlink(TMPFS)
    raise AssertionError(f"{command} was never killed")


@pytest.mark.each_kernel
@pytest.mark.matrix("what filled the limit")
def test_the_contents_of_the_domain_are_those_of_the_kernels_report(here: live.Moment, level: str) -> None:
    for _ in range(SCOPES):
        kill_in_a_scope(*HOG)
        kill_in_a_scope(*DD)
    entries = kills_after(here, 2 * SCOPES, level)
    logged = {report.victim_tid: report.domain_stat for report in reports(here)}
    shown = []
    for entry in entries:
        kernel = logged.get(int(entry["OOM_VICTIM_TID"]), {})
        found = {kind: entry.get(f"OOM_AT_KILL_DOMAIN_{kind}_BYTES") for kind in KINDS}
        # Of many kills the kernel reports only some, and then its counts may be old.
        expected = {kind: kernel.get(kind.lower()) for kind in KINDS} if level != "tracepoint" else {}
        shown.append((entry["OOM_VICTIM_COMM"], found, expected))
        for kind in KINDS:
            size = expected.get(kind)
            if size is None:
                assert found[kind] is None, shown[-1]
            else:
                assert abs(int(found[kind] or -1) - size) <= size / 20, shown[-1]
    reported = [(comm, kernel) for comm, _found, kernel in shown if kernel.get("ANON")]
    print(f"{len(reported)} of {len(entries)} kills were reported by the kernel; two of them: {shown[:2]}")
    if level == "tracepoint":
        return
    assert len(reported) >= SCOPES
    tmpfs = [kernel for comm, kernel in reported if comm == "dd"]
    assert tmpfs
    assert all((kernel["SHMEM"] or 0) > (kernel["ANON"] or 0) for kernel in tmpfs)
