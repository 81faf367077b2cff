# SPDX-License-Identifier: Apache-2.0
"""The layer host: this machine's own kernel, one run of pytest for each way to run the service."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PARTS = ("trial",)


def main() -> int:
    """Exit status 0 when every test of every part passed."""
    parser = argparse.ArgumentParser(prog="tests/run host")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args()
    environment = {
        **os.environ,
        "OOMKILLD_TEST_CACHE": str(options.cache),
        "OOMKILLD_TEST_MIRROR": options.mirror,
        **({"OOMKILLD_TEST_FULL": "1"} if options.full else {}),
    }
    failed = []
    for part in PARTS:
        command = [sys.executable, "-m", "pytest", *options.pytest_arguments, f"tests/host/{part}"]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(part)
    if failed:
        print(f"failed on this machine: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
