# SPDX-License-Identifier: Apache-2.0
"""Lint, format and types are tests too."""

import ast
import importlib
import re
import subprocess
import sys
from itertools import pairwise
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


# Words that a count precedes in texts for people. Sizes and the numbers in settings are never 1.
COUNTED = re.compile(r"^ (?:kill|entr|repeat|victim|owner|record|field|line|error)(?:s|ies)\b")


def test_no_count_is_followed_by_a_fixed_plural() -> None:
    found = []
    for path in [*ROOT.glob("oomkilld/**/*.py"), *ROOT.glob("packaging/trial/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            for before, after in pairwise(node.values if isinstance(node, ast.JoinedStr) else []):
                is_counted = isinstance(after, ast.Constant) and COUNTED.match(str(after.value))
                if is_counted and isinstance(before, ast.FormattedValue):
                    found.append(f"{path.relative_to(ROOT)}:{before.lineno}: {ast.unparse(node)}")
    assert found == [], "oomkilld.text.counted() says it of one, too"


def test_shell_scripts_are_clean() -> None:
    scripts = ["packaging/install", "packaging/lib.sh", "packaging/try", "packaging/completions/oomkillctl.bash"]
    scripts += ["packaging/fleet/oomkilld-upload", "tests/run", "tests/vm/guest/run", ".ci/run"]
    result = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "-x", *scripts],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_tests_change_in_the_program_is_there_once() -> None:
    """Those that run the service with a fault: a line that was reworded is found here, not hours later."""
    points = importlib.import_module("tests.host.service.test_fault_points").POINTS.values()
    found = [("test_fault_points.py", point.module, point.line) for point, _twice in points]
    for path in sorted(ROOT.glob("tests/host/service/*.py")):
        names = vars(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)))
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "changed" and len(call.args) == 4:
                try:
                    module, old = (eval(ast.unparse(each), dict(names)) for each in call.args[1:3])
                except NameError:  # a variable of the test
                    continue
                found.append((path.name, module, old))
    assert len(found) >= 10
    assert [each for each in found if (ROOT / "oomkilld" / each[1]).read_text().count(each[2]) != 1] == []
