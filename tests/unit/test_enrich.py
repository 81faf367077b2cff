# SPDX-License-Identifier: Apache-2.0
"""What user space adds to a kill, and when it adds nothing."""

from pathlib import Path

import pytest

from oomkilld.record.cause import cause_of
from oomkilld.record.contents import ContentsReader
from oomkilld.record.decode import KillRecord
from oomkilld.record.enrich import MAX_SAMPLE_DELAY_NS, Context, Enricher, Sampler
from oomkilld.record.identify import Identifier
from oomkilld.record.pods import PodDirectory
from oomkilld.record.procfs import ProcReader
from tests.unit.fakes import FakeClock
from tests.unit.records import ORIGIN, kill_of

DOMAIN = "tenants.slice"


class Scene:
    """An enricher on a small tree."""

    def __init__(self, root: Path) -> None:
        self.cgroups = root / "cgroups"
        (self.cgroups / DOMAIN / "victim.service").mkdir(parents=True)
        (self.cgroups / "cgroup.controllers").write_text("memory")
        self.fill(1000)
        self.asked: list[bytes] = []
        self.clock = FakeClock()
        self.clock.now_ns = kill_of().kill_boottime_ns
        self.pods = root / "root"
        self.identifier = Identifier(PodDirectory(str(self.pods)))
        sampler = Sampler(ProcReader(str(root / "proc")), self.clock, None)
        reader = ContentsReader(self.clock, str(self.cgroups))
        self.enricher = Enricher(sampler, self.identifier, reader, self.invocation)

    def fill(self, anonymous: int) -> None:
        (self.cgroups / DOMAIN / "memory.stat").write_text(f"anon {anonymous}\nworkingset_refault_anon 3\n")
        (self.cgroups / DOMAIN / "victim.service/memory.current").write_text("77\n")

    def invocation(self, unit: bytes) -> bytes:
        self.asked.append(unit)
        return b"ab" * 16

    def context(self, kill: KillRecord) -> Context:
        return self.enricher.context(kill, cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_what_filled_the_domain_is_read_once_for_a_decision(scene: Scene) -> None:
    first = scene.context(kill_of())
    assert first.contents is not None
    assert first.contents.stat == {"anon": 1000}
    assert first.contents.top == [(b"/tenants.slice/victim.service", 77)]
    scene.fill(5)
    assert scene.context(kill_of(victim_pid=1)).contents == first.contents
    later = scene.context(kill_of(decision_boottime_ns=4_999_000_001)).contents
    assert later is not None
    assert later.stat == {"anon": 5}


@pytest.mark.parametrize("constraint", [1, 2])
def test_of_the_memory_of_some_nodes_no_cgroup_tells(scene: Scene, constraint: int) -> None:
    assert scene.context(kill_of(("domain_cgroup",), constraint=constraint)).contents is None


def test_of_a_kill_long_past_nothing_of_now_is_told(scene: Scene) -> None:
    scene.clock.now_ns += MAX_SAMPLE_DELAY_NS + 1
    context = scene.context(kill_of())
    assert (context.contents, context.invocation_id) == (None, None)
    assert context.victim is not None


def test_the_run_of_a_users_unit_is_not_that_of_its_manager(scene: Scene) -> None:
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


def test_a_pod_that_a_user_feigns_is_given_no_name(scene: Scene) -> None:
    (scene.pods / "var/log/pods/shop_web_5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11").mkdir(parents=True)
    feigned = scene.identifier.identify(b"/user.slice/user-1000.slice/user@1000.service" + CONTAINER)
    assert feigned is not None
    assert feigned.pod.pod is None


def test_of_many_paths_only_some_are_remembered(scene: Scene) -> None:
    for number in range(100):
        scene.identifier.identify(b"/a/%d" % number)
    assert len(scene.identifier._known) <= 32
