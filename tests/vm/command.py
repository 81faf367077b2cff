# SPDX-License-Identifier: Apache-2.0
"""Runs the programs that build the guest."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_logged(command: Sequence[str], log: Path, directory: Path | None = None) -> str:
    """The command's output, which is also added to ``log``. A failure ends the run and names the log."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("ab") as errors:
        result = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=environment,
            check=False,
        )
        errors.write(result.stdout)
    if result.returncode:
        sys.exit(f"{command[0]} failed with status {result.returncode}; its output: {log}")
    return result.stdout.decode(errors="replace")
