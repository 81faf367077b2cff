# SPDX-License-Identifier: Apache-2.0
"""The flight recorder as a part of the loop: when it wakes, what it says of a kill, and the entry that follows."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld import schema
from oomkilld.record.enrich.enrich import LedUp
from oomkilld.record.history import recorder, sampled
from oomkilld.record.history.entry import series
from oomkilld.record.history.recorder import MAX_REPORTS, Target, begin
from oomkilld.record.history.signs import Signs
from oomkilld.record.kill import decision_id
from tests.unit.fakes import FakeClock, FakeJournal
from tests.unit.recorded import BEGIN_NS, GIB_PAGES, MIB, PAGE, SECOND, Scene, tree
from tests.unit.records import ORIGIN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with tree() as cgroups:
        made = Scene(cgroups, tmp_path)
        yield made
        made.recorder.end()


def test_idle_it_never_wakes_the_loop(scene: Scene) -> None:
    scene.tree.add("/system.slice/a.service", 50 * MIB, limit=100 * MIB)
    assert scene.run(120) == 10
    assert scene.recorder.due_ns is None
    assert len(scene.rings.rows(0, scene.clock.now_ns)) == 10


def test_ten_cgroups_full_of_page_cache_never_wake_it(scene: Scene) -> None:
    for number in range(10):
        scene.tree.add(f"/{number}", 100 * MIB, limit=100 * MIB, stat=f"anon 0\nfile {100 * MIB}\nshmem 0\n")
    assert scene.run(1200) == 100


def test_cgroups_that_fill_with_page_cache_wake_it_for_a_minute(scene: Scene) -> None:
    for number in range(10):
        scene.tree.add(f"/{number}", 80 * MIB, limit=100 * MIB, stat=f"anon 0\nfile {80 * MIB}\nshmem 0\n")
    scene.run(60)
    for number in range(10):
        scene.tree.add(f"/{number}", 100 * MIB, stat=f"anon 0\nfile {100 * MIB}\nshmem 0\n")
    woke = [scene.run(60) for _minute in range(20)]
    assert woke[0] in (60, 61)
    assert woke[2:] == [5] * 18


def test_what_comes_near_its_limit_is_sampled_every_second(scene: Scene) -> None:
    scene.tree.add("/a", 50 * MIB, limit=100 * MIB)
    scene.run(60, {"/a": MIB // 10})
    assert scene.recorder.due_ns is None
    scene.tree.set("/a", 95 * MIB)
    scene.run(13)
    assert scene.recorder.due_ns is not None
    begin_ns = scene.clock.now_ns
    scene.run(30)
    assert len(scene.rings.rows(begin_ns, scene.clock.now_ns)) >= 30


def test_what_grows_without_page_cache_stays_fast_and_what_fills_up_with_cache_does_not(scene: Scene) -> None:
    for grows, most in ((True, 400), (False, 70)):
        path = f"/{grows}"
        scene.tree.add(path, 80 * MIB, limit=100 * MIB, stat="anon 0\nfile 0\nshmem 0\n")
        scene.run(60)
        woke = 0
        for minute in range(6):
            size = (90 + 2 * minute) * MIB if grows else 99 * MIB
            text = f"anon {size}\nfile 0\nshmem 0\n" if grows else f"anon 0\nfile {size}\nshmem 0\n"
            scene.tree.add(path, size, stat=text)
            woke += scene.run(60)
        assert woke > 300 if grows else woke <= 60 + 13 + 5 * 6
        assert woke < most + 30 * (not grows)
        scene.tree.set(path, MIB)
        scene.run(400)


def test_anonymous_memory_that_displaces_page_cache_is_noticed(scene: Scene) -> None:
    """Its usage stays at the limit all the time."""
    scene.tree.add("/a", 100 * MIB, limit=100 * MIB, stat=f"anon 0\nfile {100 * MIB}\nshmem 0\n")
    scene.run(300)
    assert scene.recorder.due_ns is None
    for minute in range(1, 4):
        anon = 10 * minute * MIB
        scene.tree.add("/a", 100 * MIB, stat=f"anon {anon}\nfile {100 * MIB - anon}\nshmem 0\n")
        scene.run(60)
    assert scene.recorder.due_ns is not None


def test_low_memory_of_the_machine_wakes_it_once(scene: Scene) -> None:
    scene.run(60)
    scene.meminfo(available=GIB_PAGES)
    woke = [scene.run(60) for _minute in range(8)]
    assert woke[0] > 40
    assert woke[2:] == [5] * 6, "it stays low for ever"


def test_while_the_machines_memory_shrinks_it_stays_fast(scene: Scene) -> None:
    scene.run(60)
    for minute in range(5):
        scene.meminfo(available=GIB_PAGES - minute * GIB_PAGES // 6)
        woke = scene.run(60)
    assert woke >= 60


def test_a_stall_wakes_it(scene: Scene) -> None:
    scene.run(24)
    scene.recorder.stirred()
    assert scene.run(50) >= 50
    assert scene.run(60) < 30


def test_a_new_cgroup_is_found_at_once_when_something_happens(scene: Scene) -> None:
    scene.run(24)
    scene.tree.add("/new", 5 * MIB)
    scene.run(12)
    assert scene.cgroups.at(b"/new") is None
    scene.recorder.stirred()
    scene.run(2)
    assert scene.cgroups.at(b"/new") is not None


def test_the_tree_is_walked_once_a_minute_and_never_for_long(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.run(12)
    scene.tree.add("/a", MIB)
    scene.run(48)
    assert scene.cgroups.at(b"/a") is None
    scene.run(12)
    assert scene.cgroups.at(b"/a") is not None
    for number in range(20):
        scene.tree.add(f"/{number}", MIB)
    # Each look at the clock takes a millisecond: so many cgroups fit into one turn.
    monkeypatch.setattr(recorder, "WALK_TURN_NS", 5 * 10**6)
    scene.run(48)
    scene.clock.step_ns = 10**6
    scene.run(12)
    assert scene.cgroups.at(b"/19") is None
    scene.run(72)
    assert scene.cgroups.at(b"/19") is not None


def test_the_grower_is_named_beside_a_larger_flat_bystander(scene: Scene) -> None:
    scene.tree.add("/tenants.slice/flat.service", 500 * MIB)
    scene.tree.add("/tenants.slice/grower.service", 10 * MIB)
    scene.tree.add("/tenants.slice", 510 * MIB, limit=1000 * MIB)
    scene.run(120)
    scene.run(100, {"/tenants.slice/grower.service": 4 * MIB, "/tenants.slice": 4 * MIB})
    # The flat one is the victim, and its memory is free by now.
    kill = scene.kill(
        "/tenants.slice", "/tenants.slice/flat.service", usage=910 * MIB, victim_anon_pages=500 * MIB // PAGE
    )
    scene.tree.set("/tenants.slice/flat.service", 0)
    found = scene.before(kill)
    assert [path for path, _size in found.grew] == [b"/tenants.slice/grower.service"]
    assert found.trend == "leak"
    assert found.window_ns is not None
    window_s = found.window_ns / SECOND
    assert abs(window_s - 100) <= 12
    slope = found.grew[0][1] / MIB / window_s
    assert abs(slope - 4) <= 0.4


def test_a_cgroup_outside_the_domain_has_nothing_to_do_with_it(scene: Scene) -> None:
    for path in ("/a", "/a/b", "/ab"):
        scene.tree.add(path, 10 * MIB, limit=200 * MIB)
    scene.run(60)
    scene.run(30, dict.fromkeys(("/a", "/a/b", "/ab"), 2 * MIB))
    assert scene.grew(scene.kill("/a")) == {"/a/b": 60.0}
    assert scene.grew(scene.kill("/ab")) == {"/ab": 60.0}
    assert scene.grew(scene.kill(None)) == {"/a/b": 60.0, "/ab": 60.0}


def test_the_victims_memory_counts_although_it_is_free_already(scene: Scene) -> None:
    scene.tree.add("/a.slice", 10 * MIB, limit=200 * MIB)
    scene.tree.add("/a.slice/b", 10 * MIB)
    scene.run(120)
    kill = scene.kill("/a.slice", "/a.slice/b", usage=200 * MIB, victim_anon_pages=190 * MIB // PAGE)
    scene.tree.set("/a.slice/b", MIB)
    assert scene.grew(kill) == {"/a.slice/b": 180.0}
    scene.clock.now_ns += SECOND
    kill = scene.kill("/a.slice", "/a.slice/b", usage=200 * MIB, victim_anon_pages=190 * MIB // PAGE)
    scene.tree.remove("/a.slice/b")
    assert scene.grew(kill) == {"/a.slice/b": 180.0}, "its cgroup is gone, too"


def test_memory_of_the_victims_cgroup_that_is_no_process_counts_too(scene: Scene) -> None:
    """Shared memory that was released with it, as far as the last sample shows it."""
    scene.tree.add("/a.slice", 10 * MIB, limit=200 * MIB)
    scene.tree.add("/a.slice/b", 10 * MIB)
    scene.run(120)
    for path in ("/a.slice", "/a.slice/b"):
        scene.tree.set(path, 150 * MIB)
    scene.run(13)
    kill = scene.kill("/a.slice", "/a.slice/b", usage=200 * MIB)
    scene.tree.set("/a.slice/b", 0)
    assert scene.grew(kill) == {"/a.slice/b": 140.0}


def test_only_cgroups_of_the_domain_are_read_at_a_kill(scene: Scene) -> None:
    for number in range(20):
        scene.tree.add(f"/a/{number}", MIB)
        scene.tree.add(f"/b/{number}", MIB)
    scene.run(24)
    read: list[int] = []

    def reading(fd: int, size: int, offset: int) -> bytes:
        read.append(fd)
        return scene.tree.read(fd, size, offset)

    scene.cgroups._read = reading
    scene.before(scene.kill("/a", usage=MIB))
    assert len(read) == 21


def test_a_new_cgroup_in_an_old_domain_starts(scene: Scene) -> None:
    scene.tree.add("/a.slice", 10 * MIB, limit=200 * MIB)
    scene.run(120)
    kill = scene.kill(
        "/a.slice",
        "/a.slice/new",
        usage=200 * MIB,
        victim_anon_pages=180 * MIB // PAGE,
        victim_start_boottime_ns=scene.clock.now_ns,
    )
    assert scene.before(kill) == LedUp("start", 60 * SECOND, [(b"/a.slice/new", 180 * MIB)])


def test_a_victim_older_than_the_last_walk_was_in_no_new_cgroup(scene: Scene) -> None:
    """Its cgroup, without the memory controller, was not sampled, and is removed with its last process."""
    scene.tree.add("/a.service", 100 * MIB, limit=200 * MIB)
    scene.run(130)
    kill = scene.kill("/a.service", "/a.service/inner", usage=200 * MIB, victim_start_boottime_ns=BEGIN_NS)
    assert scene.before(kill) == LedUp("spike", 10 * SECOND, [(b"/a.service", 100 * MIB)])


def test_a_cgroup_that_its_owner_closed_is_not_new(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service may not pass by permissions, and cannot see whether there was a cgroup below it."""
    scene.tree.add("/a.service", 100 * MIB, limit=200 * MIB)
    scene.run(130)
    monkeypatch.setattr(os, "stat", closed)
    kill = scene.kill("/a.service", "/a.service/inner", usage=200 * MIB, victim_start_boottime_ns=scene.clock.now_ns)
    assert scene.before(kill).trend == "spike"


def closed(path: bytes, **_options: object) -> os.stat_result:
    raise PermissionError(13, "Permission denied", path)


def test_a_spike_and_a_plateau(scene: Scene) -> None:
    scene.tree.add("/a", 10 * MIB, limit=100 * MIB)
    scene.tree.add("/b", 99 * MIB, limit=100 * MIB)
    scene.run(240)
    assert scene.before(scene.kill("/a", usage=100 * MIB)).trend == "spike"
    assert scene.before(scene.kill("/b", usage=100 * MIB)) == LedUp("plateau", 240 * SECOND, [(b"/b", MIB)])


def test_what_was_created_since_the_last_walk_starts(scene: Scene) -> None:
    scene.tree.add("/a", 10 * MIB, limit=100 * MIB)
    scene.run(30)
    kill = scene.kill("/new", usage=100 * MIB, victim_start_boottime_ns=scene.clock.now_ns - SECOND // 3)
    assert scene.before(kill) == LedUp("start", 30 * SECOND, [(b"/new", 100 * MIB)])
    scene.tree.add("/new", 100 * MIB, limit=100 * MIB)
    scene.clock.now_ns += SECOND
    assert scene.before(scene.kill("/new", usage=100 * MIB)).trend == "start", "it is still there"
    scene.run(60)
    assert scene.cgroups.at(b"/new") is not None
    assert scene.before(scene.kill("/new", usage=100 * MIB)).trend == "start"
    scene.run(90)
    assert scene.before(scene.kill("/new", usage=100 * MIB)).trend != "start"


def test_a_cgroup_that_was_there_before_and_is_not_sampled_is_unknown(tmp_path: Path) -> None:
    with tree() as cgroups:
        cgroups.add("/small", MIB)
        cgroups.add("/large", 9 * MIB, limit=10 * MIB)
        scene = Scene(cgroups, tmp_path, room=1)
        scene.run(30)
        assert scene.before(scene.kill("/small", usage=MIB)) == LedUp("unknown", 30 * SECOND, [])
        new = scene.kill("/gone", "/gone/a", usage=MIB, victim_start_boottime_ns=scene.clock.now_ns)
        assert scene.before(new).trend == "start", "the limited ones had room"
        cgroups.add("/another", MIB, limit=3 * MIB)
        scene.run(60)
        assert (
            scene.before(scene.kill("/gone", usage=MIB, victim_start_boottime_ns=scene.clock.now_ns)).trend == "unknown"
        )
        scene.recorder.end()


def test_nothing_is_known_in_a_cgroup_namespace_or_of_a_cut_path(scene: Scene) -> None:
    scene.tree.add("/a", 10 * MIB, limit=100 * MIB)
    scene.run(60)
    assert scene.before(scene.kill("/a", usage=100 * MIB, domain_cgroup_cut=True)) == LedUp("unknown", None, [])
    scene.known.is_rooted = False
    scene.clock.now_ns += SECOND
    assert scene.before(scene.kill("/a", usage=100 * MIB)) == LedUp("unknown", None, [])


def test_before_the_first_sample_nothing_is_known(scene: Scene) -> None:
    assert scene.before(scene.kill("/a", usage=100 * MIB)) == LedUp("unknown", None, [])


def test_a_service_that_was_started_again_has_no_history_of_the_one_before(scene: Scene) -> None:
    scene.tree.add("/a", 10 * MIB, limit=100 * MIB)
    scene.run(55, {"/a": MIB})
    scene.tree.remove("/a")
    scene.tree.add("/a", 100 * MIB, limit=100 * MIB)
    started_ns = scene.clock.now_ns
    scene.clock.now_ns += 3 * SECOND
    found = scene.before(scene.kill("/a", victim_start_boottime_ns=started_ns))
    assert (found.trend, found.grew) == ("start", [(b"/a", 100 * MIB)])


def test_a_cgroup_that_was_removed_long_before_the_kill_did_not_grow(scene: Scene) -> None:
    scene.tree.add("/a", 10 * MIB)
    scene.tree.add("/b", 10 * MIB)
    scene.run(60, {"/a": MIB})
    scene.tree.remove("/a")
    scene.run(24, {"/b": MIB})
    assert scene.grew(scene.kill(None)) == {"/b": 24.0}


def test_a_kill_that_is_found_late_is_judged_by_the_samples_before_it(scene: Scene) -> None:
    scene.tree.add("/a.slice", 10 * MIB, limit=1000 * MIB)
    scene.tree.add("/a.slice/b", 10 * MIB)
    grow = dict.fromkeys(("/a.slice", "/a.slice/b"), MIB)
    scene.run(120, grow)
    kill = scene.kill("/a.slice")
    scene.run(36, dict.fromkeys(grow, 9 * MIB))
    found = scene.before(kill)
    assert found.trend == "leak"
    assert abs(found.grew[0][1] - 108 * MIB) <= 12 * MIB
    assert scene.before(scene.kill("/new", usage=MIB, victim_start_boottime_ns=scene.clock.now_ns)).trend == "start"
    old = scene.kill("/new", usage=MIB)._replace(decision_boottime_ns=BEGIN_NS - SECOND, kill_boottime_ns=BEGIN_NS)
    assert scene.before(old) == LedUp("unknown", None, []), "from before the recorder began"


def test_growth_of_the_machine(scene: Scene) -> None:
    scene.tree.add("/a", MIB)
    scene.run(120)
    for step in range(60):
        scene.meminfo(available=8 * GIB_PAGES - step * GIB_PAGES // 8)
        scene.run(2, {"/a": 64 * MIB})
    found = scene.before(scene.kill(None, machine_free_pages=1000))
    assert found.trend == "leak"
    assert [path for path, _size in found.grew] == [b"/a"]
    # Called by hand, with memory left: what is free says nothing.
    scene.meminfo(available=8 * GIB_PAGES)
    scene.run(900)
    assert scene.before(scene.kill(None, order=-1, machine_free_pages=1000)).trend == "unknown"


def test_after_a_suspend_what_was_before_makes_no_slope(scene: Scene) -> None:
    scene.tree.add("/a", 10 * MIB, limit=1000 * MIB)
    scene.run(120, {"/a": MIB})
    scene.clock.asleep_ns += 600 * SECOND
    scene.tree.set("/a", 500 * MIB)
    scene.run(60)
    assert scene.before(scene.kill("/a", usage=500 * MIB)).grew == []
    scene.clock.asleep_ns += 600 * SECOND
    assert scene.before(scene.kill("/a", usage=900 * MIB)) == LedUp("unknown", None, []), "right after it"


def test_a_pause_between_two_clock_readings_is_no_suspend(scene: Scene) -> None:
    """The service may stand still there for long, and that is when memory is short."""
    scene.tree.add("/a", 10 * MIB, limit=1000 * MIB)
    scene.run(120, {"/a": MIB})
    scene.clock.step_ns = 2 * SECOND
    scene.before(scene.kill("/b"))
    scene.clock.step_ns = 0
    assert scene.before(scene.kill("/a")).trend == "leak"


def test_a_wall_clock_that_is_set_back_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.tree.add("/a", 10 * MIB, limit=1000 * MIB)
    scene.run(60, {"/a": MIB})
    monkeypatch.setattr(scene.clock, "realtime_ns", lambda: scene.clock.now_ns - 3600 * SECOND)
    scene.run(61, {"/a": MIB})
    assert scene.before(scene.kill("/a")).trend == "leak"


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"(?:^| )([A-Z_0-9]+)=(.*?)(?= [A-Z_0-9]+=|$)", entry))


def test_the_history_entry_follows_three_seconds_after_the_decision(scene: Scene) -> None:
    scene.tree.add("/a.slice", 20 * MIB, limit=100 * MIB)
    scene.tree.add("/a.slice/b", 10 * MIB)
    scene.tree.add("/a.slice/c", 10 * MIB)
    scene.run(120)
    scene.run(10, dict.fromkeys(("/a.slice", "/a.slice/b"), 8 * MIB))
    kill = scene.kill("/a.slice", "/a.slice/c", usage=101 * MIB)
    scene.before(kill)
    scene.before(kill._replace(victim_tid=9, kill_boottime_ns=kill.kill_boottime_ns + 1))
    scene.tree.set("/a.slice/c", 0)
    scene.run(3)
    assert scene.entries == []
    scene.run(2)
    (entry,) = scene.entries
    found = fields(entry)
    assert {name: found[name] for name in found if not name.startswith(("OOM_HISTORY_", "OOM_SCHEMA"))} == {
        "MESSAGE": "What led up to the OOM kill in /a.slice: /a.slice/b grew 80.0M in 10 s (spike)",
        "MESSAGE_ID": schema.MESSAGE_ID_HISTORY,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "oomkilld",
        "DOCUMENTATION": "man:oomkilld(8)",
        "OOM_EVENT": "history",
        "OOM_SOURCE": "kprobe",
        "OOM_KERNEL_RELEASE": "6.12.0-test",
        "OOM_DECISION_ID": decision_id(kill, ORIGIN.boot_id),
        "OOM_TIMESTAMP": str((BEGIN_NS + 130 * SECOND) // 1000 + 1),
        "OOM_BOOTTIME_TIMESTAMP": str((BEGIN_NS + 130 * SECOND) // 1000 + 1),
    }
    assert found["OOM_HISTORY_SINCE_TIMESTAMP"] == str(BEGIN_NS // 1000)
    assert found["OOM_HISTORY_1_CGROUP"] == "/a.slice/b"
    domain = found["OOM_HISTORY_DOMAIN"].split()
    assert domain[0] == f"-130:{20 * MIB}"
    assert domain[-5:] == [f"0:{size * MIB}" for size in (100, 101)] + [f"{second}:{100 * MIB}" for second in (1, 2, 3)]
    assert found["OOM_HISTORY_VICTIM"].endswith(" 1:0 2:0 3:0")
    assert found["OOM_HISTORY_MEMAVAILABLE"].split()[0] == f"-130:{8 * GIB_PAGES * PAGE}"
    assert "OOM_HISTORY_DIRTY" not in found, "this kernel has no such row"


def test_the_victims_series_is_left_out_if_it_is_the_domains(scene: Scene) -> None:
    scene.tree.add("/a", 20 * MIB, limit=100 * MIB)
    scene.run(24)
    scene.before(scene.kill("/a", usage=100 * MIB))
    scene.run(5)
    assert "OOM_HISTORY_VICTIM" not in fields(scene.entries[0])


def test_a_cgroup_without_samples_has_its_size_at_the_kill(scene: Scene) -> None:
    scene.run(24)
    scene.before(scene.kill("/new", usage=100 * MIB, victim_start_boottime_ns=scene.clock.now_ns))
    scene.run(5)
    assert fields(scene.entries[0])["OOM_HISTORY_1"] == f"0:{100 * MIB}"


def test_a_kill_of_which_nothing_is_known_has_no_history(scene: Scene) -> None:
    scene.before(scene.kill("/a", usage=MIB))
    scene.run(60)
    assert scene.entries == []


def test_a_series_whose_place_went_to_another_cgroup_is_not_that_ones(scene: Scene) -> None:
    scene.tree.add("/a", 20 * MIB, limit=100 * MIB)
    scene.run(24)
    scene.before(scene.kill("/a", usage=100 * MIB))
    (_column, cgroup) = scene.cgroups.at(b"/a") or (0, None)
    assert cgroup is not None
    cgroup.is_forgotten = True
    scene.run(5)
    assert fields(scene.entries[0])["OOM_HISTORY_DOMAIN"] == f"0:{100 * MIB}"


def test_files_that_cannot_be_opened_are_reported_once(scene: Scene) -> None:
    scene.run(12)
    for _walk in range(2):
        scene.tree.add(f"/{_walk}", MIB)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampled, "open_file", no_more_files)
            scene.run(61)
    assert scene.warnings == ["Failed to open the files of some cgroups: Too many open files, not sampling them"]


def no_more_files(_path: bytes, _parent: int) -> int:
    raise OSError(24, "Too many open files")


def test_one_entry_per_domain_in_ten_seconds_and_a_bounded_number_of_all(scene: Scene) -> None:
    scene.run(12)
    for number in range(5 * MAX_REPORTS):
        scene.clock.now_ns += 10**6
        scene.before(scene.kill(f"/{number % (2 * MAX_REPORTS)}", usage=MIB))
    scene.run(9)
    assert len(scene.entries) == MAX_REPORTS
    scene.clock.now_ns += 2 * SECOND
    scene.before(scene.kill("/0", usage=MIB))
    scene.before(scene.kill("/0", usage=MIB))
    scene.run(9)
    assert len(scene.entries) == MAX_REPORTS + 1


def test_one_owner_with_many_cgroups_leaves_entries_to_others(scene: Scene) -> None:
    scene.run(12)
    for number in range(2 * MAX_REPORTS):
        scene.before(scene.kill(f"/user.slice/user-1000.slice/a.service/{number}", usage=MIB))
    scene.before(scene.kill("/system.slice/b.service", usage=MIB))
    scene.run(9)
    assert len(scene.entries) == MAX_REPORTS // 2 + 1


def test_a_kill_whose_decision_is_unknown_has_no_entry_to_be_joined_with(scene: Scene) -> None:
    scene.run(12)
    kill = scene.kill("/a", usage=MIB, victim_start_boottime_ns=scene.clock.now_ns)._replace(decision_boottime_ns=None)
    other = kill._replace(kill_boottime_ns=kill.kill_boottime_ns + 5, domain_cgroup=None, victim_cgroup=None)
    assert scene.before(kill).trend == "start"
    assert scene.before(other).trend == "unknown", "it is another decision"
    scene.run(9)
    assert scene.entries == []


def test_what_journald_refuses_is_tried_again_for_a_while_and_then_dropped(scene: Scene) -> None:
    scene.run(12)
    scene.before(scene.kill("/a", usage=MIB))
    scene.journal.refuses = True
    scene.run(9)
    scene.journal.refuses = False
    scene.run(2)
    assert len(scene.entries) == 1
    scene.before(scene.kill("/a", usage=MIB))
    scene.journal.refuses = True
    scene.run(60)
    scene.journal.refuses = False
    scene.run(60)
    assert len(scene.entries) == 1


def test_kills_take_precedence(scene: Scene) -> None:
    scene.run(12)
    scene.before(scene.kill("/a", usage=MIB))
    scene.clock.now_ns += 9 * SECOND
    scene.recorder.check(may_send=False)
    assert scene.entries == []
    due_ns = scene.recorder.due_ns
    assert due_ns is not None
    assert due_ns > scene.clock.now_ns, "the loop would spin"
    scene.clock.now_ns += SECOND
    scene.recorder.check(may_send=True)
    assert len(scene.entries) == 1


def test_at_the_end_what_waits_is_sent(tmp_path: Path) -> None:
    with tree() as cgroups:
        before = len(os.listdir("/proc/self/fd"))
        scene = Scene(cgroups, tmp_path)
        cgroups.add("/a", MIB)
        scene.run(12)
        scene.before(scene.kill("/b", usage=MIB))
        scene.recorder.end()
        assert len(scene.entries) == 1
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_series_fits_into_a_field_and_keeps_its_newest_points() -> None:
    points = [(second * SECOND, 1 << 30) for second in range(-21600, 0, 5)]
    text = series(points, 0, PAGE)
    assert text is not None
    assert len(text) + schema.MAX_NAME_CHARACTERS <= schema.MAX_FIELD_BYTES
    assert text.endswith(f"-10:{PAGE << 30} -5:{PAGE << 30}")
    assert series([], 0, PAGE) is None
    assert series([(-SECOND // 3, 2), (0, 3), (SECOND // 3, 4), (SECOND, 5)], 0, 10) == "0:20 0:30 1:40 1:50"


def test_the_trigger_wakes_the_loop_only_while_it_says_something_new(scene: Scene) -> None:
    """A machine that is short of memory for ever fires it every two seconds."""
    scene.run(13)
    assert scene.signs.wanted
    scene.recorder.stirred()
    assert not scene.signs.wanted, "it samples every second anyway"
    scene.run(61)
    assert scene.recorder.due_ns is None
    assert not scene.signs.wanted, "nothing came of it"
    scene.run(280)
    assert not scene.signs.wanted
    scene.run(40)
    assert scene.signs.wanted
    scene.recorder.stirred()
    assert scene.recorder.due_ns is not None


def test_a_cgroup_that_reaches_its_limit_wakes_the_loop_once(scene: Scene) -> None:
    """One that is full of page cache reaches it again and again."""
    scene.tree.add("/a", 50 * MIB, limit=100 * MIB)
    scene.tree.add("/near", 95 * MIB, limit=100 * MIB)
    scene.tree.add("/unlimited", 50 * MIB)
    scene.run(13)
    assert scene.signs.awaited == {"/a"}
    scene.signs.change("/a")
    scene.recorder.stirred()
    assert scene.signs.wanted is False, "the trigger says nothing new"
    assert scene.run(50) >= 50
    assert scene.signs.awaited == set(), "it samples every second anyway"
    scene.run(24)
    assert scene.recorder.due_ns is None
    assert scene.signs.wanted, "it was not the trigger"
    assert scene.signs.awaited == set(), "nothing came of it"
    scene.run(300)
    assert scene.signs.awaited == {"/a"}
    scene.tree.set("/near", 50 * MIB)
    scene.run(13)
    assert scene.signs.awaited == {"/a", "/near"}


def test_a_removed_cgroup_has_no_open_file(scene: Scene) -> None:
    scene.run(1)
    files = len(os.listdir("/proc/self/fd"))
    scene.tree.add("/a", 50 * MIB, limit=100 * MIB)
    scene.run(72)
    assert scene.signs.awaited == {"/a"}
    assert len(os.listdir("/proc/self/fd")) == files + 2
    scene.tree.remove("/a")
    scene.run(13)
    assert len(os.listdir("/proc/self/fd")) == files


def test_version_1_of_control_groups_has_no_such_file(tmp_path: Path) -> None:
    with tree(1) as cgroups:
        scene = Scene(cgroups, tmp_path)
        cgroups.add("/a", 50 * MIB, limit=100 * MIB)
        (cgroups.at("/a") / "memory.events.local").unlink()
        scene.run(25)
        assert scene.signs.awaited == set()
        assert scene.warnings == []
        scene.recorder.end()


def test_without_a_trigger_there_is_only_a_reason(tmp_path: Path) -> None:
    signs = Signs(str(tmp_path / "none"))
    assert signs.reason == "No such file or directory"
    signs.listen(wanted=True)
    signs.close()


def test_this_kernels_trigger_needs_no_capability(scene: Scene) -> None:
    """Where the kernel has PSI and is new enough; elsewhere the recorder works without it."""
    program = "from oomkilld.record.history.signs import Signs\nprint(Signs().reason)"
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    found = subprocess.run(
        [*without, sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if release >= (6, 5) and Path("/proc/pressure/memory").exists():
        assert found.stdout in ("\n", "Operation not supported\n")
    else:
        assert found.stdout != "\n" or os.geteuid() == 0
    assert scene.warnings == []


def test_a_machine_without_cgroups_has_no_recorder(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert begin(9, FakeClock(), ORIGIN, Target(FakeJournal([]), warnings.append), str(tmp_path)) is None
    assert len(warnings) == 1


def test_the_limit_of_open_files_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, files in ((1024, 448), (200, 36), (64, 1), (-1, 256)):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, limit=limit: (limit, limit))
        assert recorder._files() == files


GROWTH = """
import sys
from pathlib import Path
from tests.unit.recorded import MIB, SECOND, Scene, tree
with tree() as cgroups:
    for number in range(20):
        cgroups.add(f"/a.slice/{number}.service", number * MIB, limit=30 * MIB)
    scene = Scene(cgroups, Path(sys.argv[1]))
    def anonymous():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
    def samples(count):
        for number in range(count):
            scene.clock.now_ns += SECOND
            if number % 50 == 0:
                scene.recorder.stirred()
            scene.turn()
    samples(2000)
    before = anonymous()
    samples(int(sys.argv[2]))
    print(anonymous() - before)
"""


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GROWTH, str(tmp_path), "20000"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(found.stdout) <= 64, found.stdout
