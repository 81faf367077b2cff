# SPDX-License-Identifier: Apache-2.0
"""A limit is hit and nothing can be killed: one entry reports it, however often it happens."""

import re
from pathlib import Path

import pytest

from oomkilld import schema
from oomkilld.host.kubelet import PodDirectory
from oomkilld.host.procfs import ProcReader
from oomkilld.record.capture.decode import is_kill
from oomkilld.record.deliver.sink import JournalRefused
from oomkilld.record.enrich.enrich import Enricher
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.rows import ALL
from oomkilld.record.enrich.sample import Sampler
from oomkilld.record.kill import KillRecord, Unkillable
from oomkilld.record.unkillable import AGAIN_NS, MAX_DOMAINS, MAX_OF_OWNER, Unkillables
from tests.unit.fakes import FakeClock, FakeJournal
from tests.unit.records import ORIGIN, kill_of
from tests.unit.test_delivery import Scene

WHOLE = kill_of(domain_cgroup=b"/system.slice/web.service", reason=b"Out of memory and no killable processes")
DECISION = KillRecord._make(
    None if name.startswith("victim_") else value for name, value in zip(WHOLE._fields, WHOLE, strict=True)
)


class Machine:
    """Collects the entries."""

    def __init__(self, root: Path) -> None:
        self.entries: list[str] = []
        self.journal = FakeJournal(self.entries)
        clock = FakeClock()
        enricher = Enricher(
            Sampler(ProcReader(str(root)), clock, ALL),
            Identifier(PodDirectory(str(root)), lambda unit, _kill: b"run of " + unit, lambda _tid, _ns: None),
            ContentsReader(clock),
            Detail(0, 1),
        )
        self.unkillables = Unkillables(enricher, ORIGIN, self.journal)

    def find(self, at_ns: int, domain: bytes | None = DECISION.domain_cgroup, times: int = 1) -> None:
        self.unkillables.tell(Unkillable(DECISION._replace(kill_boottime_ns=at_ns, domain_cgroup=domain), times))

    def messages(self) -> list[str]:
        return [found[1] for entry in self.entries if (found := re.match("MESSAGE=(.*) MESSAGE_ID=", entry))]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_entry_names_the_domain_and_the_trigger_and_no_victim(machine: Machine) -> None:
    machine.find(10)
    (entry,) = machine.entries
    fields = dict(re.findall(r"(?:^| )([A-Z_0-9]+)=(.*?)(?= [A-Z_0-9]+=|$)", entry))
    assert fields["MESSAGE"] == (
        "Out of memory in web.service (limit 30.0M): no process can be killed; asked by 4240 (trigger, asker.service, "
        "pid 6 in its PID namespace)"
    )
    expected = {
        "MESSAGE_ID": schema.MESSAGE_ID_UNKILLABLE,
        "PRIORITY": "3",
        "OOM_EVENT": "unkillable",
        "OOM_DOMAIN": "cgroup",
        "OOM_DOMAIN_UNIT": "web.service",
        "OOM_DOMAIN_LIMIT_BYTES": str(7680 * 4096),
        "OOM_REASON": "Out of memory and no killable processes",
        "OOM_TRIGGER_TID": "4241",
        "OOM_CANDIDATES_EXEMPT": "1",
        "OOM_CANDIDATE_2_COMM": "exempt",
        # So that `journalctl -u` and `systemctl status` show it for the domain's unit.
        "OBJECT_SYSTEMD_UNIT": "web.service",
        "OBJECT_SYSTEMD_INVOCATION_ID": "run of web.service",
    }
    assert {name: fields.get(name) for name in expected} == expected
    assert [name for name in fields if name.startswith("OOM_VICTIM_")] == []
    assert not {"OOM_KILL_ID", "OOM_DECISION_ID"} & fields.keys()


def test_a_storm_is_one_entry_per_domain_and_later_one_that_counts_it(machine: Machine) -> None:
    for at_ns in range(1000):
        machine.find(at_ns)
        machine.find(at_ns, b"/other.slice")
    assert len(machine.entries) == 2
    machine.find(AGAIN_NS)
    machine.find(AGAIN_NS + 1)
    assert [message.partition("; ")[2].rpartition("; ")[2] for message in machine.messages()[2:]] == [
        "999 more times since the last such entry"
    ]


def test_a_record_counts_those_that_the_probe_left_out(machine: Machine) -> None:
    machine.find(1)
    machine.find(2, times=70)
    machine.find(AGAIN_NS + 1, times=30)
    # The last of them is this entry itself.
    assert machine.messages()[1].endswith("; 99 more times since the last such entry")


def test_many_domains_share_one_entry(machine: Machine) -> None:
    for number in range(10 * MAX_DOMAINS):
        machine.find(number, b"/%d.slice" % number)
    assert len(machine.entries) == MAX_DOMAINS + 1
    for number in range(MAX_DOMAINS):
        machine.find(2 * AGAIN_NS + number, b"/later-%d.slice" % number)
    assert len(machine.entries) == 2 * MAX_DOMAINS + 1


def test_a_user_with_many_cgroups_takes_no_entry_from_another(machine: Machine) -> None:
    for number in range(10 * MAX_DOMAINS):
        machine.find(number, b"/user.slice/user-1000.slice/user@1000.service/app.slice/%d.scope" % number)
    assert len(machine.entries) == MAX_OF_OWNER + 1
    for at_ns in range(150):
        machine.find(at_ns, b"/system.slice/db.service")
    assert len(machine.entries) == MAX_OF_OWNER + 2
    assert " in db.service" in machine.messages()[-1]


def test_a_refused_entry_is_sent_later_and_a_sent_one_is_not_repeated(machine: Machine) -> None:
    machine.journal.refuses = True
    with pytest.raises(JournalRefused):
        machine.find(5)
    machine.journal.refuses = False
    for _ in range(2):
        machine.find(5)
    machine.find(AGAIN_NS + 5)
    assert len(machine.entries) == 2
    assert "more time" not in machine.messages()[1]


def test_an_unkillable_decision_counts_as_no_kill() -> None:
    unkillable = Unkillable(DECISION)
    assert not is_kill(unkillable)
    scene = Scene(unkillable)
    assert scene.delivery.drain(10) is False
    assert scene.pipeline.told == [unkillable]
    assert scene.delivery.position == 10
    assert sum(scene.delivery.counts) == 0


def test_nodes_and_cpuset_are_named_if_known(machine: Machine) -> None:
    for constraint, nodes, cpuset in ((1, b"4", b"docker, x.scope"), (1, b"0-1", None), (2, b"3", None)):
        decision = DECISION._replace(
            constraint=constraint, domain_nodes=nodes, domain_cpuset=cpuset, domain_cgroup=None, total_pages=None
        )
        machine.unkillables = Unkillables(machine.unkillables._enricher, ORIGIN, machine.journal)
        machine.unkillables.tell(Unkillable(decision))
    assert [message.partition(":")[0] for message in machine.messages()] == [
        "Out of memory in cpuset 'docker, x.scope' (node 4)",
        "Out of memory in a cpuset (nodes 0-1)",
        "Out of memory under a memory policy (node 3)",
    ]
    assert "OOM_DOMAIN_NODES=4 OOM_DOMAIN_CPUSET=docker, x.scope" in machine.entries[0]
