# SPDX-License-Identifier: Apache-2.0
"""Tests excuse missed deadlines by measured stalls, and by no more than there were."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.stalls import Stall, Stalls

ROOT = Path(__file__).parents[2]
WATCH = """
import sys
from tests.support.stalls import Stalls
with Stalls() as stalls:
    print("watching", flush=True)
    sys.stdin.readline()
print(stalls.seconds)
"""


def test_overlapping_stalls_count_once_and_only_within_the_span() -> None:
    stalls = Stalls()
    stalls._found = [Stall(20.0, 21.0), Stall(11.0, 13.0), Stall(10.0, 12.0), Stall(10.5, 11.0)]
    assert stalls.within(0.0, 100.0) == 4.0
    assert stalls.within(11.5, 12.5) == 1.0
    assert stalls.within(12.5, 20.5) == 1.0
    assert stalls.within(13.0, 20.0) == 0.0
    assert stalls.within(30.0, 40.0) == 0.0


def test_a_stopped_process_notices_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCH], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
        os.kill(watcher.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(watcher.pid, signal.SIGCONT)
        found = float(watcher.communicate("\n")[0])
    assert found >= 0.29
