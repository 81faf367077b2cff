# SPDX-License-Identifier: Apache-2.0
"""Asks a program of systemd."""

import subprocess

_PATIENCE_SECONDS = 10


def output(*words: str) -> str | None:
    """What the program prints; None: it is missing, failed, or gave no answer in time."""
    try:
        ran = subprocess.run(words, check=False, capture_output=True, timeout=_PATIENCE_SECONDS)  # noqa: S603 # no shell
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if ran.returncode else ran.stdout.decode(errors="replace")
