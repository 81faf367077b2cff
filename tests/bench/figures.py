# SPDX-License-Identifier: Apache-2.0
"""The benchmark's figures, as the guest writes them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

# On the guest's disk; the host reads it after the shutdown.
GUEST_FILE = Path("/var/lib/oomkilld-bench.json")


@dataclass
class ToolFigures:
    """Figures of one tool. None: not measured."""

    # From systemd's start of its process until its last probe is attached, one per start. Every start is cold: it
    # reuses nothing of an earlier run.
    cold_starts: list[float] = field(default_factory=list)  # all of its files are in the page cache
    cold_starts_from_disk: list[float] = field(default_factory=list)  # none of its files is
    ready_after: list[float] = field(default_factory=list)  # until READY=1, from disk; only for oomkilld
    needs_headers: bool | None = None
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    cgroup_bytes: int | None = None
    cgroup_peak_bytes: int | None = None
    bpf_ns_per_kill: float | None = None
    group_seen: int | None = None  # members of the group kill that it reported


@dataclass
class Figures:
    """All figures of one boot."""

    kernel: str = ""
    tools: dict[str, ToolFigures] = field(default_factory=dict)  # by Tool.name
    group_size: int = 0
    warm_restarts: list[float] = field(default_factory=list)  # until READY=1, with the previous run's probe
    # As cold_starts of ToolFigures, but with the program that an earlier start compiled.
    kept_starts: list[float] = field(default_factory=list)
    kept_starts_from_disk: list[float] = field(default_factory=list)
    kept_cgroup_bytes: list[int] = field(default_factory=list)  # after such a start from disk: now, peak
    # From the kill until a reader of the journal has the entry, and the kernel's line; same kills, same reader.
    entry_latencies: list[float] = field(default_factory=list)
    kernel_line_latencies: list[float] = field(default_factory=list)
    journal_bytes_per_kill: float | None = None  # with a full entry
    journal_bytes_per_reduced_kill: float | None = None  # with a reduced entry
    # How many entries contain the victim's command line, where it asked for memory itself, and where another process
    # did.
    cmdlines_itself: list[int] = field(default_factory=list)  # [with command line, all]
    cmdlines_another: list[int] = field(default_factory=list)

    # Among many processes: the seconds of the kernel's search for a victim, without and with its list of tasks printed,
    # and of a read of every oom_score; each [with the service, without it].
    search_seconds: list[float] = field(default_factory=list)
    listed_search_seconds: list[float] = field(default_factory=list)
    scores_seconds: list[float] = field(default_factory=list)
    many_processes: int = 0

    # A storm: this many kills, as fast as the machine made them.
    storm_kills: int | None = None
    storm_missing: int | None = None
    storm_seconds: float | None = None
    storm_cpu_seconds: float | None = None  # of the service, until all entries were in the journal
    storm_rss_bytes: list[int] = field(default_factory=list)  # before, after

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=1)


def load(text: str) -> Figures:
    content = json.loads(text)
    content["tools"] = {name: ToolFigures(**tool) for name, tool in content["tools"].items()}
    return Figures(**content)


def cold_ratio(figures: Figures, name: str, of: str) -> float:
    """The median cold start of one tool, as a share of another's."""
    return median(figures.tools[name].cold_starts) / median(figures.tools[of].cold_starts)


def percentile(values: list[float], percent: int) -> float:
    """The smallest of ``values`` that ``percent`` percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
