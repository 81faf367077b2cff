# SPDX-License-Identifier: Apache-2.0
"""The end of each victim is reported at most once, whatever comes late, twice or not at all."""

import os
import select
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from oomkilld.host.kubelet import PodDirectory
from oomkilld.host.procfs import ProcReader, ThreadStatus
from oomkilld.record.capture.impossible import Judge
from oomkilld.record.complete import Completer
from oomkilld.record.deliver.checkpoint import Counts
from oomkilld.record.deliver.delivery import Delivered
from oomkilld.record.deliver.sink import JournalRefused
from oomkilld.record.enrich.enrich import Enricher
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.rows import ALL
from oomkilld.record.enrich.sample import Sampler
from oomkilld.record.entry.killentry import MAX_VICTIM_BYTES
from oomkilld.record.kill import Gone, Release, Stuck
from oomkilld.record.outcome import MAX_HELD, MAX_WAITING, RETRY_AFTER_NS, STUCK_AFTER_NS, Outcome
from oomkilld.record.pipeline import Beside, Pipeline
from oomkilld.record.processes import KernelProcesses
from oomkilld.record.unkillable import Unkillables
from oomkilld.recordlayout import SPARED_THREAD
from tests.unit.fakes import FakeClock, FakeDelivery, FakeJournal, FakeProcesses
from tests.unit.records import ORIGIN, kill_of, raw_release

SECOND = 10**9
STARTED_NS = 7
KILL = kill_of()
PID = KILL.victim_pid or 0


class Scene:
    """An outcome with fake clock and processes. ``told``: the entries sent."""

    def __init__(self, *, every_exit: bool = False) -> None:
        self.told: list[str] = []
        self.warnings: list[str] = []
        self.refuses = False
        self.asked = 0
        self.clock = FakeClock()
        self.clock.now_ns = 100 * SECOND
        self.processes = FakeProcesses()
        self.outcome = Outcome(self.tell, self.processes, self.clock, self.warnings.append, every_exit=every_exit)

    def tell(self, found: Stuck | Gone) -> None:
        self.asked += 1
        if self.refuses:
            raise JournalRefused("its queue is full")
        after = "" if found.after_ns is None else f" after {found.after_ns / SECOND:g} s"
        self.told.append(f"{found.victim.fields.decode()} {type(found).__name__.lower()}{after}")

    def kill(self, pid: int, *, ago_ns: int = 0, there: bool = False, start: int = STARTED_NS) -> None:
        """Process ``pid`` was killed ``ago_ns`` ago, and its entry is sent. ``there``: it does not leave."""
        if there:
            self.processes.there.add((pid, start))
        killed_ns = self.clock.boottime_ns() - ago_ns
        kill = KILL._replace(victim_pid=pid, victim_start_boottime_ns=start, kill_boottime_ns=killed_ns)
        self.outcome.watch(kill, b"%d" % pid)
        self.clock.now_ns += 1

    def release(self, pid: int, *, start: int = STARTED_NS, ago_ns: int = 0) -> None:
        self.outcome.released(Release(self.clock.boottime_ns() - ago_ns, pid, pid, start))

    def after(self, ns: int) -> None:
        """Let ``ns`` pass as the loop does: check whenever due."""
        end_ns = self.clock.now_ns + ns
        for _ in range(4 * MAX_WAITING):
            if (due_ns := self.outcome.due_ns) is None or due_ns > end_ns:
                self.clock.now_ns = end_ns
                return
            self.clock.now_ns = max(self.clock.now_ns, due_ns)
            self.outcome.check()
        pytest.fail("the loop would spin")

    def leave(self, pid: int) -> None:
        """The victim leaves, and the loop is woken."""
        self.processes.leave(pid, STARTED_NS)
        if select.select([self.outcome], [], [], 0)[0]:
            self.outcome.check()

    def woken(self) -> bool:
        return bool(select.select([self.outcome], [], [], 0)[0])


@pytest.fixture
def stage() -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(*, every_exit: bool = False) -> Scene:
        scenes.append(Scene(every_exit=every_exit))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.outcome.end()
        scene.processes.close()


def held_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_victim_that_frees_its_memory_gets_no_further_entry(stage: Callable[..., Scene]) -> None:
    scene = stage()
    assert scene.outcome.due_ns is None
    scene.kill(1)
    scene.release(1)
    assert scene.outcome.due_ns is None
    scene.after(100 * SECOND)
    assert (scene.told, scene.warnings, scene.processes.looked_at) == ([], [], [])


def test_a_victim_without_a_release_is_looked_at_after_10_s_and_not_before(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1)
    scene.after(STUCK_AFTER_NS - 2)
    scene.outcome.check()
    assert scene.processes.looked_at == []
    scene.after(1)
    assert scene.processes.looked_at == [1]
    assert scene.told == []
    assert scene.outcome.due_ns is None


def test_a_victim_that_proc_hides_is_reported_only_while_its_pid_cannot_be_reused(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.processes.state = None
    scene.kill(1, ago_ns=90 * SECOND, there=True)
    scene.kill(2, there=True)
    scene.kill(3, there=True)
    before = held_fds()
    scene.after(15 * SECOND)
    assert scene.told == ["2 stuck after 10 s", "3 stuck after 10 s"]
    assert held_fds() - before == 2 * 2 + 1  # two held ones, and the fake's own descriptors of all three
    scene.leave(2)
    assert scene.told[2].startswith("2 gone after")
    for _ in range(3):
        scene.outcome.report()
    assert scene.warnings == ["Failed to watch 1 victim to the end: /proc hides which process has its pid, ignoring"]


def test_a_stuck_victim_and_its_exit_are_reported_once_each(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.after(15 * SECOND)
    assert scene.told == ["1 stuck after 10 s"]
    assert scene.outcome.due_ns is None
    assert not scene.woken()
    scene.leave(1)
    assert [told.split(" after")[0] for told in scene.told] == ["1 stuck", "1 gone"]
    assert not scene.woken()
    scene.release(1)
    scene.after(100 * SECOND)
    assert len(scene.told) == 2


def test_a_release_of_a_stuck_victim_counts_as_its_end(stage: Callable[..., Scene]) -> None:
    scene = stage()
    before = held_fds()
    scene.kill(1, there=True, ago_ns=3 * SECOND)
    scene.after(10 * SECOND - 1)
    scene.release(1)
    assert scene.told == ["1 stuck after 10 s", "1 gone after 13 s"]
    scene.leave(1)
    assert not scene.woken()
    scene.processes.close()
    scene.processes = FakeProcesses()
    assert held_fds() == before
    assert len(scene.told) == 2


def test_with_every_exit_each_end_is_reported_with_its_time_if_known(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    scene.kill(1)
    scene.clock.now_ns += SECOND // 4 - 1
    scene.release(1)
    scene.kill(2)
    scene.kill(3, there=True)
    scene.after(12 * SECOND)
    assert scene.told == ["1 gone after 0.25 s", "2 gone", "3 stuck after 10 s"]
    scene.clock.now_ns += 3 * SECOND - 1
    scene.leave(3)
    assert scene.told[3:] == ["3 gone after 15 s"]


def test_a_spared_process_is_not_watched(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    scene.outcome.watch(KILL._replace(spared=1), b"")
    scene.after(20 * SECOND)
    assert scene.told == []


def test_a_release_of_another_process_with_the_same_pid_is_ignored(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.release(1, start=STARTED_NS + 1)
    scene.release(2)
    scene.after(10 * SECOND)
    assert scene.told == ["1 stuck after 10 s"]


def test_without_a_start_time_the_pid_alone_identifies_a_victim(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.outcome.watch(KILL._replace(victim_start_boottime_ns=None), b"")
    scene.outcome.released(Release(scene.clock.boottime_ns(), PID, 1, 0))
    assert scene.outcome.due_ns is None


def pipeline_of(scene: Scene) -> Pipeline:
    sampler, contents = Sampler(ProcReader(), scene.clock, ALL), ContentsReader(scene.clock)
    enricher = Enricher(
        sampler, Identifier(PodDirectory(), lambda _unit, _kill: None, lambda _tid, _ns: None), contents, Detail(0, 1)
    )
    judge = Judge(ProcReader(), scene.clock, 4096, 4)
    return Pipeline(
        judge,
        Completer(scene.processes),
        enricher,
        ORIGIN,
        Beside(scene.outcome, Unkillables(enricher, ORIGIN, FakeJournal([])), lambda _text: None),
    )


def test_the_pipeline_hands_over_victims_and_releases(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    pipeline, delivery = pipeline_of(scene), FakeDelivery()
    assert delivery.of(pipeline, KILL) == Delivered(Counts(entries=1), was_sent=True)
    release = raw_release(boottime_ns=KILL.kill_boottime_ns + SECOND)
    assert delivery.of(pipeline, release) == Delivered(Counts())
    (told,) = scene.told
    assert "OOM_KILL_ID=" in told
    assert "OOM_LOADAVG" not in told
    assert told.endswith(" gone after 1 s")


def test_the_process_of_a_spared_thread_is_looked_up(stage: Callable[..., Scene]) -> None:
    scene = stage()
    unknown = [name for name in kill_of()._fields if name.startswith("victim_")]
    kill = kill_of(unknown=tuple(unknown), spared=SPARED_THREAD, victim_pid=0, victim_tid=9)
    assert kill.victim_pid is None
    pipeline, delivery = pipeline_of(scene), FakeDelivery()
    delivery.of(pipeline, kill)
    (fields,) = delivery.entries
    assert not [field for field in fields if field.startswith(b"OOM_VICTIM_PID=")]
    assert b"OOM_VICTIM_TID=9" in fields
    assert b"spared process of thread 9, which was exiting already" in fields[0]
    scene.processes.threads[9] = ThreadStatus(7, 5, b"leaving", 1000, b"/system.slice/a.service", 0)
    delivery.of(pipeline, kill)
    told = dict(field.split(b"=", 1) for field in delivery.entries[1])
    assert (told[b"OOM_VICTIM_PID"], told[b"OOM_VICTIM_TID"], told[b"OOM_VICTIM_PARENT_PID"]) == (b"7", b"9", b"5")
    assert (told[b"OOM_VICTIM_COMM"], told[b"OOM_VICTIM_UID"]) == (b"leaving", b"1000")
    assert told[b"OOM_VICTIM_UNIT"] == b"a.service"
    assert scene.outcome.due_ns is None


def test_repeated_releases_change_nothing(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    start_ns = scene.clock.now_ns

    def drain() -> None:
        scene.outcome.released(Release(start_ns + 4 * SECOND, 1, 1, STARTED_NS))

    scene.processes.there = {(2, STARTED_NS)}
    scene.clock.now_ns += 5 * SECOND
    for pid in (1, 2, 3):
        killed_ns = start_ns + pid * SECOND
        kill = KILL._replace(victim_pid=pid, victim_start_boottime_ns=STARTED_NS, kill_boottime_ns=killed_ns)
        scene.outcome.watch(kill, b"%d" % pid)
    drain()
    drain()
    scene.after(10 * SECOND)
    drain()
    scene.leave(2)
    drain()
    scene.after(20 * SECOND)
    assert scene.told == ["1 gone after 3 s", "2 stuck after 10 s", "3 gone", "2 gone after 13 s"]


def test_a_process_that_is_hit_twice_is_watched_from_its_first_kill_on(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.after(5 * SECOND)
    scene.kill(1)
    scene.after(20 * SECOND)
    assert scene.told == ["1 stuck after 10 s"]
    scene.kill(1)
    scene.after(20 * SECOND)
    assert len(scene.told) == 1


def test_a_repeated_release_does_not_end_the_watch_of_a_later_kill(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.release(1)
    scene.clock.now_ns += SECOND
    scene.kill(1)
    scene.release(1, ago_ns=SECOND)
    scene.after(10 * SECOND)
    assert scene.told == ["1 stuck after 10 s"]


def test_refused_entries_are_sent_later_in_order(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.kill(2, there=True)
    scene.refuses = True
    scene.after(11 * SECOND)
    scene.leave(1)
    assert not scene.woken(), "the loop would spin"
    assert scene.processes.looked_at == [1]
    scene.refuses = False
    scene.after(RETRY_AFTER_NS)
    assert [told.split(" after")[0] for told in scene.told] == ["1 stuck", "1 gone", "2 stuck"]


def test_while_journald_refuses_entries_it_is_tried_once_a_second(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.refuses = True
    scene.after(STUCK_AFTER_NS)
    assert scene.outcome.due_ns == scene.clock.now_ns - 1 + RETRY_AFTER_NS
    for _ in range(20):  # other events wake the loop
        scene.clock.now_ns += SECOND // 10
        scene.outcome.check()
    assert scene.asked == 3


def test_after_refusals_the_end_is_reported_after_the_stuck_entry(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True)
    scene.refuses = True
    scene.after(STUCK_AFTER_NS)
    with pytest.raises(JournalRefused):
        scene.release(1)
    scene.refuses = False
    scene.release(1)
    assert [told.split(" after")[0] for told in scene.told] == ["1 stuck", "1 gone"]


def test_a_release_whose_entry_was_refused_is_reported_at_the_next_attempt(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    scene.kill(1)
    scene.refuses = True
    with pytest.raises(JournalRefused):
        scene.release(1)
    scene.refuses = False
    scene.release(1)
    scene.release(1)
    assert [told.split(" after")[0] for told in scene.told] == ["1 gone"]


def test_the_victim_of_a_kill_that_is_sent_late_is_looked_at_at_once(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.kill(1, there=True, ago_ns=60 * SECOND)
    scene.after(0)
    assert [told[:17] for told in scene.told] == ["1 stuck after 60 "]


def test_nobody_is_stuck_because_the_machine_was_asleep(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.clock.asleep_ns = 1800 * SECOND
    scene.kill(1, there=True)
    scene.clock.asleep_ns += 3600 * SECOND
    scene.after(9 * SECOND)
    assert scene.processes.looked_at == []
    scene.after(SECOND)
    assert scene.processes.looked_at == [1]


def test_in_a_storm_without_releases_the_oldest_are_looked_at_early_and_no_stuck_one_is_missed(
    stage: Callable[..., Scene],
) -> None:
    scene = stage()
    for pid in range(1, 3 * MAX_WAITING + 1):
        scene.kill(pid, there=pid == 5)
    assert scene.processes.looked_at == list(range(1, 2 * MAX_WAITING + 1))
    assert scene.told == []
    scene.after(11 * SECOND)
    assert scene.told == ["5 stuck after 10 s"]
    scene.outcome.report()
    scene.outcome.report()
    assert scene.warnings == []


def test_a_victim_found_early_that_leaves_before_10_s_is_not_reported(stage: Callable[..., Scene]) -> None:
    scene = stage()
    for pid in range(1, MAX_WAITING + 2):
        scene.kill(pid, there=pid == 1)
    assert scene.processes.looked_at == [1]
    scene.leave(1)
    scene.after(11 * SECOND)
    assert scene.told == []


def test_unwatched_victims_are_counted_and_logged_once_the_storm_is_over(stage: Callable[..., Scene]) -> None:
    scene = stage()
    before = held_fds()
    for pid in range(1, 2 * MAX_WAITING + 1):
        scene.kill(pid, there=True)
        if pid % 100 == 0:
            scene.outcome.report()
    scene.processes.close()
    scene.processes._ends.clear()
    assert held_fds() - before == MAX_HELD
    assert scene.warnings == []
    for _ in range(3):
        scene.outcome.report()
    early = MAX_WAITING - MAX_HELD
    assert scene.warnings == [f"Failed to watch {early} victims to the end: too many at once, ignoring"]
    scene.after(11 * SECOND)
    assert len(scene.told) == MAX_WAITING + MAX_HELD
    for _ in range(3):
        scene.outcome.report()
    assert scene.warnings[1:] == [f"Failed to watch {MAX_WAITING} victims to the end: too many at once, ignoring"]


def test_if_it_cannot_look_it_logs_the_reason_and_reports_no_end(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    scene.processes.obstacle = "not in the host's PID namespace"
    scene.kill(1)
    scene.after(10 * SECOND)
    scene.outcome.report()
    scene.outcome.report()
    assert scene.told == []
    assert scene.warnings == ["Failed to watch 1 victim to the end: not in the host's PID namespace, ignoring"]


def test_the_number_of_victims_looked_at_in_one_check_is_bounded(stage: Callable[..., Scene]) -> None:
    scene = stage()
    for pid in range(1, 201):
        scene.kill(pid)
    scene.clock.now_ns += 20 * SECOND
    scene.outcome.check()
    assert len(scene.processes.looked_at) == 64
    due_ns = scene.outcome.due_ns
    assert due_ns is not None
    assert due_ns < scene.clock.now_ns


def test_refusals_in_a_storm_do_not_let_entries_pile_up(stage: Callable[..., Scene]) -> None:
    scene = stage(every_exit=True)
    scene.refuses = True
    for pid in range(1, 3 * MAX_WAITING):
        scene.kill(pid)
    assert len(scene.outcome._untold) <= 128


def test_a_storm_takes_less_than_a_mebibyte(stage: Callable[..., Scene]) -> None:
    scene = stage()
    tracemalloc.start()
    try:
        for number in range(3 * MAX_WAITING):
            # As from the decoder: records share no objects.
            killed_ns = scene.clock.boottime_ns() + number
            kill = kill_of(victim_pid=100_000 + number, kill_boottime_ns=killed_ns)
            scene.outcome.watch(kill, os.urandom(MAX_VICTIM_BYTES))
        scene.processes.looked_at.clear()
        taken, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1 << 20


def test_a_real_process_is_reported_as_stuck_and_as_gone() -> None:
    victim = subprocess.Popen(["sleep", "60"])
    clock = FakeClock()
    started_ns = ProcReader().process_stat(victim.pid).start_ticks * SECOND // os.sysconf("SC_CLK_TCK")
    told: list[Stuck | Gone] = []
    outcome = Outcome(told.append, KernelProcesses(ProcReader(), 0), clock, pytest.fail, every_exit=False)
    kill = KILL._replace(victim_pid=victim.pid, victim_start_boottime_ns=started_ns, kill_boottime_ns=0)
    outcome.watch(kill, b"")
    clock.now_ns = STUCK_AFTER_NS
    outcome.check()
    assert [(type(found), found.after_ns) for found in told] == [(Stuck, STUCK_AFTER_NS)]
    assert not select.select([outcome], [], [], 0)[0]
    victim.kill()
    assert select.select([outcome], [], [], 30)[0]
    clock.now_ns += SECOND
    outcome.check()
    assert (type(told[-1]), told[-1].after_ns) == (Gone, STUCK_AFTER_NS + SECOND)
    victim.wait()
    outcome.end()
    assert len(told) == 2
