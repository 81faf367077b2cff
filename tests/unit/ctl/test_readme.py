# SPDX-License-Identifier: Apache-2.0
"""README's first screen is what oomkillctl prints about a kill that the tests recorded."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.journals import program
from tests.unit.ctl.test_terminal import PLAIN, on_terminal

README = Path(__file__).parents[3] / "README.md"
# The kill of first_boot/test_3_ctl.py, as journald exported it with the entries of systemd and the kernel around it.
RECORDED = Path(__file__).with_name("postgres.export")
COLUMNS = 100
AGO = re.compile(r"\([^()]* ago\)")


@pytest.mark.parametrize("verb", ["list", "info"])
def test_the_readme_shows_what_it_prints(verb: str, tmp_path: Path) -> None:
    journal = tmp_path / "recorded.journal"
    subprocess.run([program(), f"--output={journal}", RECORDED], check=True, capture_output=True)
    shown = on_terminal(verb, f"--file={journal}", *PLAIN, columns=COLUMNS, environment={"TZ": "UTC"})
    assert shown.status == 0
    _before, _command, rest = README.read_text().partition(f"$ oomkillctl {verb}\n")
    printed = re.split(r"\n(?:```|\$ )", rest)[0].rstrip().splitlines()
    assert [AGO.sub("(ago)", line) for line in printed] == [AGO.sub("(ago)", line) for line in shown.lines]


def test_the_readme_shows_the_message_of_that_entry_and_how_many_fields_it_has() -> None:
    (entry,) = [text for text in RECORDED.read_text().split("\n\n") if "\nOOM_EVENT=kill\n" in text]
    sent = dict(re.findall(r"^(?!_)(\w+)=(.*)$", entry, re.MULTILINE))
    (line,) = re.findall(r"^\$ journalctl -u oomkilld\n(.*)$", README.read_text(), re.MULTILINE)
    assert line.endswith(f": {sent['MESSAGE']}")
    assert f"an entry of {len(sent)} fields" in README.read_text()
