# SPDX-License-Identifier: Apache-2.0
"""How slow this machine is at the moment, and what will therefore not end in time.

A virtual machine may get a tenth of a processor for hours. What must end by then had better not begin.
"""

import math
import os
import time

# What ``_rounds_per_second`` gives on the machine that the figures in minutes are of.
_USUAL = 14e6
# Beyond, real services miss their own deadlines: systemd gives a unit 90 s. Seen at 15: 13 minutes after its start a
# guest was still looking for its disks.
_MOST = 4.0


def slowness(seconds: float = 5.0) -> float:
    """How many times longer than usual things take now, at least 1; looks for so long."""
    return max(1.0, _USUAL / _rounds_per_second(seconds))


def _at_start() -> float:
    return float(os.environ.get("OOMKILLD_TEST_SLOWNESS", "1"))


def examples(usually: int) -> int:
    """How many cases to draw: fewer on a machine that was found to be slow (``tests/run --minutes``)."""
    return max(50, int(usually / _at_start()))


def ends_in_time(minutes: float, until: float) -> bool:
    """Whether what usually takes so long will most likely have ended at ``until``, seconds since 1970."""
    if until == math.inf:
        return True
    # It varies: what was found over a longer time at the start of the run counts, too.
    factor = max(slowness(), _at_start())
    return factor <= _MOST and time.time() + minutes * 60 * factor <= until


def _rounds_per_second(seconds: float) -> float:
    started = time.monotonic()
    rounds = 0
    while time.monotonic() - started < seconds:
        for _ in range(10_000):
            rounds += 1
    return rounds / (time.monotonic() - started)


if __name__ == "__main__":
    print(f"{slowness(30.0):.1f}")
