# SPDX-License-Identifier: Apache-2.0
"""What the resident stage gives up, tried on a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld.record import privileges

ROOT = Path(__file__).parents[2]
SHOW = "print(*[line.split()[1] for line in open('/proc/self/status') if line[:3] in ('Cap', 'NoN')])"
DROP = f"""
import subprocess, sys
from oomkilld.record import privileges
privileges.drop()
{SHOW}
sys.stdout.flush()
subprocess.run([sys.executable, "-c", {SHOW!r}], check=True)
"""


def test_nothing_is_kept_but_the_right_to_the_kernels_log_and_no_program_gets_more() -> None:
    command = [sys.executable, "-c", DROP]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == 2
    kept = 1 << 34 if os.geteuid() == 0 else 0
    for line in lines:
        inheritable, permitted, effective, _bounding, _ambient, no_new = line.split()
        assert int(inheritable, 16) == 0
        assert int(permitted, 16) & ~kept == int(effective, 16) & ~kept == 0
        assert no_new == "1"


@pytest.mark.parametrize("refused", ["prctl", "capset"])
def test_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    monkeypatch.setattr(privileges, "call", lambda name, *_arguments: -1 if name == refused else 0)
    with pytest.raises(privileges.CannotDrop, match=refused):
        privileges.drop()
