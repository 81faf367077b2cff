# SPDX-License-Identifier: Apache-2.0
"""How slow this machine is now, and which work will therefore not end in time.

A virtual machine may get a tenth of a processor for hours. Work with a deadline had better not begin then.
"""

import math
import os
import subprocess
import sys
import time

# The result of ``_processes_per_second`` on the machine for which the usual minutes were measured.
_USUAL = 30.0
# On slower machines nobody can keep promised deadlines: at a slowness of some 30, a quarter of a second took 1.8 s, not
# counting measured stalls. The rest is the machine's, too: a process that only slept 5 ms again and again lost up to
# 1.6 s in 11 s there.
_MOST = 4.0
# A machine was seen to become this many times slower within an hour.
_VARIES = 1.5
VARIABLE = "OOMKILLD_TEST_SLOWNESS"


def slowness(seconds: float = 5.0) -> float:
    """How many times longer than usual work takes now, at least 1; measures for ``seconds``."""
    return max(1.0, _USUAL / _processes_per_second(seconds))


def patience() -> float:
    """The factor for a test's longest wait, where nothing is promised: the slowness at the start."""
    return float(os.environ.get(VARIABLE, "1"))


def examples(usually: int) -> int:
    """How many cases to draw: fewer on a machine that was found to be slow (``tests/run --minutes``)."""
    return max(50, int(usually / patience()))


def ends_in_time(minutes: float, until: float, factor: float | None = None) -> bool:
    """Whether work of usually ``minutes`` will most likely end before ``until``, seconds since 1970.

    ``factor``: how many times longer than usual work takes now; None: measure it.
    """
    if until == math.inf:
        return True
    # Slowness varies, so the longer measurement at the start of the run counts, too.
    factor = max(slowness() if factor is None else factor, patience())
    return factor <= _MOST and time.time() + minutes * 60 * factor * _VARIES <= until


def _processes_per_second(seconds: float) -> float:
    """A loop would show too little: at a tenth of the processes it still made half of its rounds."""
    started = time.monotonic()
    processes = 0
    while time.monotonic() - started < seconds:
        subprocess.run([sys.executable, "-I", "-c", "import json, socket"], check=True)
        processes += 1
    return processes / (time.monotonic() - started)


if __name__ == "__main__":
    print(f"{slowness(30.0):.1f}")
