# SPDX-License-Identifier: Apache-2.0
"""How fast oomkillctl is, as ratios of one run to what else the machine does; CONTRIBUTING.md says how to run it.

Needs no root. With the defaults, it writes a journal of a million foreign entries and 10,000 kills first, which takes
minutes; ``--foreign`` and ``--kills`` make it smaller.
"""

import argparse
import compileall
import os
import pty
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from oomkilld import schema
from tests.support.journals import TRUSTED, exported, foreign, writing
from tests.unit.ctl.around import FAILED, by_kernel, by_systemd, killed
from tests.unit.records import kill_of
from tests.unit.test_entry import entry

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
BEGIN_USEC = 1_795_785_812_000_000
FIELDS = 150
RUNS = 7
# As packaging/lib.sh installs it.
LAUNCHER = """\
import sys
sys.path.insert(0, {lib!r})
from oomkilld.ctl.main import main
status = main()
"""
SHOW_MEMORY = """\
print(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")), file=sys.stderr)
"""


def entries(foreigners: int, kills: int) -> Iterator[bytes]:
    """The kills, evenly among the foreign entries."""
    whole = entry(kill_of())
    for number in range(FIELDS - len(TRUSTED) - len(whole)):
        whole[f"OOM_MEMINFO_ROW{number}_BYTES"] = "4096"
    between = foreigners // max(kills, 1)
    for number in range(kills):
        at_usec = BEGIN_USEC + number * 1_000_000
        for other in range(between):
            yield exported(dict(foreign(number * between + other)), at_usec + other)
        own = {
            "OOM_KILL_ID": f"{number * 2654435761 % (1 << 32):08x}{number:024x}",
            "OOM_DECISION_ID": f"{number * 40503 % (1 << 32):08x}{number + 7:024x}",
            "OOM_TIMESTAMP": str(at_usec),
            "OOM_VICTIM_PID": str(1000 + number % 30_000),
            "OOM_VICTIM_COMM": f"program{number % 50}",
            "OOM_VICTIM_UNIT": f"service{number % 50}.service",
            "OOM_VICTIM_RSS_BYTES": str(30_736_384 + number * 4096),
            "OOM_MEMINFO_ACTIVE_ANON_BYTES": str(number * 8192),
            "MESSAGE": f"{whole['MESSAGE']} {number}",
        }
        yield exported({**TRUSTED, **whole, **own}, at_usec + 500_000)
    for fields, received_usec in (
        by_kernel(kills - 1, killed(4243)),
        by_systemd(kills, f"service{(kills - 1) % 50}.service", FAILED, "Failed with result 'oom-kill'."),
    ):
        yield exported(fields, received_usec)


def journal(directory: Path, foreigners: int, kills: int) -> Path:
    """A directory with the journal."""
    with writing(directory / "system.journal") as stream:
        for each in entries(foreigners, kills):
            stream.write(each)
    return directory


def cpu_seconds(command: Sequence[str | Path]) -> float:
    """User and system time of a command: the median of several runs, after one that fills the caches."""
    taken = []
    for _run in range(RUNS + 1):
        before = os.times()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        taken.append(sum(after[2:4]) - sum(before[2:4]))
    return statistics.median(taken[1:])


def many_cpu_seconds(command: Sequence[str | Path], times: int = 20) -> float:
    """The same for a short command: os.times() counts in hundredths of a second."""
    before = os.times()
    for _run in range(times):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return (sum(after[2:4]) - sum(before[2:4])) / times


def terminal_cpu_seconds(command: Sequence[str | Path], times: int = 20) -> float:
    """The same for a command that writes to a terminal of 80 columns."""
    before = os.times()
    for _run in range(times):
        master, slave = pty.openpty()
        process = subprocess.Popen(command, stdout=slave, env={**os.environ, "TERM": "xterm"})
        os.close(slave)
        with suppress(OSError):  # everybody has closed the other end
            while os.read(master, 1 << 16):
                pass
        os.close(master)
        assert process.wait() == 0
    after = os.times()
    return (sum(after[2:4]) - sum(before[2:4])) / times


def anonymous_kib(launcher: Path, directory: Path) -> int:
    """RssAnon after a list."""
    run = subprocess.run(
        [PYTHON, "-I", launcher, "-D", directory], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(run.stderr.split()[1])


def installed(where: Path) -> tuple[Path, Path]:
    """The program as it is installed, and one that reports its memory at the end."""
    shutil.copytree(ROOT / "oomkilld", where / "lib/oomkilld", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(where / "lib", quiet=2)
    text = LAUNCHER.format(lib=str(where / "lib"))
    plain, measured = where / "oomkillctl", where / "measured"
    plain.write_text(text + "sys.exit(status)\n")
    measured.write_text(text + SHOW_MEMORY)
    return plain, measured


class Row:
    """A promise: ``value`` is at most ``bound``."""

    def __init__(self, name: str, value: float, bound: float, said: str) -> None:
        self.is_kept = value <= bound
        print(f"{name:<44} {value:>6.2f} {bound:>6.2f}  {'kept' if self.is_kept else 'BROKEN'}  {said}", flush=True)


def measure(options: argparse.Namespace, where: Path) -> list[Row]:
    """Prints a row per promise."""
    plain, measured = installed(where)

    def ctl(*words: str) -> list[str | Path]:
        return [PYTHON, "-I", plain, *words]

    big = journal(where / "big", options.foreign, options.kills)
    listed = subprocess.run(ctl("-D", str(big), "--no-legend"), stdout=subprocess.PIPE, check=True).stdout
    assert listed.count(b"\n") == options.kills
    everything: list[str | Path] = ["journalctl", "-D", big, f"MESSAGE_ID={schema.MESSAGE_ID_KILL}", "-o", "json"]
    nothing = many_cpu_seconds(["journalctl", "--version"]) + many_cpu_seconds([PYTHON, "-c", "pass"])
    python = many_cpu_seconds([PYTHON, "-c", "pass"])
    whole, all_lines = cpu_seconds(everything), cpu_seconds(ctl("-D", str(big)))
    ten, shown = many_cpu_seconds(ctl("-D", str(big), "-n", "10")), many_cpu_seconds(ctl("--help"))
    sheet = subprocess.run(ctl("-D", str(big), "info"), stdout=subprocess.PIPE, check=True).stdout
    assert sheet.count(b" kernel: ") == sheet.count(b" systemd: ") == 1
    info = many_cpu_seconds(ctl("-D", str(big), "info"))
    drawn = terminal_cpu_seconds(ctl("-D", str(big), "info", "--no-pager"))
    few, many = journal(where / "few", 0, 10), journal(where / "many", 0, options.most_kills)
    less, more = anonymous_kib(measured, few), anonymous_kib(measured, many)
    print(f"{'promise':<44} {'is':>6} {'at most':>6}")
    return [
        Row("list / journalctl -o json", all_lines / whole, 0.5, f"{all_lines:.2f} s / {whole:.2f} s of CPU"),
        Row("list -n 10 / (journalctl --version + python)", ten / nothing, 4, f"{ten:.3f} s / {nothing:.3f} s of CPU"),
        Row("info / the same", info / nothing, 6, f"{info:.3f} s / {nothing:.3f} s of CPU"),
        Row("info on a terminal / the same", drawn / nothing, 10, f"{drawn:.3f} s / {nothing:.3f} s of CPU"),
        Row("--help / python", shown / python, 2.5, f"{shown:.3f} s / {python:.3f} s of CPU"),
        Row(f"RssAnon of 10 and of {options.most_kills} kills, MiB", (more - less) / 1024, 2, f"{less} and {more} KiB"),
    ]


def main() -> int:
    """Exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--foreign", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--most-kills", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(options, Path(scratch))
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
