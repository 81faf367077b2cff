# SPDX-License-Identifier: Apache-2.0
"""Lint, format and types are tests too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "--no-cache", "."], id="lint"),
        pytest.param(["ruff", "format", "--no-cache", "--check", "."], id="format"),
        pytest.param(["mypy", "--no-error-summary", "--cache-dir=/dev/null"], id="types"),
    ],
)
def test_the_tree_is_clean(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_shell_scripts_are_clean() -> None:
    scripts = ["packaging/install", "packaging/lib.sh", "packaging/try", "tests/run", "tests/vm/guest/run", ".ci/run"]
    result = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "-x", *scripts],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
