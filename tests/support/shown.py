# SPDX-License-Identifier: Apache-2.0
"""What tests print is shown, of those that pass too: the books, and what was measured."""

import pytest


def show(report: pytest.TestReport) -> None:
    """What the test printed, at once. Of one that failed pytest itself shows it."""
    if report.when == "call" and report.passed and report.capstdout:
        print(f"\n{report.capstdout.rstrip()}", end=" ", flush=True)
