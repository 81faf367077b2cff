# SPDX-License-Identifier: Apache-2.0
"""The benchmark's figures as one Markdown table."""

from collections.abc import Callable, Iterable
from statistics import median

from tests.bench.figures import Figures, ToolFigures, percentile

# Tool.name and heading, in the order of the columns.
COLUMNS = {
    "bcc": "bcc `oomkill`",
    "bpftrace": "bpftrace `oomkill.bt`",
    "libbpf": "libbpf-tools `oomkill`",
    "oomkilld": "**oomkilld**",
}
NOT_MEASURED = "-"
_RATIO_OF = "bcc"


def render(figures: Figures, origin: str) -> str:
    """``origin``: when and where the figures were measured, as the last line."""
    tools = [figures.tools[name] for name in COLUMNS]
    base = figures.tools[_RATIO_OF]
    rows = [
        _row("resident memory, RSS / PSS", tools, lambda tool: _megabytes(tool.rss_bytes, tool.pss_bytes)),
        _row("memory of its cgroup, now / peak", tools, lambda t: _megabytes(t.cgroup_bytes, t.cgroup_peak_bytes)),
        _line(
            "memory of its cgroup, program kept, now / peak", [None, None, None, _megabytes(*figures.kept_cgroup_bytes)]
        ),
        _row("start → attached", tools, lambda tool: _start(tool.cold_starts, base.cold_starts)),
        _row("start → attached, files from disk", tools, lambda tool: _from_disk(tool.cold_starts_from_disk, base)),
        _row("start → ready for systemd, from disk", tools, lambda tool: _from_disk(tool.ready_after, base)),
        _line("start → attached, program kept", [None, None, None, _start(figures.kept_starts, base.cold_starts)]),
        _line(
            "start → attached, program kept, files from disk",
            [None, None, None, _from_disk(figures.kept_starts_from_disk, base)],
        ),
        _line("start again → ready, probe kept", [None, None, None, _start(figures.warm_restarts, base.cold_starts)]),
        _row("kernel headers needed", tools, lambda tool: _yes_or_no(tool.needs_headers)),
        _row("BPF time per kill", tools, lambda tool: _microseconds(tool.bpf_ns_per_kill)),
        _row(f"processes seen in a group kill of {figures.group_size}", tools, lambda tool: _number(tool.group_seen)),
        _line("kill → readable in the journal, p50 / p99", [None, None, None, _latency(figures.entry_latencies)]),
        _line("the kernel's own line of the same kills", [None, None, None, _latency(figures.kernel_line_latencies)]),
    ]
    space = _kilobytes(figures.journal_bytes_per_kill, figures.journal_bytes_per_reduced_kill)
    rows.append(_line("journal space per kill, in full / one of a flood", [None, None, None, space]))
    told = [_of(figures.cmdlines_itself), _of(figures.cmdlines_another)]
    cell = " / ".join(each or NOT_MEASURED for each in told) if any(told) else None
    rows.append(_line("command lines recorded, victim asked itself / another", [None, None, None, cell]))
    rows.append(_line("a storm: kills/s without loss, CPU for each", [None, None, None, _storm(figures)]))
    for what, seconds in (
        ("search for a victim, tasks listed", figures.listed_search_seconds),
        ("search for a victim, none listed", figures.search_seconds),
        ("every oom_score read", figures.scores_seconds),
    ):
        name = f"among {figures.many_processes} processes: {what}, with oomkilld / without"
        rows.append(_line(name, [None, None, None, _with_and_without(seconds)]))
    grown = _megabytes(*figures.storm_rss_bytes)
    rows.append(_line(f"resident memory before / after {figures.storm_kills} kills", [None, None, None, grown]))
    head = [_line("", COLUMNS.values()), _line("---", ["---:"] * len(COLUMNS))]
    return "\n".join([*head, *rows, "", origin]) + "\n"


def _row(name: str, tools: Iterable[ToolFigures], cell: Callable[[ToolFigures], str | None]) -> str:
    return _line(name, map(cell, tools))


def _line(name: str, cells: Iterable[str | None]) -> str:
    return f"| {' | '.join([name, *(cell or NOT_MEASURED for cell in cells)])} |"


def _megabytes(*sizes: int | None) -> str | None:
    known = [f"{size / (1 << 20):.1f}" for size in sizes if size is not None]
    return f"{' / '.join(known)} MB" if known else None


def _from_disk(seconds: list[float], base: ToolFigures) -> str | None:
    return _start(seconds, base.cold_starts_from_disk)


def _start(seconds: list[float], base: list[float]) -> str | None:
    """The median, and its ratio to another tool's."""
    if not seconds or not base:
        return None
    return f"{median(seconds):.1f} s ({median(seconds) / median(base):.2f})"


def _yes_or_no(value: bool | None) -> str | None:
    return None if value is None else ("yes" if value else "no")


def _microseconds(nanoseconds: float | None) -> str | None:
    return None if nanoseconds is None else f"{nanoseconds / 1000:.0f} µs"


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _kilobytes(*sizes: float | None) -> str | None:
    known = [f"{size / 1024:.1f}" for size in sizes if size is not None]
    return f"{' / '.join(known)} KB" if known else None


def _storm(figures: Figures) -> str | None:
    kills, seconds, cpu = figures.storm_kills, figures.storm_seconds, figures.storm_cpu_seconds
    if not kills or not seconds or cpu is None:
        return None
    lost = f", {figures.storm_missing} lost" if figures.storm_missing else ""
    return f"{kills / seconds:.0f}/s{lost}, {cpu / kills * 1000:.1f} ms"


def _with_and_without(seconds: list[float]) -> str | None:
    if not seconds:
        return None
    served, alone = seconds
    return f"{served * 1000:.1f} / {alone * 1000:.1f} ms ({served / alone:.2f})"


def _of(told: list[int]) -> str | None:
    return f"{told[0]} of {told[1]}" if told else None


def _latency(seconds: list[float]) -> str | None:
    if not seconds:
        return None
    return f"{percentile(seconds, 50) * 1000:.0f} / {percentile(seconds, 99) * 1000:.0f} ms"
