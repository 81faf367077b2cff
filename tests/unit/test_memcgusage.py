# SPDX-License-Identifier: Apache-2.0
"""What filled a domain, on small trees: with strangers' names, removed cgroups, and more than there is time to read."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.host.cgroupfs import MAX_FILE_BYTES, Hierarchy, memory_hierarchy
from oomkilld.host.clock import KernelClock
from oomkilld.record.enrich.memcgusage import MAX_FILES, MAX_MILLISECONDS, NOTHING, Contents, ContentsReader, stat_bytes
from tests.support import pace

# The rows of the kernels' tables, with their sizes; counters of events follow.
STAT_5_10 = """\
anon 1000
file 2000
kernel_stack 16384
percpu 7
sock 0
shmem 0
file_mapped 1
file_dirty 2
file_writeback 3
anon_thp 2097152
inactive_anon 4
active_anon 5
inactive_file 6
active_file 7
unevictable 0
slab_reclaimable 8
slab_unreclaimable 9
slab 17
workingset_refault_anon 12
workingset_nodereclaim 3
pgfault 99
pgmajfault 1
thp_fault_alloc 4
"""
STAT_7_3 = """\
anon 1000
file 2000
kernel 3000
kernel_stack 16384
pagetables 4096
sec_pagetables 0
percpu 7
sock 0
vmalloc 12288
shmem 0
zswap 5
zswapped 4096
zswap_incomp 0
file_mapped 1
hugetlb 2097152
workingset_refault_anon 12
pgdemote_kswapd 3
pgscan 1
zswpin 4
swpin_zero 5
numa_hint_faults 6
a_new_counter 7
"""
STAT_V1 = """\
cache 1
rss 2
pgfault 3
hierarchical_memory_limit 9223372036854771712
total_cache 9494528
total_rss 1257050112
total_rss_huge 0
total_workingset_refault_file 215856
total_swap 10
total_swapcached 20
total_pgpgin 246792
total_pgfault 82660
total_inactive_anon 30
total_unevictable 40
"""


class Clock(KernelClock):
    """Advances by a step at each reading; ``meanwhile`` runs at each reading."""

    def __init__(self, step_ns: int = 0, meanwhile: Callable[[int], object] = lambda _looks: None) -> None:
        self._step_ns = step_ns
        self._meanwhile = meanwhile
        self._looks = 0

    def monotonic_ns(self) -> int:
        self._looks += 1
        self._meanwhile(self._looks)
        return self._looks * self._step_ns


class Tree:
    """A hierarchy on disk."""

    def __init__(self, root: Path, version: int = 2) -> None:
        self.root = root
        self._usage_file = "memory.current" if version == 2 else "memory.usage_in_bytes"
        root.mkdir(exist_ok=True)
        if version == 2:
            (root / "cgroup.controllers").write_text("cpu memory pids\n")
        else:
            (root / self._usage_file).write_text("9\n")

    def add(self, path: str | bytes, usage: int | None, stat: str | None = None) -> None:
        """``usage`` None: a cgroup without the memory controller."""
        directory = os.path.join(os.fsencode(self.root), os.fsencode(path).lstrip(b"/"))
        os.makedirs(directory, exist_ok=True)
        for name, text in ((self._usage_file, None if usage is None else f"{usage}\n"), ("memory.stat", stat)):
            if text is not None:
                Path(os.fsdecode(directory), name).write_text(text)

    def read(self, path: bytes | None, clock: Clock | None = None, first: Sequence[bytes | None] = ()) -> Contents:
        before = set(os.listdir("/proc/self/fd"))
        contents = ContentsReader(clock or Clock(), str(self.root)).read(path, first)
        # Fewer: what an earlier test has left is closed when it is collected.
        assert set(os.listdir("/proc/self/fd")) <= before
        return contents


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "cgroup")


@pytest.mark.parametrize(
    ("text", "version", "last", "rows"),
    [(STAT_5_10, 2, "slab", 18), (STAT_7_3, 2, "hugetlb", 15), (STAT_V1, 1, "unevictable", 7), ("", 2, None, 0)],
    ids=["5.10", "7.3", "v1", "empty"],
)
def test_rows_in_bytes_are_kept_and_counters_are_not(text: str, version: int, last: str | None, rows: int) -> None:
    stat = stat_bytes(text.encode(), version)
    assert (len(stat), next(reversed(stat), None)) == (rows, last)
    assert not [key for key in stat if key.startswith(("pg", "workingset", "total", "hierarchical"))]


def test_version_1_sums_up_the_cgroups_below() -> None:
    assert stat_bytes(STAT_V1.encode(), 1)["cache"] == 9494528


def test_a_kernel_whose_events_begin_with_another_row_is_understood() -> None:
    assert stat_bytes(b"anon 1\nslab 2\npgfault 3\nworkingset_refault 4\n", 2) == {"anon": 1, "slab": 2}


@pytest.mark.parametrize(
    "row",
    [
        *(b"anon", b"anon ", b"anon x", b"anon -1", b"anon 1 2", b" 1", b"Anon 1", b"a\xff 1", b"a\x1b 1"),
        *(b"\xb2 \xb2", b"anon " + 21 * b"9", b"anon 1\r", b"anon 1"),
    ],
)
def test_a_row_that_the_kernel_cannot_have_written_is_left_out(row: bytes) -> None:
    # The last row has no newline: it was cut off.
    assert stat_bytes(b"file 5\n" + row + (b"" if row == b"anon 1" else b"\n"), 2) == {"file": 5}


@settings(max_examples=pace.examples(10_000))
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"anon", b"total_", b"pgfault", b" ", b"\n", b"1", b"0x1", b"\xff", b"\0"])).map(
            b"".join
        ),
    ),
    st.sampled_from([1, 2]),
)
def test_no_bytes_raise_anything(raw: bytes, version: int) -> None:
    for key, size in stat_bytes(raw, version).items():
        assert key.encode() in raw
        assert key.isascii()
        assert 0 <= size < 10**20
        assert f"{size}".encode() in raw


@settings(max_examples=500)
@given(st.dictionaries(st.from_regex("[a-o][a-z0-9_]{0,9}", fullmatch=True), st.integers(0, 2**64 - 1)))
def test_every_row_that_the_kernel_writes_is_read(rows: dict[str, int]) -> None:
    text = "".join(f"{key} {size}\n" for key, size in rows.items())
    assert stat_bytes(text.encode(), 2) == rows


def test_a_cgroups_contents_are_its_rows_and_its_five_largest_children(tree: Tree) -> None:
    tree.add("a.slice", 100, STAT_7_3)
    for i in range(7):
        tree.add(f"a.slice/{i}.service", i * 10)
    tree.add("a.slice/6.service/below", 60)
    tree.add("a.slice/plain", None)
    contents = tree.read(b"/a.slice")
    assert contents.stat == stat_bytes(STAT_7_3.encode(), 2)
    assert contents.top == [(f"/a.slice/{i}.service".encode(), i * 10) for i in (6, 5, 4, 3, 2)]


def test_a_cgroup_without_children_has_no_top(tree: Tree) -> None:
    tree.add("a.service", 100, STAT_5_10)
    assert tree.read(b"/a.service") == Contents(stat_bytes(STAT_5_10.encode(), 2), [])


def test_children_that_use_nothing_are_left_out(tree: Tree) -> None:
    tree.add("a", 100)
    tree.add("a/b", 0)
    tree.add("a/c", 1)
    assert tree.read(b"/a") == Contents({}, [(b"/a/c", 1)])


def test_the_machines_largest_are_cgroups_without_children_at_any_depth(tree: Tree) -> None:
    tree.add("", None, "anon 7\n")
    tree.add("user.slice", 1000)
    tree.add("user.slice/u1.slice", 900)
    tree.add("user.slice/u1.slice/app", 890)
    tree.add("user.slice/u1.slice/app/inner", None)  # delegated, but without the memory controller
    tree.add("user.slice/u1.slice/small", 10)
    tree.add("user.slice/u2.slice", 100)
    tree.add("system.slice", 500)
    for i in range(5):
        tree.add(f"system.slice/{i}.service", 90 + i)
    tree.add("init.scope", 200)
    tree.add("no-memory", None)
    top: list[tuple[bytes, int | None]] = [
        (b"/user.slice/u1.slice/app", 890),
        (b"/init.scope", 200),
        (b"/user.slice/u2.slice", 100),
        (b"/system.slice/4.service", 94),
        (b"/system.slice/3.service", 93),
    ]
    assert tree.read(None) == Contents({"anon": 7}, top)


@pytest.mark.parametrize("path", [b"/", b"/a", b"//a/", None])
def test_paths_begin_at_the_root(tree: Tree, path: bytes | None) -> None:
    tree.add("a", 5)
    tree.add("a/b", 4)
    assert tree.read(path).top == [(b"/a", 5) if path == b"/" else (b"/a/b", 4)]


@pytest.mark.parametrize("name", [b"\x1b[31mred", b"\xff\xfe", b" ", b"a=b,c", b"..hidden", "猫".encode()])
def test_names_of_strangers_are_only_names(tree: Tree, name: bytes) -> None:
    tree.add(name, 10, "anon 10\n")
    tree.add(name + b"/" + name, 9)
    assert tree.read(b"/" + name) == Contents({"anon": 10}, [(b"/" + name + b"/" + name, 9)])
    assert tree.read(None).top == [(b"/" + name + b"/" + name, 9)]


@pytest.mark.parametrize(
    "path", [b"", b"a", b"/..", b"/a/../a", b"/../outside", b"/a\0b", b"/a/..", b"/missing", b"/" + 300 * b"x"]
)
def test_no_path_leads_out_of_the_tree(tree: Tree, path: bytes) -> None:
    tree.add("a", 5, "anon 5\n")
    tree.add("../outside", 7, "anon 7\n")
    assert tree.read(path) == NOTHING


def test_links_are_not_followed(tree: Tree) -> None:
    tree.add("a", 5)
    tree.add("../outside", 7, "anon 7\n")
    tree.add("../outside/inner", 7)
    (tree.root / "link").symlink_to("../outside")
    (tree.root / "a/link").symlink_to("../../outside")
    (tree.root / "a/memory.stat").symlink_to("../../outside/memory.stat")
    assert tree.read(b"/link") == NOTHING
    assert tree.read(b"/link/inner") == NOTHING
    assert tree.read(b"/a") == Contents({}, [])
    assert tree.read(None).top == [(b"/a", 5)]


def once(look: int, action: Callable[[], object]) -> Clock:
    """Runs ``action`` at reading number ``look`` of the clock, which comes before each file is opened."""
    return Clock(meanwhile=lambda looks: looks == look and action())


@pytest.mark.parametrize("look", range(1, 18))
def test_a_child_that_is_removed_meanwhile_is_left_out(tree: Tree, look: int) -> None:
    tree.add("a", 100, "anon 1\n")
    tree.add("a/b", 60)
    tree.add("a/c", 40)
    contents = tree.read(b"/a", once(look, lambda: shutil.rmtree(tree.root / "a/b")))
    assert contents.top[-1] == (b"/a/c", 40)
    assert contents == Contents({"anon": 1}, contents.top)


@pytest.mark.parametrize("look", range(1, 16))
def test_a_domain_that_is_removed_meanwhile_costs_only_its_fields(tree: Tree, look: int) -> None:
    tree.add("a", 100, "anon 1\n")
    tree.add("a/b", 60)
    contents = tree.read(b"/a", once(look, lambda: shutil.rmtree(tree.root / "a")))
    assert contents.stat in ({}, {"anon": 1})
    assert contents.top in ([], [(b"/a/b", 60)])


@pytest.mark.parametrize("look", range(1, 18))
def test_the_walk_over_the_machine_continues_after_a_removal(tree: Tree, look: int) -> None:
    tree.add("a", 100)
    tree.add("a/b", 60)
    tree.add("c", 50)
    contents = tree.read(None, once(look, lambda: shutil.rmtree(tree.root / "a")))
    assert contents.top[-1] == (b"/c", 50)
    # Without its child, it counts as a cgroup without children.
    assert contents.top[:-1] in ([], [(b"/a/b", 60)], [(b"/a", 100)])


def close(cgroup: Path) -> None:
    """Like a directory of mode 000 for a process without CAP_DAC_READ_SEARCH; root, who runs this, has it."""
    (cgroup / "memory.current").unlink()
    (cgroup / "memory.current").mkdir()  # opens, but cannot be read


def test_an_unreadable_child_costs_no_other_and_comes_last_without_a_size(tree: Tree) -> None:
    tree.add("a", 100, "anon 1\n")
    for i in range(7):
        tree.add(f"a/{i}", 10 + i)
    close(tree.root / "a/3")
    top = [*((f"/a/{i}".encode(), 10 + i) for i in (6, 5, 4, 2)), (b"/a/3", None)]
    assert tree.read(b"/a") == Contents({"anon": 1}, top)
    for i in (0, 1, 2, 4, 5, 6):
        close(tree.root / f"a/{i}")
    ((path, usage),) = tree.read(b"/a").top
    assert (path[:3], usage) == (b"/a/", None)


def test_an_unreadable_cgroup_of_the_machine_costs_no_other(tree: Tree) -> None:
    tree.add("system.slice", 100)
    for i in range(7):
        tree.add(f"system.slice/{i}.service", 10 + i)
    close(tree.root / "system.slice/3.service")
    tree.add("system.slice/6.service/inner", 16)
    close(tree.root / "system.slice/6.service/inner")
    tree.add("c", 50)
    top: list[tuple[bytes, int | None]]
    top = [(f"/system.slice/{i}.service".encode(), 10 + i) for i in (5, 4, 2)]
    # Both sizes are unknown; only of this one it is known that it uses memory.
    assert tree.read(None) == Contents({}, [(b"/c", 50), *top, (b"/system.slice/6.service", None)])


# The root, the cgroup, its directory, its memory.stat, five files of counts, and five of the largest children too.
@pytest.mark.parametrize(("children", "complete"), [(MAX_FILES - 14, True), (MAX_FILES - 13, False)])
def test_with_too_many_children_some_are_shown_and_a_last_row_stands_for_the_rest(
    tree: Tree, children: int, complete: bool
) -> None:
    tree.add("a", 10**6, "anon 1\n")
    for i in range(children):
        tree.add(f"a/{i}", 1 + i)
    contents = tree.read(b"/a")
    assert contents.stat == {"anon": 1}
    assert len(contents.top) == 5
    assert (contents.top[-1] == (b"/a", None)) is not complete
    assert all(size for _path, size in contents.top[:4])


def test_however_many_children_there_are_those_of_victim_and_trigger_are_read(tree: Tree) -> None:
    tree.add("a", 10**6, "anon 1\n")
    for i in range(2 * MAX_FILES):
        tree.add(f"a/{i}", 0)
    for name, usage in (("hog", 1000), ("asked", 500)):
        tree.add(f"a/{name}/inner", usage)
        tree.add(f"a/{name}", usage)
    first = [b"/a/hog/inner/most", b"/a/asked"]
    expected = Contents({"anon": 1}, [(b"/a/hog", 1000), (b"/a/asked", 500), (b"/a", None)])
    assert tree.read(b"/a", first=first) == expected
    # A path that leads to no child changes nothing.
    for path in (None, b"/a", b"/ab/hog", b"a/hog", b"/a/../hog", b"/a/gone", b"/"):
        assert tree.read(b"/a", first=[*first, path]) == expected


def test_a_cgroup_with_too_many_children_does_not_count_as_childless_and_hides_no_other(tree: Tree) -> None:
    tree.add("big", 1000)
    tree.add("many", 500)
    for i in range(MAX_FILES):
        tree.add(f"many/{i}", 1 + i)
    tree.add("small", 400)
    tree.add("small/inner", 300)
    tree.add("small/other", 50)
    top: list[tuple[bytes, int | None]]
    top = [(b"/big", 1000), (b"/small/inner", 300), (b"/small/other", 50), (b"/many", None)]
    assert tree.read(None) == Contents({}, top)


def test_a_cgroup_that_was_not_searched_in_time_does_not_count_as_childless(tree: Tree) -> None:
    for parent, usage in (("system.slice", 900), ("user.slice", 600)):
        tree.add(parent, usage)
        for i in range(2):
            tree.add(f"{parent}/{i}", usage // 2 - i)
    tree.add("init.scope", 500)
    found: list[list[tuple[bytes, int | None]]] = []
    # Each time, the deadline comes one reading later.
    for looks in range(1, 40):
        top = tree.read(None, Clock(step_ns=MAX_MILLISECONDS * 10**6 // looks)).top
        found += [top] if top not in found else []
    whole = found[-1]
    assert whole == tree.read(None).top
    leaves = dict(whole)
    for top in found:
        assert all(size == leaves.get(path) for path, size in top if size is not None), top
        assert [size is None for _path, size in top[:-1]] == [False] * (len(top) - 1), top
    assert any(top and top[-1][1] is None for top in found), found


def test_time_is_limited(tree: Tree) -> None:
    tree.add("a", 100, "anon 1\n")
    for i in range(MAX_MILLISECONDS):
        tree.add(f"a/{i}", 1 + i)
    assert None not in dict(tree.read(b"/a", Clock(step_ns=10**5)).top).values()
    top = tree.read(b"/a", Clock(step_ns=10**6)).top
    assert (len(top), top[-1]) == (5, (b"/a", None))
    assert tree.read(b"/a", Clock(step_ns=MAX_MILLISECONDS * 10**6)) == NOTHING


def test_the_number_of_opened_files_is_bounded(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real_open = os.open

    def counting_open(path: str | bytes, flags: int, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return real_open(path, flags, dir_fd=dir_fd)

    tree.add("", None, "anon 1\n")
    for i in range(150):
        tree.add(f"{i}", 1000 + i)
        tree.add(f"{i}/below", 500)
        tree.add(f"{i}/below/below", 400)
    monkeypatch.setattr(os, "open", counting_open)
    assert tree.read(None).top == [(b"/128", None)]
    assert len(opened) == MAX_FILES


def test_an_endless_file_is_cut(tree: Tree) -> None:
    rows = [f"key_{i:06} 111\n" for i in range(10_000)]
    tree.add("a", 100, "".join(rows))
    stat = tree.read(b"/a").stat
    assert len(stat) == MAX_FILE_BYTES // len(rows[0])
    assert set(stat.values()) == {111}


@pytest.mark.parametrize("text", ["", "max\n", "-1\n", "1 2\n", "9" * 21])
def test_a_usage_that_is_no_number_is_unknown(tree: Tree, text: str) -> None:
    tree.add("a", 100)
    tree.add("a/b", 1)
    (tree.root / "a/b/memory.current").write_text(text)
    assert tree.read(b"/a").top == []


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    tree = Tree(tmp_path / "cgroup/memory", 1)
    tree.add("", 1000, STAT_V1)
    tree.add("system.slice", 100, STAT_V1)
    tree.add("system.slice/a.service", 60)
    reader = ContentsReader(Clock(), str(tmp_path / "cgroup"))
    stat = stat_bytes(STAT_V1.encode(), 1)
    assert reader.read(b"/system.slice") == Contents(stat, [(b"/system.slice/a.service", 60)])
    assert reader.read(None) == Contents(stat, [(b"/system.slice/a.service", 60)])
    some = ContentsReader(Clock(), str(tmp_path / "cgroup"), stat_keys=["rss", "none such"])
    assert "rss" in stat
    assert some.read(None) == Contents({"rss": stat["rss"]}, [(b"/system.slice/a.service", 60)])


@pytest.mark.parametrize(
    ("files", "where", "version"),
    [
        ({"cgroup.controllers": "cpu memory\n"}, "", 2),
        ({"memory/memory.usage_in_bytes": "1\n"}, "/memory", 1),
        # Hybrid, and hybrid with cgroup_no_v1=memory.
        ({"memory/memory.usage_in_bytes": "1\n", "unified/cgroup.controllers": "\n"}, "/memory", 1),
        ({"unified/cgroup.controllers": "memory\n"}, "/unified", 2),
    ],
    ids=["unified", "legacy", "hybrid", "hybrid with memory"],
)
def test_the_hierarchy_is_found(tmp_path: Path, files: dict[str, str], where: str, version: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_hierarchy(str(tmp_path)) == Hierarchy(f"{tmp_path}{where}", version)


def test_without_a_memory_controller_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory_like\n")
    assert memory_hierarchy(str(tmp_path)) is None
    assert ContentsReader(Clock(), str(tmp_path)).read(None) == NOTHING
    assert ContentsReader(Clock(), str(tmp_path / "missing")).read(b"/") == NOTHING


def test_this_machines_own_cgroups_are_understood() -> None:
    contents = ContentsReader(KernelClock()).read(None)
    assert contents == NOTHING or memory_hierarchy() is not None
    assert contents.top == sorted(contents.top, key=lambda each: -(each[1] or 0))
    assert all(path.startswith(b"/") for path, _usage in contents.top)
    # The last one's usage may be unknown: this process may be held up for longer than a reading may take.
    assert all(usage for _path, usage in contents.top[:-1])
