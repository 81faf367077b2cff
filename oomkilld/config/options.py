# SPDX-License-Identifier: Apache-2.0
"""The values that each option of the configuration, and each stored setting, may have.

Standard library only: a start that finds the settings validated checks them here and does not load pydantic.
"""

import re
from typing import Literal

CaptureLevel = Literal["auto", "kprobe", "fentry", "tracepoint", "kmsg"]
SyslogLevel = Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
LogLevel = Literal["err", "warning", "info"]
Rows = Literal["common", "all"]
Outcome = Literal["stuck", "all"]
CommandLine = Literal["off", "first-argument", "full"]

MAX_REDUCE_FROM = 1000
MAX_RECORDER_CGROUPS = 256
MEMINFO_KEY = r"^[A-Za-z0-9_()]{1,40}$"


def is_ring_size(size: int) -> bool:
    """Whether a ring of ``size`` bytes is allowed."""
    return 4096 <= size <= 64 << 20 and not size & (size - 1)


def is_meminfo_key(key: object) -> bool:
    """Whether it can be the key of a row of /proc/meminfo."""
    return isinstance(key, str) and re.fullmatch(MEMINFO_KEY, key) is not None
