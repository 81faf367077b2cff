# SPDX-License-Identifier: Apache-2.0
"""The layer bench: oomkilld and its peers in one boot of a guest with kernel headers; prints one table."""

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import figures, table
from tests.vm import kernels
from tests.vm.image import CHECKOUT, Recipe, base_images
from tests.vm.machine import Machine

# The peers and what bcc's needs, a reader of the kernel's counters, and a program that writes entries to a file.
PEERS = (
    *("bpfcc-tools", "linux-headers-cloud-amd64", "bpftrace", "libbpf-tools"),
    *("bpftool", "systemd-journal-remote"),
)
RECIPE = Recipe((kernels.OWN,), PEERS, "5G")
MINUTES = 60.0


def main() -> int:
    """Exit status 0: everything was measured, and every promise kept."""
    parser = argparse.ArgumentParser(prog="tests/run bench")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args()
    image = base_images(options.cache, options.mirror, RECIPE)[kernels.OWN]
    rounds, kills, storm = (5, 300, 20_000) if options.full else (3, 100, 2_000)
    environment = {
        "OOMKILLD_BENCH_ROUNDS": str(rounds),
        "OOMKILLD_BENCH_KILLS": str(kills),
        "OOMKILLD_BENCH_STORM": str(storm),
    }
    with tempfile.TemporaryDirectory(dir=options.cache, prefix="run-") as work:
        machine = Machine(image, Path(work), "bench")
        status = machine.boot("bench", options.pytest_arguments, environment, MINUTES).status
        content = machine.file(figures.GUEST_FILE)
    if not content:
        print("nothing was measured")
        return 1
    measured = figures.load(content)
    origin = (
        f"Measured by `tests/run bench` in one boot: Debian 13, kernel {measured.kernel}, 2 CPUs emulated by "
        f"{_qemu()}; medians of {rounds} starts, in brackets their ratio to bcc's; {_today()}, commit {_commit()}."
    )
    text = table.render(measured, origin)
    (options.cache / "bench.json").write_text(content)
    (options.cache / "bench.md").write_text(text)
    print(text)
    return status


def _today() -> str:
    return datetime.now(tz=UTC).date().isoformat()


def _commit() -> str:
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    changed = subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout
    return commit.strip() + (" with changes" if changed else "")


def _qemu() -> str:
    version = subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True, text=True).stdout
    return "QEMU " + version.split()[3]


if __name__ == "__main__":
    sys.exit(main())
