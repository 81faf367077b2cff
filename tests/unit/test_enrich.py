# SPDX-License-Identifier: Apache-2.0
"""The facts that user space adds to a kill, and when it adds none."""

from pathlib import Path

import pytest

from oomkilld.host.kubelet import PodDirectory
from oomkilld.host.procfs import ProcessName, ProcReader
from oomkilld.record.enrich.cause import Cause, cause_of
from oomkilld.record.enrich.enrich import Context, Enricher, LedUp, Optional
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.rows import ALL
from oomkilld.record.enrich.sample import MAX_SAMPLE_DELAY_NS, Sampler
from oomkilld.record.kill import KillRecord
from tests.unit.fakes import FakeClock
from tests.unit.records import ORIGIN, kill_of

DOMAIN = "tenants.slice"
REDUCE_FROM = 4
PROC = {
    "loadavg": "0.10 0.20 0.30 1/200 4242\n",
    "meminfo": "MemFree: 4 kB\n",
    "vmstat": "oom_kill 3\n",
    "pressure/memory": "some avg10=1.50 avg60=0.50 avg300=0.10 total=77\n",
}


class FakeHistory:
    """Knows how many kills it was asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def before(self, _kill: KillRecord, _cause: Cause) -> LedUp:
        self.asked += 1
        return LedUp("leak", self.asked, [])


class Scene:
    """An enricher on a small tree of files."""

    def __init__(self, root: Path) -> None:
        self.cgroups = root / "cgroups"
        (self.cgroups / DOMAIN / "victim.service").mkdir(parents=True)
        (self.cgroups / "cgroup.controllers").write_text("memory")
        self.fill(1000)
        self.asked: list[bytes] = []
        self.looked_up: list[tuple[int, int]] = []
        self.process: ProcessName | None = ProcessName(b"exempt", b"/system.slice/hog.service", 1)
        (root / "proc/pressure").mkdir(parents=True)
        for name, content in PROC.items():
            (root / "proc" / name).write_text(content)
        self.clock = FakeClock()
        self.clock.now_ns = kill_of().kill_boottime_ns
        self.proc = root / "proc"
        self.pods = root / "root"
        self.identifier = Identifier(PodDirectory(str(self.pods)), self.invocation, self.name_of)
        sampler = Sampler(ProcReader(str(root / "proc")), self.clock, ALL)
        reader = ContentsReader(self.clock, str(self.cgroups))
        self.history = FakeHistory()
        wanted = Optional(history=self.history)
        self.enricher = Enricher(sampler, self.identifier, reader, Detail(REDUCE_FROM, 100), wanted)

    def fill(self, anonymous: int) -> None:
        (self.cgroups / DOMAIN / "memory.stat").write_text(f"anon {anonymous}\nworkingset_refault_anon 3\n")
        (self.cgroups / DOMAIN / "victim.service/memory.current").write_text("77\n")

    def name_of(self, pid: int, before_boottime_ns: int) -> ProcessName | None:
        """The exempt candidate of each record; see KernelProcesses.name_of()."""
        self.looked_up.append((pid, before_boottime_ns))
        return self.process

    def invocation(self, unit: bytes, _kill: KillRecord) -> bytes:
        self.asked.append(unit)
        return b"ab" * 16

    def context(self, kill: KillRecord) -> Context:
        return self.enricher.context(kill, cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_domains_contents_are_read_once_per_decision(scene: Scene) -> None:
    first = scene.context(kill_of())
    assert first.contents is not None
    assert first.contents.stat == {"anon": 1000}
    assert first.contents.top == [(b"/tenants.slice/victim.service", 77)]
    scene.fill(5)
    scene.clock.now_ns += 5
    again = kill_of(victim_pid=1, kill_boottime_ns=scene.clock.now_ns)
    assert scene.context(again).contents == first.contents
    later = kill_of(decision_boottime_ns=4_999_000_001, kill_boottime_ns=scene.clock.now_ns)
    found = scene.context(later).contents
    assert found is not None
    assert found.stat == {"anon": 5}


def test_one_reading_serves_all_kills_that_waited_for_it(scene: Scene) -> None:
    scene.clock.now_ns += 1000
    first = scene.context(member(1, decision=1))
    scene.fill(5)
    (scene.proc / "loadavg").write_text("9.00 9.00 9.00 1/200 4242\n")
    scene.clock.now_ns += 1000
    waited = scene.context(member(1000, decision=1000))
    assert waited.contents is first.contents
    assert waited.sample == first.sample._replace(delay_ns=0)
    assert first.sample.delay_ns == 999
    later = scene.context(member(1001, decision=1001))
    assert later.contents is not None
    assert later.contents.stat == {"anon": 5}
    assert later.sample.load_average is not None
    assert (later.sample.load_average.averages, later.sample.delay_ns) == ((9.0, 9.0, 9.0), 999)


def test_what_led_up_to_a_kill_is_asked_unless_it_is_one_of_a_flood_or_none(scene: Scene) -> None:
    found = []
    for number in range(REDUCE_FROM + 2):
        kill = kill_of(victim_pid=1 + number, kill_boottime_ns=scene.clock.now_ns + number)
        found.append(scene.context(kill).led_up)
    asked = [LedUp("leak", number, []) for number in range(1, REDUCE_FROM)]
    assert found == [*asked, None, None, None]
    scene.clock.now_ns += 20 * 10**9
    assert scene.context(kill_of(spared=1, kill_boottime_ns=scene.clock.now_ns)).led_up is None
    assert scene.history.asked == REDUCE_FROM - 1


@pytest.mark.parametrize("level", ["kprobe", "kmsg"])
def test_if_the_path_is_unknown_the_domain_identifies_the_owner(scene: Scene, level: str) -> None:
    kill = kill_of(unknown=("victim_cgroup", "trigger_cgroup"), domain_cgroup=b"/system.slice/db.service/x")
    if level == "kmsg":
        # As in a record from the kernel log.
        kill = KillRecord._make(None if name.endswith("_cut") else value for name, value in kill._asdict().items())
    context = scene.context(kill)
    assert context.victim is not None
    assert context.domain is not None
    assert (context.victim.cgroup, context.victim.cut, context.domain.cut) == (
        b"/system.slice/db.service/x",
        True,
        False,
    )
    assert context.victim.names.unit == b"db.service"
    assert context.invocation_id == b"ab" * 16
    assert context.trigger is None


def test_the_units_of_the_candidates_are_looked_up_once_per_decision(scene: Scene) -> None:
    kill = kill_of()
    assert scene.context(kill).candidate_units == (b"victim.service", b"hog.service")
    assert scene.looked_up == [(17, kill.kill_boottime_ns)]  # the victim's is known
    scene.process = None
    assert scene.context(member(1)).candidate_units == (b"victim.service", b"hog.service")
    assert scene.context(member(2, decision=2)).candidate_units == (b"victim.service", None)


@pytest.mark.parametrize("other", [{"comm": b"other"}, {"cgroup": None}], ids=str)
def test_a_candidate_that_is_another_process_by_now_has_no_unit(scene: Scene, other: dict[str, int | bytes]) -> None:
    assert scene.process is not None
    scene.process = scene.process._replace(**other)  # type: ignore[arg-type]
    assert scene.context(kill_of()).candidate_units == (b"victim.service", None)


def test_in_a_flood_no_candidate_is_looked_up(scene: Scene) -> None:
    contexts = [scene.context(member(number, decision=number)) for number in range(REDUCE_FROM)]
    assert (contexts[-1].reduced, contexts[-1].candidate_units) == (True, ())
    assert len(scene.looked_up) == REDUCE_FROM - 1


def test_the_candidates_of_an_old_kill_are_not_looked_up(scene: Scene) -> None:
    scene.clock.now_ns += MAX_SAMPLE_DELAY_NS + 1
    assert (scene.context(kill_of()).candidate_units, scene.looked_up) == ((), [])


def test_for_a_cut_path_no_cgroup_is_read(scene: Scene) -> None:
    kill = kill_of()._replace(domain_cgroup_cut=True, victim_cgroup_cut=True, trigger_cgroup_cut=True)
    context = scene.context(kill)
    assert context.contents is None
    assert [each and each.cut for each in (context.victim, context.domain, context.trigger)] == [True, True, True]
    assert scene.context(kill_of(kill_boottime_ns=5_000_000_001)).contents is not None


def member(number: int, decision: int = 0) -> KillRecord:
    """A kill of a decision, later than those with lower numbers."""
    return kill_of(
        victim_tid=100 + number,
        kill_boottime_ns=5_000_000_000 + number,
        decision_boottime_ns=4_999_000_000 + decision,
    )


def test_in_a_flood_only_the_load_averages_are_read(scene: Scene) -> None:
    contexts = [scene.context(member(number)) for number in range(REDUCE_FROM)]
    *full, last = contexts
    assert [context.reduced for context in contexts] == [False] * (REDUCE_FROM - 1) + [True]
    for context in full:
        assert context.contents is not None
        assert context.contents.stat
        sample = context.sample
        assert (len(sample.meminfo), len(sample.vmstat), len(sample.pressure)) == (1, 1, 1)
    assert last.contents is None
    assert (last.sample.meminfo, last.sample.vmstat, last.sample.pressure) == ({}, {}, {})
    assert last.sample.load_average == full[0].sample.load_average is not None
    assert (last.victim, last.domain, last.trigger) == (full[0].victim, full[0].domain, full[0].trigger)
    assert last.invocation_id == b"ab" * 16


def test_a_reduced_kill_keeps_the_reading_of_another_decision(scene: Scene) -> None:
    for number in range(REDUCE_FROM):
        scene.context(member(number))
    (scene.cgroups / DOMAIN / "other.service").mkdir()
    elsewhere = kill_of(domain_cgroup=b"/tenants.slice/other.service", decision_boottime_ns=4_999_500_000)
    (scene.cgroups / DOMAIN / "other.service/memory.stat").write_text("anon 9\n")
    first = scene.context(elsewhere._replace(kill_boottime_ns=5_000_001_000))
    assert first.contents is not None
    assert first.contents.stat == {"anon": 9}
    assert scene.context(member(2_000, decision=600_000)).reduced
    (scene.cgroups / DOMAIN / "other.service/memory.stat").write_text("anon 1\n")
    assert scene.context(elsewhere._replace(kill_boottime_ns=5_000_003_000)).contents is first.contents


@pytest.mark.parametrize("constraint", [1, 2])
def test_no_cgroup_is_read_if_only_some_nodes_ran_out(scene: Scene, constraint: int) -> None:
    assert scene.context(kill_of(("domain_cgroup",), constraint=constraint)).contents is None


def test_an_old_kill_gets_no_current_values(scene: Scene) -> None:
    scene.clock.now_ns += MAX_SAMPLE_DELAY_NS + 1
    context = scene.context(kill_of())
    assert (context.contents, context.invocation_id) == (None, None)
    assert context.victim is not None


def test_the_invocation_of_a_users_unit_is_not_that_of_the_users_manager(scene: Scene) -> None:
    assert scene.context(kill_of()).invocation_id == b"ab" * 16
    user = b"/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service"
    assert scene.context(kill_of(victim_cgroup=user)).invocation_id is None
    assert scene.asked == [b"victim.service"]


POD = b"/kubepods.slice/kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice"
CONTAINER = POD + b"/cri-containerd-" + b"ab" * 32 + b".scope"


def test_a_container_that_kubelet_names_later_is_looked_up_again(scene: Scene) -> None:
    (scene.pods / "var/log/pods/shop_web_5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11").mkdir(parents=True)
    logs = scene.pods / "var/log/containers"
    logs.mkdir()
    first = scene.identifier.identify(CONTAINER)
    assert first is not None
    assert first.pod.container is None
    (logs / f"web_shop_main-{'ab' * 32}.log").touch()
    second = scene.identifier.identify(CONTAINER)
    assert second is not None
    assert second.pod.container == b"main"
    assert scene.identifier.identify(CONTAINER) is second


def test_a_pod_that_a_user_faked_gets_no_name(scene: Scene) -> None:
    (scene.pods / "var/log/pods/shop_web_5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11").mkdir(parents=True)
    feigned = scene.identifier.identify(b"/user.slice/user-1000.slice/user@1000.service" + CONTAINER)
    assert feigned is not None
    assert feigned.pod.pod is None


def test_the_number_of_paths_it_remembers_is_bounded(scene: Scene) -> None:
    for number in range(100):
        scene.identifier.identify(b"/a/%d" % number)
    assert len(scene.identifier._known) <= 32
