# SPDX-License-Identifier: Apache-2.0
"""Whose kill it was, what its limit was, and by which names it is found."""

from pathlib import Path

import pytest

from tests.support.journals import write
from tests.unit.ctl.conftest import ids, shown
from tests.unit.ctl.samples import changed, ctl, kill
from tests.unit.ctl.test_info import sheet, values

LEGEND = "--no-legend"
REAL = "ab" * 32


@pytest.fixture
def containers(tmp_path: Path) -> Path:
    """A kill in a container, and one in what a user has given the same id."""
    real = {"OOM_VICTIM_CONTAINER_ID": REAL, "OOM_VICTIM_CONTAINER_RUNTIME": "docker"}
    inner = {"OOM_VICTIM_INNER_CONTAINER_ID": REAL, "OOM_VICTIM_INNER_CONTAINER_RUNTIME": "podman"}
    write(tmp_path / "system.journal", [changed(real, 1), changed(inner, 2, 10)])
    return tmp_path


def test_an_inner_container_is_shown_behind_its_owner(containers: Path) -> None:
    assert [line.split()[6] for line in ctl("-D", containers, LEGEND).out.splitlines()] == [
        "abababababab",
        "victim.service/abababababab",
    ]
    first, second = (sheet("-D", containers, f"0000000{number}") for number in (1, 2))
    assert values(first, "Container") == ["abababababab, docker"]
    assert values(first, "Inside") == values(second, "Container") == []
    assert values(second, "Inside") == ["container abababababab, podman, as its owner names it"]


def test_an_inner_container_is_not_taken_for_a_real_one(containers: Path) -> None:
    rows = ctl("-D", containers, "stats", "--by", "container", LEGEND).out.splitlines()
    assert sorted(row.split()[0] for row in rows) == ["-", "abababababab"]
    assert ids(ctl("-D", containers, LEGEND, "--container", REAL[:12])) == [shown(1)]
    assert ids(ctl("-D", containers, LEGEND, REAL[:12])) == [shown(1)]
    assert ids(ctl("-D", containers, LEGEND, f"OOM_VICTIM_INNER_CONTAINER_ID={REAL}")) == [shown(2)]


GIB = 1 << 30
LIMITS: list[tuple[dict[str, str | None], str]] = [
    ({"OOM_DOMAIN": "host", "OOM_MEMINFO_SWAPTOTAL_BYTES": "0"}, "6.0G"),
    ({"OOM_DOMAIN": "host", "OOM_MEMINFO_SWAPTOTAL_BYTES": str(2 * GIB)}, "4.0G"),
    ({"OOM_DOMAIN": "host", "OOM_MEMINFO_SWAPTOTAL_BYTES": str(7 * GIB)}, "-"),
    ({"OOM_DOMAIN": "host"}, "-"),
    ({"OOM_DOMAIN": "cgroup", "OOM_MEMINFO_SWAPTOTAL_BYTES": "0"}, "-"),
    ({"OOM_DOMAIN": None, "OOM_MEMINFO_SWAPTOTAL_BYTES": "0"}, "-"),
    ({"OOM_DOMAIN": "host", "OOM_DOMAIN_LIMIT_BYTES": str(GIB)}, "1.0G"),
]


@pytest.mark.parametrize(("changes", "limit"), LIMITS, ids=str)
def test_a_machine_without_a_limit_has_its_memory_and_nothing_else_has(
    tmp_path: Path, changes: dict[str, str | None], limit: str
) -> None:
    known = {"OOM_DOMAIN_LIMIT_BYTES": None, "OOM_TOTAL_BYTES": str(6 * GIB), **changes}
    write(tmp_path / "system.journal", [changed(known, 1)])
    assert ctl("-D", tmp_path, LEGEND).out.split()[8] == limit


@pytest.mark.parametrize(
    ("usage", "percent"), [(30 << 20, "100%"), ((30 << 20) - 4096, "99%"), (0, "0%"), (31 << 20, "103%")]
)
def test_less_than_the_limit_is_less_than_100_percent(tmp_path: Path, usage: int, percent: str) -> None:
    write(tmp_path / "system.journal", [kill(1, OOM_DOMAIN_USAGE_BYTES=str(usage))])
    assert values(sheet("-D", tmp_path), "Usage")[0].rpartition(", ")[2] == percent


# The thread's name as the service writes it, that of the program, and by which words it is found.
FOUND = [
    ("chromium-browse", "chromium-browser-stable", ["chromium-browser-stable", "chromium-browse"]),
    ("chromium-browse", None, ["chromium-browser-stable", "chromium-browser-other"]),
    ("ThreadPoolForeg", "chrome", ["ThreadPoolForegroundWorker", "chrome"]),
    ("müllabfuhr-dä", None, ["müllabfuhr-dämon"]),
    ("müllabfuhr--d\\xc3", None, ["müllabfuhr--dämon"]),
    ("a\\x5cb", "a\\x5cb", ["a\\b", "/a\\b", "a\\x5cb"]),
    ("aaaaaaaaaaaaa\\x5cb", None, ["aaaaaaaaaaaaa\\b", "aaaaaaaaaaaaa\\x5cb"]),
]
NOT_FOUND = [
    ("chromium-browse", "chromium-browser-stable", "chromium-browser-other"),
    ("müllabfuhr-dämo", None, "müllabfuhr-dämon"),
]


@pytest.mark.parametrize(("comm", "exe", "words"), FOUND)
def test_a_process_is_found_by_its_name(tmp_path: Path, comm: str, exe: str | None, words: list[str]) -> None:
    write(tmp_path / "system.journal", [kill(1, OOM_VICTIM_COMM=comm, OOM_VICTIM_EXE_NAME=exe)])
    for word in words:
        assert ids(ctl("-D", tmp_path, LEGEND, word)) == [shown(1)]


@pytest.mark.parametrize(("comm", "exe", "word"), NOT_FOUND)
def test_the_begin_of_a_name_that_is_another_one_is_not_found(
    tmp_path: Path, comm: str, exe: str | None, word: str
) -> None:
    write(tmp_path / "system.journal", [kill(1, OOM_VICTIM_COMM=comm, OOM_VICTIM_EXE_NAME=exe)])
    assert ctl("-D", tmp_path, word).status == 1
