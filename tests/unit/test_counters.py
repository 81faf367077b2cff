# SPDX-License-Identifier: Apache-2.0
"""What a domain counts about itself, and what its largest cgroups are promised, on small trees of both versions."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.host.cgroupfs import number, numbers
from oomkilld.record.enrich.counters import NO_COUNTERS, WITHOUT_END, Counters
from oomkilld.record.enrich.memcgusage import MAX_FILES, MAX_MILLISECONDS, Contents, ContentsReader
from tests.support import pace
from tests.unit.test_memcgusage import Clock, Tree, close, once

MIB = 1 << 20
# The cgroup's own events, and those of all below it, too.
LOCAL = "low 0\nhigh 3\nmax 42\noom 2\noom_kill 0\noom_group_kill 0\n"
EVENTS = "low 0\nhigh 8\nmax 99\noom 5\noom_kill 7\noom_group_kill 0\n"
FILES_2 = {
    "pids.current": "12\n",
    "memory.peak": "31457280\n",
    "memory.high": "26214400\n",
    "memory.events.local": LOCAL,
    "memory.events": EVENTS,
}
COUNTERS_2 = Counters(peak=30 * MIB, high=25 * MIB, tasks=12, times_high=3, times_max=42, oom_kills=7)
FILES_1 = {
    "memory.max_usage_in_bytes": "31457280\n",
    "memory.failcnt": "42\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
    "memory.soft_limit_in_bytes": "1048576\n",  # does not slow anything down
}
COUNTERS_1 = Counters(peak=30 * MIB, tasks=12, times_max=42, oom_kills=7)


def write(directory: Path, files: Mapping[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "cgroup")
    tree.add("a", 100, "anon 1\n")
    write(tree.root / "a", FILES_2)
    return tree


class Version1:
    """The hierarchies of memory and pids, with a domain in both."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.memory = Tree(root / "memory", 1)
        self.memory.add("a", 100)
        write(root / "memory/a", FILES_1)
        self.pids = root / "pids/a"
        write(self.pids, {"pids.current": "12\n"})

    def read(self, path: bytes | None = b"/a", clock: Clock | None = None) -> Contents:
        before = set(os.listdir("/proc/self/fd"))
        contents = ContentsReader(clock or Clock(), str(self.root)).read(path)
        assert set(os.listdir("/proc/self/fd")) == before
        return contents


@pytest.fixture
def version_1(tmp_path: Path) -> Version1:
    return Version1(tmp_path / "cgroup")


def test_a_domain_has_the_counts_of_its_files(tree: Tree) -> None:
    assert tree.read(b"/a") == Contents({"anon": 1}, [], counters=COUNTERS_2)


def test_how_often_it_was_at_a_limit_is_its_own_count_but_kills_are_counted_where_the_victims_were(tree: Tree) -> None:
    write(tree.root / "a", {"memory.events.local": "high 1\nmax 2\noom_kill 3\n"})
    write(tree.root / "a", {"memory.events": "high 10\nmax 20\noom_kill 30\n"})
    found = tree.read(b"/a").counters
    assert (found.times_high, found.times_max, found.oom_kills) == (1, 2, 30)


ABSENT_2 = [
    ("pids.current", ["tasks"]),  # without the controller
    ("memory.peak", ["peak"]),  # before Linux 5.19
    ("memory.high", ["high"]),
    ("memory.events.local", ["times_high", "times_max"]),
    ("memory.events", ["oom_kills"]),
]


@pytest.mark.parametrize(("file", "unknown"), ABSENT_2)
def test_a_file_that_is_missing_costs_only_its_own_counts(tree: Tree, file: str, unknown: list[str]) -> None:
    (tree.root / "a" / file).unlink()
    assert tree.read(b"/a").counters == COUNTERS_2._replace(**dict.fromkeys(unknown))


@pytest.mark.parametrize(("file", "unknown"), ABSENT_2)
@pytest.mark.parametrize("text", ["", "\n", "max\n", "x 1\n", "high\nmax\noom_kill\n", "high -1\n", "9" * 21 + "\n"])
def test_a_content_that_is_no_count_is_unknown(tree: Tree, file: str, unknown: list[str], text: str) -> None:
    (tree.root / "a" / file).write_text(text)
    assert tree.read(b"/a").counters == COUNTERS_2._replace(**dict.fromkeys(unknown))


def test_zero_times_above_high_is_a_count_and_zero_at_the_limit_is_none(tree: Tree) -> None:
    write(tree.root / "a", {"memory.high": "0\n", "memory.events.local": "high 0\nmax 0\n"})
    assert tree.read(b"/a").counters == COUNTERS_2._replace(high=0, times_high=0, times_max=None)


def test_a_count_that_lacks_even_this_kill_is_unknown(tree: Tree, version_1_beside: Version1) -> None:
    write(tree.root / "a", {"memory.events": EVENTS.replace("oom_kill 7", "oom_kill 0")})
    assert tree.read(b"/a").counters == COUNTERS_2._replace(oom_kills=None)
    write(version_1_beside.memory.root / "a", {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"})
    assert version_1_beside.read().counters == COUNTERS_1._replace(oom_kills=None)


@pytest.fixture
def version_1_beside(tmp_path: Path) -> Version1:
    return Version1(tmp_path / "version-1")


def test_version_1(version_1: Version1) -> None:
    assert version_1.read() == Contents({}, [], counters=COUNTERS_1)


@pytest.mark.parametrize(
    ("file", "unknown"),
    [("memory.max_usage_in_bytes", "peak"), ("memory.failcnt", "times_max"), ("memory.oom_control", "oom_kills")],
)
def test_a_file_of_version_1_that_is_missing_costs_only_its_own_count(
    version_1: Version1, file: str, unknown: str
) -> None:
    (version_1.memory.root / "a" / file).unlink()
    assert version_1.read().counters == COUNTERS_1._replace(**{unknown: None})


@pytest.mark.parametrize("missing", ["pids", "pids/a", "pids/a/pids.current"])
def test_without_the_same_cgroup_of_the_pids_controller_only_the_tasks_are_unknown(
    version_1: Version1, missing: str
) -> None:
    path = version_1.root / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert version_1.read().counters == COUNTERS_1._replace(tasks=None)


def test_no_link_is_followed(tree: Tree, version_1_beside: Version1) -> None:
    for name in FILES_2:
        (tree.root / "a" / name).rename(tree.root.parent / name)
        (tree.root / "a" / name).symlink_to(tree.root.parent / name)
    assert tree.read(b"/a").counters == NO_COUNTERS
    version_1_beside.pids.rename(version_1_beside.root / "pids/b")
    version_1_beside.pids.symlink_to("b")
    assert version_1_beside.read().counters == COUNTERS_1._replace(tasks=None)


@pytest.mark.parametrize("path", [None, b"/"])
def test_the_root_counts_nothing_about_itself(tree: Tree, version_1_beside: Version1, path: bytes | None) -> None:
    """Version 2 has none of these files there; version 1 counts only what is below the root."""
    write(tree.root, FILES_2)
    write(version_1_beside.memory.root, FILES_1)
    write(version_1_beside.root / "pids", {"pids.current": "12\n"})
    assert tree.read(path).counters == version_1_beside.read(path).counters == NO_COUNTERS


@pytest.mark.parametrize("look", range(1, 12))
def test_a_domain_that_is_removed_meanwhile_keeps_the_counts_read_before(tree: Tree, look: int) -> None:
    found = tree.read(b"/a", once(look, lambda: shutil.rmtree(tree.root / "a"))).counters
    assert all(count in (None, known) for count, known in zip(found, COUNTERS_2, strict=True))
    # The clock is read once for the deadline, and then before each file or directory: the root, the domain, ….
    assert sum(count is not None for count in found) == [0, 0, 0, 0, 1, 3, 4, 5, 6, 6, 6][look - 1]


@pytest.mark.parametrize("look", range(1, 12))
def test_the_time_for_counts_is_that_of_the_whole_reading(tree: Tree, look: int) -> None:
    """With each reading of the clock, a part of the time is gone."""
    step_ns = MAX_MILLISECONDS * 10**6 // look
    found = tree.read(b"/a", Clock(step_ns=step_ns)).counters
    assert all(count in (None, known) for count, known in zip(found, COUNTERS_2, strict=True))
    opened = -(-MAX_MILLISECONDS * 10**6 // step_ns) - 1
    assert sum(count is not None for count in found) == [0, 0, 0, 1, 3, 4, 5, 6][min(opened, 7)]


def test_what_changes_soonest_is_read_first(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real_open = os.open

    def noting_open(path: str | bytes, flags: int, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return real_open(path, flags, dir_fd=dir_fd)

    tree.add("a/b", 50)
    monkeypatch.setattr(os, "open", noting_open)
    tree.read(b"/a")
    assert opened[1:3] == [b"a", b"pids.current"]
    assert opened[-2:] == [b"b/memory.min", b"memory.stat"]


def test_however_many_children_there_are_counts_and_minimums_are_read_within_the_budget(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    real_open = os.open

    def counting_open(path: str | bytes, flags: int, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return real_open(path, flags, dir_fd=dir_fd)

    for i in range(2 * MAX_FILES):
        tree.add(f"a/{i}", 1 + i)
        write(tree.root / f"a/{i}", {"memory.min": "4096\n"})
    monkeypatch.setattr(os, "open", counting_open)
    contents = tree.read(b"/a")
    assert len(opened) <= MAX_FILES
    assert (contents.stat, contents.counters) == ({"anon": 1}, COUNTERS_2)
    assert contents.top[-1] == (b"/a", None)
    assert contents.minimum == dict.fromkeys([path for path, _size in contents.top[:-1]], 4096)


def test_the_largest_cgroups_have_their_protection(tree: Tree) -> None:
    for name, usage, minimum in (
        ("b", 90, "8192\n"),
        ("c", 80, "max\n"),
        ("d", 70, "0\n"),
        ("e", 60, None),
        ("f", 50, "x\n"),
        ("g", 40, "4096\n"),
    ):
        tree.add(f"a/{name}", usage)
        if minimum is not None:
            write(tree.root / "a" / name, {"memory.min": minimum})
    contents = tree.read(b"/a")
    assert [path for path, _usage in contents.top] == [b"/a/b", b"/a/c", b"/a/d", b"/a/e", b"/a/f"]
    assert contents.minimum == {b"/a/b": 8192, b"/a/c": WITHOUT_END}


def test_a_protected_cgroup_of_the_machine_is_known_at_any_depth(tree: Tree) -> None:
    tree.add("s.slice", 900)
    tree.add("s.slice/hog.service", 890)
    write(tree.root / "s.slice", {"memory.min": "1000\n"})
    write(tree.root / "s.slice/hog.service", {"memory.min": "500\n"})
    contents = tree.read(None)
    assert contents.top == [(b"/s.slice/hog.service", 890), (b"/a", 100)]
    assert contents.minimum == {b"/s.slice/hog.service": 500}


def test_of_a_cgroup_without_a_size_no_protection_is_known(tree: Tree) -> None:
    tree.add("a/b", 90)
    close(tree.root / "a/b")
    write(tree.root / "a/b", {"memory.min": "4096\n"})
    contents = tree.read(b"/a")
    assert (contents.top, contents.minimum) == ([(b"/a/b", None)], {})


def test_version_1_has_no_protection(version_1: Version1) -> None:
    version_1.memory.add("a/b", 50)
    write(version_1.memory.root / "a/b", {"memory.min": "4096\n"})
    contents = version_1.read()
    assert (contents.top, contents.minimum) == ([(b"/a/b", 50)], {})


@settings(max_examples=pace.examples(10_000), deadline=None)
@given(
    st.one_of(
        st.binary(max_size=100),
        st.lists(st.sampled_from([b"oom_kill", b"max", b" ", b"\n", b"1", b"-", b"\xff", b"\0", b"\xb2"])).map(
            b"".join
        ),
    )
)
def test_no_bytes_raise_anything(raw: bytes) -> None:
    alone = number(raw)
    assert alone is None or 0 <= alone < 10**20
    for key, count in numbers(raw).items():
        assert f"{key} ".encode() in raw
        assert 0 <= count < 10**20


def test_a_row_that_was_cut_off_is_left_out() -> None:
    assert numbers(b"high 3\nmax 42\noom_kill 1") == {"high": 3, "max": 42}
