# SPDX-License-Identifier: Apache-2.0
"""The benchmark's arithmetic and its table."""

import pytest

from tests.bench import figures, table
from tests.bench.figures import Figures, ToolFigures

MIB = 1 << 20
MEASURED = Figures(
    kernel="6.12",
    tools={
        "bcc": ToolFigures([40.0, 34.0, 30.0], [41.0], needs_headers=True, rss_bytes=160 * MIB, group_seen=1),
        "bpftrace": ToolFigures(),
        "libbpf": ToolFigures(bpf_ns_per_kill=1500.0, cgroup_bytes=3 * MIB, cgroup_peak_bytes=4 * MIB),
        "oomkilld": ToolFigures(cold_starts=[8.5, 6.0, 9.0], ready_after=[10.2], pss_bytes=9 * MIB, rss_bytes=14 * MIB),
    },
    group_size=6,
    kept_cgroup_bytes=[12 * MIB, 13 * MIB],
    entry_latencies=[0.05, 0.02, 0.03],
    journal_bytes_per_kill=6144.0,
    journal_bytes_per_reduced_kill=2560.0,
    cmdlines_itself=[20, 20],
    cmdlines_another=[7, 20],
    listed_search_seconds=[0.13, 0.125],
    many_processes=5000,
    storm_kills=3000,
    storm_missing=0,
    storm_seconds=10.0,
    storm_cpu_seconds=6.0,
    storm_rss_bytes=[14 * MIB, 15 * MIB],
)


def test_the_host_reads_what_the_guest_wrote() -> None:
    assert figures.load(MEASURED.dump()) == MEASURED


def test_starts_are_compared_by_their_medians() -> None:
    assert figures.cold_ratio(MEASURED, "oomkilld", of="bcc") == 0.25


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_percentiles(percent: int, value: float) -> None:
    assert figures.percentile([float(i) for i in range(100, 0, -1)], percent) == value
    assert figures.percentile([7.0], percent) == 7.0


def test_the_table_shows_measurements_and_a_dash_for_the_rest() -> None:
    lines = table.render(MEASURED, "Measured somewhere.").splitlines()
    assert lines[0] == "|  | bcc `oomkill` | bpftrace `oomkill.bt` | libbpf-tools `oomkill` | **oomkilld** |"
    assert "| resident memory, RSS / PSS | 160.0 MB | - | - | 14.0 / 9.0 MB |" in lines
    assert "| memory of its cgroup, now / peak | - | - | 3.0 / 4.0 MB | - |" in lines
    assert "| memory of its cgroup, program kept, now / peak | - | - | - | 12.0 / 13.0 MB |" in lines
    assert "| start → attached | 34.0 s (1.00) | - | - | 8.5 s (0.25) |" in lines
    assert "| start → ready for systemd, from disk | - | - | - | 10.2 s (0.25) |" in lines
    assert "| kernel headers needed | yes | - | - | - |" in lines
    assert "| BPF time per kill | - | - | 2 µs | - |" in lines
    assert "| processes seen in a group kill of 6 | 1 | - | - | - |" in lines
    assert "| kill → readable in the journal, p50 / p99 | - | - | - | 30 / 50 ms |" in lines
    assert "| journal space per kill, in full / one of a flood | - | - | - | 6.0 / 2.5 KB |" in lines
    assert "| command lines recorded, victim asked itself / another | - | - | - | 20 of 20 / 7 of 20 |" in lines
    assert "| a storm: kills/s without loss, CPU for each | - | - | - | 300/s, 2.0 ms |" in lines
    many = "| among 5000 processes: search for a victim, tasks listed, with oomkilld / without "
    assert f"{many}| - | - | - | 130.0 / 125.0 ms (1.04) |" in lines
    assert "| resident memory before / after 3000 kills | - | - | - | 14.0 / 15.0 MB |" in lines
    assert lines[-1] == "Measured somewhere."
