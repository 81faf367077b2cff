# SPDX-License-Identifier: Apache-2.0
"""Shows what tests print, also if they pass: books and measurements."""

import pytest


def show(report: pytest.TestReport) -> None:
    """Show what the test printed, at once. pytest itself shows it for a failed test."""
    if report.when == "call" and report.passed and report.capstdout:
        print(f"\n{report.capstdout.rstrip()}", end=" ", flush=True)
