# SPDX-License-Identifier: Apache-2.0
"""Which cgroups the flight recorder samples, and how it holds them."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomkilld.host import cgroupfs
from oomkilld.record.history import sampled
from oomkilld.record.history import tree as walking
from oomkilld.record.history.rings import HOST, Rings
from oomkilld.record.history.sampled import KEEP_NS, Cgroups
from oomkilld.record.history.tree import Seen, Walk
from tests.unit.recorded import MIB, PAGE, Tree, tree

NS = 10**9


@pytest.fixture
def cgroups() -> Iterator[Tree]:
    with tree() as made:
        yield made


def nothing_sampled(_path: bytes, _inode: int) -> int | None:
    return None


def walked(of: Tree, wanted: int = 256, usage_of: Callable[[bytes, int], int | None] = nothing_sampled) -> Walk:
    before = set(os.listdir("/proc/self/fd"))
    walk = Walk(of.hierarchy, of.fd, wanted, usage_of, 7 * NS)
    assert walk.go_on(lambda: False)
    assert set(os.listdir("/proc/self/fd")) == before
    return walk


def best(walk: Walk) -> list[str]:
    """The best first."""
    return [found.path.decode() for found in sorted(walk.best, reverse=True)]


@pytest.mark.parametrize("version", [1, 2])
def test_those_with_a_limit_come_first_then_the_largest(version: int) -> None:
    with tree(version) as cgroups:
        cgroups.add("/system.slice/large.service", 900)
        cgroups.add("/system.slice/small.service", 7, limit=MIB)
        cgroups.add("/system.slice/tiny.service", 3, limit=MIB)
        cgroups.set("/system.slice", 910)
        walk = walked(cgroups, 3)
        assert best(walk) == ["/system.slice/small.service", "/system.slice/tiny.service", "/system.slice"]
        assert [found.limit for found in sorted(walk.best, reverse=True)] == [MIB, MIB, None]
        assert walk.seen()[2:] == (True, True, False)
        assert walked(cgroups, 1).seen()[2:] == (True, True, True)
        assert walked(cgroups, 4).seen()[2:] == (True, False, False)


def test_one_that_is_sampled_keeps_its_place_unless_another_is_larger_by_a_quarter(cgroups: Tree) -> None:
    cgroups.add("/a", 100)
    cgroups.add("/b", 124)
    sampled = lambda path, _inode: 100 if path == b"/a" else None  # noqa: E731
    assert best(walked(cgroups, 1, sampled)) == ["/a"]
    cgroups.set("/b", 126)
    assert best(walked(cgroups, 1, sampled)) == ["/b"]


def test_a_cgroup_without_the_controller_is_passed_by_with_all_in_it(cgroups: Tree) -> None:
    (cgroups.root / "without/inner").mkdir(parents=True)
    (cgroups.root / "without/inner/memory.current").write_text("1\n")
    cgroups.add("/with", 5)
    (cgroups.root / "link").symlink_to("with")
    assert best(walked(cgroups)) == ["/with"]


def test_a_walk_stops_when_its_time_is_up_and_goes_on_later(cgroups: Tree) -> None:
    for number in range(40):
        cgroups.add(f"/a.slice/{number}.service", number)
    walk = Walk(cgroups.hierarchy, cgroups.fd, 256, nothing_sampled, 0)
    parts = 1
    while not walk.go_on(iter([False] * 9 + [True]).__next__):
        parts += 1
    assert parts == 5
    assert len(walk.best) == 41


def test_what_is_removed_during_a_walk_is_no_error(cgroups: Tree) -> None:
    for number in range(9):
        cgroups.add(f"/a.slice/{number}.slice/inner.service", 1)
    walk = Walk(cgroups.hierarchy, cgroups.fd, 256, nothing_sampled, 0)
    assert not walk.go_on(iter([False] * 5 + [True]).__next__)
    cgroups.remove("/a.slice")
    assert walk.go_on(lambda: False)
    assert walk.seen().is_whole
    unfinished = Walk(cgroups.hierarchy, cgroups.fd, 256, nothing_sampled, 0)
    cgroups.add("/b.slice", 1)
    assert not unfinished.go_on(lambda: True)
    before = len(os.listdir("/proc/self/fd"))
    unfinished.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_who_may_create_cgroups_takes_no_place_from_others(cgroups: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MAX_OF_UNIT", 30)
    monkeypatch.setattr(walking, "MAX_LIMITED_OF_UNIT", 4)
    for number in range(50):
        cgroups.add(f"/user.slice/user@7.service/{number:02}", 9000, limit=9)
    for number in range(50):
        cgroups.add(f"/system.slice/{number:02}.service", 2, limit=9)
    found = best(walked(cgroups, 60))
    assert len([path for path in found if path.startswith("/system")]) == 50
    limited = [each for each in walked(cgroups).best if each.path.startswith(b"/user.slice/user@7.service/")]
    assert (len(limited), sum(each.is_limited for each in limited)) == (29, 4)
    assert not walked(cgroups).seen().is_whole


def test_the_walk_is_bounded(cgroups: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        cgroups.add(f"/{number:02}.slice/inner.service", 1)
    deep = "/" + "/".join(["n" * 250] * 5)
    cgroups.add(deep, 1)
    assert deep not in best(walked(cgroups))
    assert not walked(cgroups).seen().is_whole
    cgroups.remove("/" + "n" * 250)
    assert walked(cgroups).seen().is_whole
    monkeypatch.setattr(walking, "MAX_VISITED", 25)
    walk = walked(cgroups)
    assert len(walk.best) == 25
    assert {f"/{number:02}.slice" for number in range(20)} <= set(best(walk)), "the outer ones first"
    assert not walk.seen().is_whole


def test_of_one_who_has_many_cgroups_most_are_not_even_listed(cgroups: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may create a hundred thousand: all others would wait for minutes for the end of each walk."""
    cgroups.add("/user@7.service", 1)
    for number in range(500):
        (cgroups.root / f"user@7.service/{number}").mkdir()
    monkeypatch.setattr(walking, "MAX_OF_UNIT", 9)
    walk = Walk(cgroups.hierarchy, cgroups.fd, 256, nothing_sampled, 0)
    steps = iter(range(1000))
    assert walk.go_on(lambda: next(steps) < 0)
    assert next(steps) <= 10
    assert not walk.seen().is_whole


def test_a_directory_without_others_in_it_is_not_listed(cgroups: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        cgroups.add(f"/system.slice/{number}.service", 1)
    listed: list[bytes] = []

    def opened(path: bytes, parent: int) -> int:
        listed.append(path)
        return os.open(path, os.O_RDONLY, dir_fd=parent)

    monkeypatch.setattr(walking, "open_directory", opened)
    assert len(walked(cgroups).best) == 10
    assert listed == [b".", b"system.slice"]


class Held:
    """Cgroups that are sampled, after a walk each."""

    def __init__(self, of: Tree, room: int = 4) -> None:
        self.tree = of
        self.rings = Rings(HOST + room)
        self.cgroups = Cgroups(of.hierarchy, of.fd, self.rings, PAGE, of.read)
        self.seen: Seen | None = None
        self.now_ns = 100 * NS

    def walk(self, seconds: int = 60) -> None:
        self.now_ns += seconds * NS
        walk = Walk(self.tree.hierarchy, self.tree.fd, self.cgroups.wanted, self.cgroups.usage_of, self.now_ns)
        assert walk.go_on(lambda: False)
        self.cgroups.choose(walk, self.seen, self.now_ns)
        self.seen = walk.seen()

    def sample(self) -> list[bytes]:
        from array import array

        self.now_ns += NS
        values = array("I", bytes(4 * self.rings.columns))
        came_near = self.cgroups.read(values, self.now_ns)
        self.rings.add(self.now_ns, values)
        return came_near

    def sizes(self) -> dict[str, int | None]:
        """Pages of each in the last sample."""
        (row,) = self.rings.rows(self.now_ns, self.now_ns)
        return {cgroup.path.decode(): self.rings.pages(row, column) for column, cgroup in self.cgroups}


@pytest.fixture
def held(cgroups: Tree) -> Iterator[Held]:
    before = len(os.listdir("/proc/self/fd"))
    made = Held(cgroups)
    yield made
    made.cgroups.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_usage_is_sampled_in_pages(held: Held) -> None:
    held.tree.add("/a", 5 * PAGE)
    held.tree.add("/b", 0)
    held.walk()
    held.sample()
    assert held.sizes() == {"/a": 5, "/b": 0}


def test_a_removed_cgroup_is_closed_and_its_samples_stay(held: Held) -> None:
    held.tree.add("/a", 5 * PAGE)
    held.walk()
    held.sample()
    held.tree.remove("/a")
    before = len(os.listdir("/proc/self/fd"))
    held.sample()
    assert held.sizes() == {"/a": None}
    assert len(os.listdir("/proc/self/fd")) == before - 1
    (row, _later) = held.rings.rows(0, held.now_ns)
    assert held.rings.pages(row, HOST) == 5
    held.sample()  # it is not asked again


def test_a_cgroup_of_the_same_name_is_another_one(held: Held) -> None:
    held.tree.add("/a", 5 * PAGE)
    held.walk()
    held.sample()
    held.tree.remove("/a")
    held.tree.add("/a", 9 * PAGE)
    held.walk()
    held.sample()
    old, new = (cgroup for _column, cgroup in held.cgroups)
    assert (old.fd, new.fd >= 0) == (-1, True)
    column, found = held.cgroups.at(b"/a") or (0, None)
    assert found is new
    assert [held.rings.pages(row, column) for row in held.rings.rows(0, held.now_ns)] == [None, 9]


def test_a_place_is_used_again_once_its_samples_are_not_needed(held: Held) -> None:
    for name in "abcd":
        held.tree.add(f"/{name}", 5 * PAGE, limit=9 * PAGE)
    held.walk()
    held.sample()
    (_column, left) = held.cgroups.at(b"/a") or (0, None)
    held.tree.remove("/a")
    held.tree.add("/e", PAGE, limit=9 * PAGE)
    held.sample()
    held.walk(KEEP_NS // NS - 1)
    assert held.cgroups.at(b"/e") is None
    assert left is not None
    assert not left.is_forgotten
    held.walk(1)
    held.sample()
    assert held.cgroups.at(b"/e") is not None
    assert held.cgroups.at(b"/a") is None
    assert left.is_forgotten
    assert held.sizes() == {"/e": 1, "/b": 5, "/c": 5, "/d": 5}


def test_a_walk_that_passed_some_over_still_gives_places_to_larger_ones(held: Held) -> None:
    """Anyone may create a cgroup that it passes over, such as one that is too deep."""
    for number, name in enumerate("abcd", start=1):
        held.tree.add(f"/{name}", number * PAGE)
    held.walk()
    held.sample()
    held.tree.add("/a" + "/deep" * 300)
    held.tree.add("/large", 90 * PAGE)
    held.walk()
    held.walk(KEEP_NS // NS)
    held.sample()
    assert held.seen is not None
    assert not held.seen.is_whole
    assert held.sizes() == {"/b": 2, "/c": 3, "/d": 4, "/large": 90}


def test_a_sampled_one_that_the_walk_did_not_see_keeps_its_place(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.tree.add("/a", PAGE)
    held.walk()
    monkeypatch.setattr(walking, "MAX_VISITED", 0)
    held.walk()
    held.sample()
    assert held.sizes() == {"/a": 1}


def test_a_cgroup_is_new_if_the_walk_before_did_not_see_it(held: Held) -> None:
    held.tree.add("/old", PAGE)
    held.walk()
    first_ns = held.now_ns
    held.tree.add("/new", PAGE)
    held.walk()
    assert {cgroup.path: cgroup.since_ns for _column, cgroup in held.cgroups} == {b"/old": None, b"/new": first_ns}


def test_after_a_walk_that_passed_some_over_none_is_new(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.tree.add("/old", PAGE)
    monkeypatch.setattr(walking, "MAX_VISITED", 0)
    held.walk()
    monkeypatch.undo()
    held.walk()
    assert [cgroup.since_ns for _column, cgroup in held.cgroups] == [None]


def test_an_old_cgroup_that_comes_in_later_is_not_new(held: Held) -> None:
    """It was not among the largest."""
    for name in "abcde":
        held.tree.add(f"/{name}", ord(name) * PAGE)
    held.walk()
    assert held.cgroups.at(b"/a") is None
    held.tree.remove("/e")
    held.sample()
    held.walk()
    (_column, cgroup) = held.cgroups.at(b"/a") or (0, None)
    assert cgroup is not None
    assert cgroup.since_ns is None


def test_a_cgroup_comes_near_its_limit_once(held: Held) -> None:
    held.tree.add("/a", 50 * PAGE, limit=100 * PAGE)
    held.tree.add("/b", 10**9)
    held.walk()
    came = []
    for pages in (50, 89, 90, 95, 90, 85, 90, 84, 90, 83, 90):
        held.tree.set("/a", pages * PAGE)
        came.append(held.sample())
    assert [pages == [b"/a"] for pages in came] == [False, False, True, *[False] * 7, True]


def test_a_cgroup_that_was_at_its_limit_before_is_not_coming_near_it(held: Held) -> None:
    held.tree.add("/a", 100 * PAGE, limit=100 * PAGE)
    held.walk()
    assert held.sample() == []
    held.tree.add("/new", 100 * PAGE, limit=100 * PAGE)
    held.walk()
    assert held.sample() == [b"/new"]


@pytest.mark.parametrize(
    ("version", "stat"),
    [
        (2, "anon {anon}\nfile {file}\nshmem {shmem}\nworkingset_refault_anon 1\n"),
        (1, "cache 1\ntotal_cache {file}\ntotal_rss {anon}\ntotal_shmem {shmem}\n"),
    ],
)
def test_page_cache_is_no_growth(version: int, stat: str) -> None:
    def text(anon: int, file: int, shmem: int) -> str:
        return stat.format(anon=anon * PAGE, file=file * PAGE, shmem=shmem * PAGE)

    with tree(version) as cgroups:
        cgroups.add("/a", 6390 * PAGE, limit=6400 * PAGE, stat=text(2000, 4390, 0))
        held = Held(cgroups)
        held.walk()
        grew = []
        for anon, file, shmem in ((2000, 4390, 0), (2099, 4291, 0), (2199, 4191, 0), (2199, 4191, 100), (900, 5490, 0)):
            (cgroups.root / "a/memory.stat").write_text(text(anon, file, shmem))
            grew.append(held.cgroups.grow_without_cache(held.now_ns))
        assert grew == [False, False, True, True, False]
        held.cgroups.close()


def test_what_came_near_its_limit_last_is_looked_at_first(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of others may be full of page cache for ever."""
    monkeypatch.setattr(sampled, "_MOST_STATS", 2)
    for name in "abc":
        held.tree.add(f"/{name}", 99 * PAGE, limit=100 * PAGE, stat=f"file {99 * PAGE}\n")
    held.tree.add("/leak", 50 * PAGE, limit=100 * PAGE)
    held.walk()
    held.sample()
    grew = []
    for pages in (91, 95, 99):
        held.tree.set("/leak", pages * PAGE)
        held.sample()
        grew.append(held.cgroups.grow_without_cache(held.now_ns))
    assert grew == [False, True, True]


def test_one_that_its_owner_closed_since_the_walk_costs_no_other_its_place(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.tree.add("/closed", 9 * PAGE, limit=10 * PAGE)
    held.tree.add("/a", PAGE)

    def open_file(path: bytes, parent: int) -> int:
        if path.startswith(b"closed/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return cgroupfs.open_file(path, parent)

    monkeypatch.setattr(sampled, "open_file", open_file)
    held.walk()
    held.sample()
    assert held.sizes() == {"/a": 1}
    assert held.cgroups.cannot_open is None


def test_if_no_more_files_can_be_opened_those_that_are_open_stay(held: Held) -> None:
    for name in "abc":
        held.tree.add(f"/{name}", PAGE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first, second = os.dup(0), os.dup(0)
    os.close(first)
    os.close(second)
    walk = Walk(held.tree.hierarchy, held.tree.fd, 4, held.cgroups.usage_of, 0)
    assert walk.go_on(lambda: False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (second, hard))
    try:
        held.cgroups.choose(walk, None, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert held.cgroups.cannot_open is not None
    assert len(list(held.cgroups)) == 1
    held.walk()
    assert len(list(held.cgroups)) == 3
    assert held.cgroups.cannot_open is None


def test_a_thousand_cgroups_that_come_and_go_leave_no_file_open(held: Held, tmp_path: Path) -> None:
    assert tmp_path.exists()
    for turn in range(30):
        for number in range(20):
            held.tree.add(f"/{turn}-{number}", PAGE * number, limit=99 * PAGE)
        held.walk(12)
        held.sample()
        for number in range(20):
            held.tree.remove(f"/{turn}-{number}")
        held.sample()
        assert all(cgroup.fd < 0 for _column, cgroup in held.cgroups)
