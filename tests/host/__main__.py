# SPDX-License-Identifier: Apache-2.0
"""The layer host: this machine's own kernel, one run of pytest for each way to run the service."""

import argparse
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.support import pace

NO_TESTS = 5
SLOWEST = ("--durations=10", "--durations-min=5")
# Each part: a directory beside this file, and its environment.
PARTS: dict[str, dict[str, str]] = {
    "trial": {},
    "service": {"OOMKILLD_TEST_SERVICE": "foreground"},
    "logged": {},
    "booted": {},
}
USUAL_MINUTES = {"trial": 4.0, "service": 7.0, "logged": 1.0, "booted": 6.0}


def main() -> int:
    """Exit status 0: every test of every part passed."""
    parser = argparse.ArgumentParser(prog="tests/run host")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970")
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args()
    environment = {
        **os.environ,
        "OOMKILLD_TEST_CACHE": str(options.cache),
        "OOMKILLD_TEST_MIRROR": options.mirror,
        **({"OOMKILLD_TEST_FULL": "1"} if options.full else {}),
    }
    with (options.cache / "host.lock").open("w") as lock:
        # The kernel counts the kills of the whole machine, so kills of another run would enter our books.
        fcntl.flock(lock, fcntl.LOCK_EX)
        statuses = {
            part: run(part, {**environment, **told}, options.pytest_arguments)
            for part, told in PARTS.items()
            if pace.ends_in_time(USUAL_MINUTES[part], options.until)
        }
    if left_out := [part for part in PARTS if part not in statuses]:
        print(f"LEFT OUT, because this machine is too slow to end them in time: {', '.join(left_out)}")
    # A selection of tests may leave a part empty.
    failed = [part for part, status in statuses.items() if status not in (0, NO_TESTS)]
    if failed or (0 not in statuses.values() and not left_out):
        print(f"failed on this machine: {', '.join(failed) or 'no test was run'}")
        return 1
    return 0


def run(part: str, environment: dict[str, str], pytest_arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", *SLOWEST, *pytest_arguments, f"tests/host/{part}"]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
