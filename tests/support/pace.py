# SPDX-License-Identifier: Apache-2.0
"""How slow this machine is at the moment, and what will therefore not end in time.

A virtual machine may get a tenth of a processor for hours. What must end by then had better not begin.
"""

import math
import os
import subprocess
import sys
import time

# What ``_processes_per_second`` gives on the machine that the figures in minutes are of.
_USUAL = 30.0
# Beyond, deadlines that are promised cannot be kept by anyone: seen at some 30, 1.8 s for a quarter of a second, with
# what was measured of the machine's stalls taken off. What is left is the machine's, too: of a process that does no
# more than sleep 5 ms again and again it was up to 1.6 s in 11 s there.
_MOST = 4.0
# Within an hour it may become so much slower, as was seen.
_VARIES = 1.5
VARIABLE = "OOMKILLD_TEST_SLOWNESS"


def slowness(seconds: float = 5.0) -> float:
    """How many times longer than usual things take now, at least 1; looks for so long."""
    return max(1.0, _USUAL / _processes_per_second(seconds))


def patience() -> float:
    """By how much to multiply what a test waits for at most, where nothing is promised: the slowness at the start."""
    return float(os.environ.get(VARIABLE, "1"))


def examples(usually: int) -> int:
    """How many cases to draw: fewer on a machine that was found to be slow (``tests/run --minutes``)."""
    return max(50, int(usually / patience()))


def ends_in_time(minutes: float, until: float, factor: float | None = None) -> bool:
    """Whether what usually takes so long will most likely have ended at ``until``, seconds since 1970.

    ``factor``: how many times longer than usual things take now, where that is known; it is looked for otherwise.
    """
    if until == math.inf:
        return True
    # It varies: what was found over a longer time at the start of the run counts, too.
    factor = max(slowness() if factor is None else factor, patience())
    return factor <= _MOST and time.time() + minutes * 60 * factor * _VARIES <= until


def _processes_per_second(seconds: float) -> float:
    """A loop tells too little: seen at a tenth of the processes, half of the rounds."""
    started = time.monotonic()
    processes = 0
    while time.monotonic() - started < seconds:
        subprocess.run([sys.executable, "-I", "-c", "import json, socket"], check=True)
        processes += 1
    return processes / (time.monotonic() - started)


if __name__ == "__main__":
    print(f"{slowness(30.0):.1f}")
