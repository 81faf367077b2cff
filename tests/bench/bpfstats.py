# SPDX-License-Identifier: Apache-2.0
"""The cost of BPF programs, as the kernel measures it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


def tracing_programs() -> dict[int, int]:
    """Nanoseconds that each loaded program has run while the kernel counted, by program id.

    Without the cgroup programs that systemd loads for its units.
    """
    shown = subprocess.run(["bpftool", "--json", "prog", "show"], check=True, capture_output=True, text=True).stdout
    return {
        program["id"]: program.get("run_time_ns", 0)
        for program in json.loads(shown)
        if not program["type"].startswith(("cgroup", "lsm"))
    }


@contextmanager
def counted() -> Iterator[None]:
    """Let the kernel measure (kernel.bpf_stats_enabled)."""
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text("0")
