# SPDX-License-Identifier: Apache-2.0
"""Kernel logs as other people's machines printed them give the right entries, whoever kept the lines.

The files of kernellog/ contain records of /dev/kmsg, or only their texts, which the tests place a millisecond apart.
Names and numbers are changed. ``#`` marks where journald reported that it missed lines.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from oomkilld import schema
from oomkilld.host.kubelet import PodDirectory
from oomkilld.host.procfs import ProcReader, ThreadStatus
from oomkilld.record.capture.impossible import Judge
from oomkilld.record.capture.logsource import MAX_STUBBORN, LogSource
from oomkilld.record.complete import Completer
from oomkilld.record.enrich.enrich import Enricher
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.rows import ALL
from oomkilld.record.enrich.sample import Sampler
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.clock import LogClock
from oomkilld.record.kernlog.kmsg import DevKmsg, Line, parse
from oomkilld.record.kill import Gone, KillRecord, Stuck, Unkillable
from oomkilld.record.lookup.joined import joined
from oomkilld.record.lookup.loggedkills import kills_in
from oomkilld.record.outcome import STUCK_AFTER_NS, Outcome
from oomkilld.record.pipeline import Beside, Pipeline
from oomkilld.record.unkillable import Unkillables
from tests.unit.fakes import FakeClock, FakeDelivery, FakeJournal, FakeProcesses
from tests.unit.records import ORIGIN
from tests.unit.test_log import Lines, source_of

CASES = Path(__file__).parent / "kernellog"
KMSG = ORIGIN._replace(level="kmsg")
ID = "ab" * 32
POD_UID = "11111111-2222-4333-8444-555555555555"
POD_SLICE = "kubepods-pod11111111_2222_4333_8444_555555555555.slice"
POD = {"POD_UID": POD_UID, "CONTAINER_ID": ID, "CONTAINER_RUNTIME": "containerd", "UNIT": f"cri-containerd-{ID}.scope"}
# The fields of each entry; None: that field is absent.
Expected = list[dict[str, str | None]]
RIGHT: dict[str, Expected] = {
    "candidates": [
        {
            "OOM_VICTIM_PID": "60",
            "OOM_CANDIDATES": "7",
            "OOM_CANDIDATES_EXEMPT": "2",
            "OOM_CANDIDATES_BYTES": f"{98405 * 4096}",
            "OOM_CANDIDATE_1_PID": "51",
            "OOM_CANDIDATE_1_COMM": "protected hog",
            "OOM_CANDIDATE_1_BYTES": f"{(90000 + 100 + 150) * 4096}",
            "OOM_CANDIDATE_1_OOM_SCORE_ADJ": "-1000",
            "OOM_CANDIDATE_1_UNIT": None,
            "OOM_CANDIDATE_2_PID": "62",
            "OOM_CANDIDATE_2_COMM": "] 7 [     62]",
            "OOM_CANDIDATE_2_OOM_SCORE_ADJ": "-900",
            "OOM_CANDIDATE_3_PID": "60",
            "OOM_CANDIDATE_3_UNIT": "web.service",
            "OOM_CANDIDATE_4_COMM": "sh",
            "OOM_CANDIDATE_5_COMM": "second",
            "OOM_CANDIDATE_6_PID": None,
        }
    ],
    "another_cpu_reports": [
        {
            "OOM_TRIGGER_TID": "77",
            "OOM_TRIGGER_COMM": "asker",
            "OOM_TRIGGER_UID": "5",
            "OOM_DOMAIN": "host",
            "OOM_VICTIM_UNIT": "web.service",
        }
    ],
    "journald_missed_lines": [
        {"OOM_VICTIM_PID": None, "OOM_VICTIM_TID": "42", "OOM_GROUP_KILL": None},
        {
            "OOM_VICTIM_TID": "43",
            "OOM_GROUP_KILL": "1",
            **{f"OOM_VICTIM_{name}": value for name, value in POD.items()},
        },
        {
            "OOM_VICTIM_TID": "99",
            "OOM_GROUP_KILL": None,
            "OOM_DOMAIN": None,
            "OOM_DOMAIN_CGROUP": None,
            "OOM_VICTIM_CGROUP": None,
            "OOM_VICTIM_POD_UID": None,
            "OOM_TRIGGER_TID": None,
            "MESSAGE": "Out of memory: killed process of thread 99 (db), 8.2M resident",
        },
    ],
    "two_long_names": [
        {
            "OOM_VICTIM_CONTAINER_ID": f"build-agent-{number}",
            "MESSAGE": f"Out of memory on this host: killed process of "
            f"thread {tid} (node, lxc container build-agent-{number}), 8.2M resident",
        }
        for number, tid in (("01", 50), ("02", 51))
    ],
    "no_memory_cgroups": [
        {
            "OOM_VICTIM_CGROUP": None,
            "OOM_VICTIM_SLICE": None,
            "OBJECT_SYSTEMD_SLICE": None,
            "OBJECT_SYSTEMD_CGROUP": None,
            "OOM_DOMAIN": "host",
            "MESSAGE": "Out of memory on this host: killed process of thread 60 (polkitd), 8.2M resident; "
            "asked by thread 77 (asker)",
        }
    ],
    "group_in_a_pod": [
        {"OOM_VICTIM_TID": "42", "OOM_VICTIM_CGROUP": f"/kubepods.slice/{POD_SLICE}/cri-containerd-{ID}.scope"},
        {
            "OOM_VICTIM_TID": "43",
            "OOM_VICTIM_CGROUP": None,
            "OOM_VICTIM_CGROUP_CUT": None,
            "OBJECT_SYSTEMD_CGROUP": None,
            "OOM_VICTIM_SLICE": POD_SLICE,
            "OBJECT_SYSTEMD_UNIT": f"cri-containerd-{ID}.scope",
            "OOM_GROUP_KILL": "1",
            "OOM_DOMAIN_POD_UID": POD_UID,
            **{f"OOM_VICTIM_{name}": value for name, value in POD.items()},
        },
    ],
    "another_thread": [
        {
            "OOM_VICTIM_PID": "100",
            "OOM_VICTIM_TID": "101",
            "OOM_VICTIM_COMM": "worker",
            "OOM_VICTIM_UNIT": "web.service",
            "OOM_VICTIM_CGROUP": "/system.slice/web.service",
            "OOM_DOMAIN_UNIT": "web.service",
            "OOM_TRIGGER_TID": "77",
            "OOM_VICTIM_SWAP_BYTES": str(50 * 4096),
        }
    ],
    "no_header": [
        {
            "OOM_DOMAIN": "cgroup",
            "OOM_CONSTRAINT": None,
            "MESSAGE": "Out of memory in a cgroup: killed process of thread 811 (hog), 8.2M resident",
        }
    ],
    "a_line_continued": [
        {
            "OOM_ORDER": "-1",
            "OOM_TRIGGER_TID": "77",
            "OOM_GFP_MASK": "0xcc0",
            "OOM_VICTIM_UNIT": "web.service",
            "MESSAGE": "Out of memory on this host, called by hand (sysrq-f): killed process of thread 42 (hog, "
            "web.service), 8.2M resident",
        }
    ],
    "limits_and_swap": [
        {
            "OOM_VICTIM_PID": "42",
            "OOM_VICTIM_SWAP_BYTES": str(512 * 4096),
            "OOM_DOMAIN_USAGE_BYTES": str(49152 << 10),
            "OOM_DOMAIN_LIMIT_BYTES": str(49152 << 10),
            "OOM_DOMAIN_SWAP_USAGE_BYTES": str(2048 << 10),
            "OOM_DOMAIN_SWAP_LIMIT_BYTES": str(4096 << 10),
            "OOM_TRIGGER_UID": "5",
            "OOM_CANDIDATES": None,  # the first row of the list is missing
            "OOM_CANDIDATE_1_PID": None,
            "MESSAGE": "Out of memory in web.service (limit 48.0M): killed process 42 (hog), 8.2M resident; "
            "asked by thread 77 (asker)",
        }
    ],
    "nodes": [
        {
            "OOM_DOMAIN": "cpuset",
            "OOM_DOMAIN_NODES": "4",
            "OOM_DOMAIN_CPUSET": f"docker-{ID}.scope",
            "OOM_TRIGGER_TID": "91",
            "MESSAGE": f"Out of memory in cpuset docker-{ID}.scope (node 4): killed process of thread 70 "
            "(db, db.service), 8.2M resident; asked by thread 91 ('runc:[2:INIT]')",
        },
        {
            "OOM_DOMAIN": "mempolicy",
            "OOM_DOMAIN_NODES": "3",
            "OOM_DOMAIN_CPUSET": None,
            "OOM_TRIGGER_TID": "77",
            "MESSAGE": "Out of memory under a memory policy (node 3): killed process of thread 71 (vllm, llm.service), "
            "8.2M resident; asked by thread 77 (asker)",
        },
    ],
    "crun_inner_cgroup": [
        {
            "OOM_DOMAIN_CONTAINER_ID": ID,
            "OOM_DOMAIN_CONTAINER_RUNTIME": "podman",
            "MESSAGE": "Out of memory in podman container abababababab: killed process of thread 80 (py), "
            "8.2M resident",
        }
    ],
    "nothing_to_kill": [
        {
            "OOM_EVENT": "unkillable",
            "MESSAGE_ID": schema.MESSAGE_ID_UNKILLABLE,
            "OOM_DOMAIN": "cgroup",
            "OOM_DOMAIN_LIMIT_BYTES": str(49152 << 10),
            "OOM_DOMAIN_USAGE_BYTES": str(49152 << 10),
            "OOM_TRIGGER_TID": "77",
            "OOM_TRIGGER_COMM": "java",
            "OOM_TRIGGER_UID": "5",
            "OOM_REASON": "Out of memory and no killable processes",
            "OOM_VICTIM_TID": None,
            "OOM_KILL_ID": None,
            "MESSAGE": "Out of memory in a cgroup (limit 48.0M): no process can be killed; asked by thread 77 (java)",
        }
    ],
}


class Machine:
    """Makes entries from the lines alone, and from the pods in ``root`` and from ``processes``."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.processes = FakeProcesses()
        self.entries: list[dict[str, str]] = []
        self.journal = FakeJournal([])
        self.journal.send = self._send  # type: ignore[method-assign]
        proc, contents = ProcReader(str(root)), ContentsReader(self.clock)
        identifier = Identifier(PodDirectory(str(root)), lambda _unit, _kill: None, lambda _tid, _ns: None)
        enricher = Enricher(Sampler(proc, self.clock, ALL), identifier, contents, Detail(0, 1))
        self.told: list[Stuck | Gone] = []
        self.outcome = Outcome(self.told.append, self.processes, self.clock, lambda _text: None, every_exit=False)
        beside = Beside(self.outcome, Unkillables(enricher, KMSG, self.journal), lambda _text: None)
        judge = Judge(proc, self.clock, KMSG.page_bytes, len(KMSG.constraints))
        self._pipeline = Pipeline(judge, Completer(self.processes), enricher, KMSG, beside)

    def _send(self, fields: Iterable[bytes]) -> None:
        self.entries.append(dict(field.decode().split("=", 1) for field in fields))

    def tell(self, found: KillRecord | Unkillable) -> None:
        delivery = FakeDelivery()
        delivered = delivery.of(self._pipeline, found)
        assert delivered is not None
        assert not delivered.counts.refused
        for fields in delivery.entries:
            self._send(fields)

    def at_level_kmsg(self, lines: Iterable[Line]) -> list[dict[str, str]]:
        source = LogSource(Reader(lines, self.clock), Assembler(LogClock(self.clock), 4096), self.clock)
        position = 0
        while item := source.peek(position):
            position = item.end
            assert not isinstance(item.record, bytes)
            if item.record is not None:
                self.tell(item.record)
        return self.entries

    def in_recall(self, kept: Iterable[Line], held: list[Line]) -> list[dict[str, str]]:
        for logged in kills_in(joined(kept, held), 4096, 0):
            self.clock.now_ns = max(self.clock.now_ns, logged.kill.kill_boottime_ns)
            self.tell(logged.kill)
        return self.entries


class Reader(DevKmsg):
    """A log with these lines, read while they are written."""

    def __init__(self, lines: Iterable[Line], clock: FakeClock) -> None:
        self._lines = iter(lines)
        self._clock = clock

    def read(self) -> Line | None:
        line = next(self._lines, None)
        if line is not None:
            self._clock.now_ns = line.usec * 1000
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[], Machine]:
    return lambda: Machine(tmp_path)


def lines_of(name: str) -> list[Line]:
    """As in /dev/kmsg of a machine that has been up for a while; ``#`` gives a gap."""
    raw = [b"6,90,1000000,-;something else"]
    for at, text in enumerate((CASES / f"{name}.txt").read_bytes().splitlines()):
        whole = text[:1].isdigit() and text.split(b";")[0].count(b",") >= 3
        raw.append(text if whole or text[:1] == b"#" else b"4,%d,%d,-;%s" % (100 + at, 10_000_000 + 1000 * at, text))
    lines, gap = [], False
    for each in raw:
        if each[:1] == b"#":
            gap = True
            continue
        line = parse(each)
        assert line is not None
        lines.append(line._replace(after_gap=gap))
        gap = False
    return lines


def by_journald(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines as journald keeps them, without what only a record of /dev/kmsg has."""
    return (Line(line.usec, line.text, after_gap=line.after_gap) for line in lines)


def differences(entries: list[dict[str, str]], expected: Expected) -> list[tuple[int, str, str | None, str | None]]:
    assert len(entries) == len(expected)
    return [
        (at, name, entry.get(name), value)
        for at, (entry, fields) in enumerate(zip(entries, expected, strict=True))
        for name, value in fields.items()
        if entry.get(name) != value
    ]


@pytest.mark.parametrize("name", RIGHT)
def test_at_level_kmsg(machine: Callable[[], Machine], name: str) -> None:
    assert differences(machine().at_level_kmsg(lines_of(name)), RIGHT[name]) == []


@pytest.mark.parametrize("name", RIGHT)
def test_after_a_start_wherever_journalds_copy_and_dev_kmsg_meet(machine: Callable[[], Machine], name: str) -> None:
    lines = lines_of(name)
    right = [fields for fields in RIGHT[name] if fields.get("OOM_EVENT") != "unkillable"]  # not searched
    for at in range(1, len(lines) + 1):
        kept, held = by_journald(lines[: at + 1]), lines[at:]
        entries = machine().in_recall(kept, held)
        assert differences(entries, right) == [], at


def test_every_case_has_its_expected_values() -> None:
    assert {path.stem for path in CASES.iterdir()} == RIGHT.keys()


def test_lines_of_one_microsecond_are_neither_lost_nor_doubled(machine: Callable[[], Machine]) -> None:
    one, *others = (line._replace(usec=10_000_000) for line in lines_of("no_header")[1:] * 4)
    lines = [
        one._replace(text=one.text.replace(b"811", b"%d" % tid), number=tid)
        for tid in range(1, 1 + len((one, *others)))
    ]
    before, behind = lines_of("no_header")[0], lines[-1]._replace(usec=10_000_001, text=b"x")
    for kept_until in range(len(lines) + 1):
        for held_from in range(len(lines)):
            kept = by_journald([before, *lines[:kept_until]])
            entries = machine().in_recall(kept, [*lines[held_from:], behind])
            told = [int(entry["OOM_VICTIM_TID"]) for entry in entries]
            assert told == sorted({*range(1, 1 + kept_until), *range(1 + held_from, 1 + len(lines))})


def test_lines_of_two_cpus_with_swapped_times_are_neither_lost_nor_doubled() -> None:
    """A line has the time when its writer began: another CPU may have written a later one before it."""
    (one,) = lines_of("no_header")[1:]
    for swapped in range(1, 7):
        tids, usecs = range(1, 8), [10_000_000 + 10 * at for at in range(7)]
        usecs[swapped - 1 : swapped + 1] = reversed(usecs[swapped - 1 : swapped + 1])
        lines = [
            one._replace(text=one.text.replace(b"811", b"%d" % tid), number=tid, usec=usec)
            for tid, usec in zip(tids, usecs, strict=True)
        ]
        for kept_until in range(len(lines) + 1):
            for held_from in range(len(lines)):
                for missed_from in range(kept_until + 1):
                    # journald has also missed one.
                    kept = [*lines[:missed_from], *lines[missed_from + 1 : kept_until]]
                    held = lines[held_from:]
                    found = list(kills_in(joined(by_journald(kept), held), 4096, 0))
                    assert [each.kill.victim_tid for each in found] == sorted({line.number for line in (*kept, *held)})
                    assert not any(each.repeats for each in found)


def test_if_the_two_do_not_meet_there_is_a_gap(machine: Callable[[], Machine]) -> None:
    lines = lines_of("limits_and_swap")
    (entry,) = machine().in_recall(by_journald(lines[:3]), lines[4:])
    assert "OOM_DOMAIN_LIMIT_BYTES" not in entry
    assert "OOM_TRIGGER_TID" not in entry
    assert entry["OOM_DOMAIN"] == "cgroup"


def test_what_the_kernel_overwrites_while_it_is_read_is_taken_from_journalds_copy() -> None:
    """The kernel overwrites from the oldest line on, while that is read. journald has read all but the last line."""
    some = lines_of("limits_and_swap")[1:]
    for apart_usec in (0, 3_000_000):
        lines = [
            line._replace(usec=line.usec + kill * (100_000 + apart_usec), text=line.text.replace(b"42", b"%d" % kill))
            for kill in range(1, 6)
            for line in some
        ]
        for held_from in range(2, len(lines), 3):
            for lost_from in range(held_from + 1, held_from + 4):
                for lost_to in range(lost_from + 1, len(lines), 2):
                    # Two gaps, if there is room for them.
                    again = range(lost_to + 3, min(lost_to + 5, len(lines) - 1))
                    behind_gaps = {lost_to, *([again.stop] if again else [])}
                    held = [
                        line._replace(after_gap=at in behind_gaps)
                        for at, line in enumerate(lines)
                        if at >= held_from and not lost_from <= at < lost_to and at not in again
                    ]
                    found = list(joined(by_journald(lines[:-1]), held))
                    assert [(line.usec, line.text) for line in found] == [(line.usec, line.text) for line in lines]
                    # journald lacks the last line, so nothing says whether others are missing before it.
                    assert [at for at, line in enumerate(found) if line.after_gap] == sorted(
                        behind_gaps & {len(lines) - 1}
                    )


def test_a_gap_exactly_where_the_two_meet_is_kept(machine: Callable[[], Machine]) -> None:
    lines = lines_of("limits_and_swap")
    for at in range(1, len(lines)):
        kept = list(by_journald(lines[: at + 1]))
        kept[-1] = kept[-1]._replace(after_gap=True)
        (entry,) = machine().in_recall(kept, lines[at:])
        assert ("OOM_TRIGGER_TID" in entry) == (at == 1)


def test_a_victim_whose_process_was_found_by_its_thread_is_watched(machine: Callable[[], Machine]) -> None:
    found = machine()
    found.processes.threads[811] = ThreadStatus(800, 1, b"hog", 33, b"/system.slice/web.service", 1)
    found.processes.there.add((800, None))
    (entry,) = found.at_level_kmsg(lines_of("no_header"))
    assert (entry["OOM_VICTIM_TID"], entry["OOM_VICTIM_PID"]) == ("811", "800")
    found.clock.now_ns += STUCK_AFTER_NS
    found.outcome.check()
    (stuck,) = found.told
    assert (stuck.victim.pid, b"OOM_VICTIM_PID=800" in stuck.victim.fields) == (800, True)
    found.outcome.end()
    found.processes.close()


def test_a_group_ends_where_the_message_changes(machine: Callable[[], Machine]) -> None:
    lines = [line._replace(after_gap=False) for line in lines_of("journald_missed_lines")]
    assert differences(machine().at_level_kmsg(lines), RIGHT["journald_missed_lines"]) == []


def test_a_header_that_contradicts_the_kill_belongs_to_another(machine: Callable[[], Machine]) -> None:
    lines = lines_of("limits_and_swap")
    lines[-1] = lines[-1]._replace(text=lines[-1].text.replace(b"Memory cgroup out", b"Out"))
    (entry,) = machine().at_level_kmsg(lines)
    assert {"OOM_DOMAIN", "OOM_DOMAIN_CGROUP", "OOM_TRIGGER_TID", "OOM_VICTIM_CGROUP"} & entry.keys() == set()


def test_the_task_list_is_read_by_the_row_that_names_its_columns(machine: Callable[[], Machine]) -> None:
    newer = (
        b"[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file pgtables_bytes swapents oom_score_adj name",
        b"[     42]    33    40     2250     2100     2000      100    61440        7             0 hog",
    )
    unknown = (newer[0].replace(b"swapents", b"zswapped"), newer[1])
    named = (newer[0], newer[1].replace(b" hog", b" 9 hog"))
    for rows, pid, swap in ((newer, "40", str(7 * 4096)), (unknown, None, None), (named, None, None)):
        lines = lines_of("limits_and_swap")
        at = next(at for at, line in enumerate(lines) if line.text.startswith(b"[ "))
        lines[at : at + 1] = [lines[at]._replace(text=row) for row in rows]
        (entry,) = machine().at_level_kmsg(lines)
        assert (entry.get("OOM_VICTIM_PID"), entry.get("OOM_VICTIM_SWAP_BYTES")) == (pid, swap)


def test_each_member_of_a_group_has_its_own_process_and_swap_or_none(machine: Callable[[], Machine]) -> None:
    lines = lines_of("group_in_a_pod")
    at = next(at for at, line in enumerate(lines) if line.text.startswith(b"oom-kill:"))
    for row in (
        b"[     42]    33    40     2250     2100    61440        7             0 hog",
        b"[     77]     5    76     2250     2100    61440        7             0 asker",
    ):
        lines.insert(at, lines[at]._replace(text=row))
    first, other = machine().at_level_kmsg(lines)
    names = ("OOM_VICTIM_PID", "OOM_VICTIM_SWAP_BYTES", "OOM_TRIGGER_PID")
    assert [first.get(name) for name in names] == ["40", str(7 * 4096), "76"]
    assert [other.get(name) for name in names] == [None, None, "76"]


def test_if_the_logged_cgroup_is_not_whole_the_process_gives_it(machine: Callable[[], Machine]) -> None:
    path = b"/system.slice/polkit.service"
    for in_log, found, unit, shown in (
        (b"/", path, "polkit.service", "polkitd, polkit.service"),
        (b"/system.slice", path, "polkit.service", "polkitd, polkit.service"),
        (b"/system.slice", None, None, "polkitd, a cgroup below '/system.slice'"),
    ):
        this = machine()
        this.processes.threads[60] = ThreadStatus(60, 1, b"polkitd", 33, found, 0)
        lines = [
            line._replace(text=line.text.replace(b"task_memcg=/,", b"task_memcg=%s," % in_log))
            for line in lines_of("no_memory_cgroups")
        ]
        (entry,) = this.at_level_kmsg(lines)
        assert (entry["OOM_VICTIM_PID"], entry.get("OOM_VICTIM_UNIT")) == ("60", unit)
        assert entry.get("OOM_VICTIM_SLICE") == (None if found is None else "system.slice")
        assert f"killed process 60 ({shown})" in entry["MESSAGE"]


def test_memory_and_swap_of_a_whole_machine_are_shown(machine: Callable[[], Machine]) -> None:
    lines = lines_of("no_memory_cgroups")
    said = (b"Free swap  = 4kB", b"Total swap = 1048572kB", b"524155 pages RAM", b"0 pages cma reserved")
    lines[3:3] = [lines[2]._replace(text=text) for text in (*said, b"59647 pages reserved")]
    (entry,) = machine().at_level_kmsg(lines)
    assert entry["OOM_DOMAIN_LIMIT_BYTES"] == str((524155 - 59647) * 4096)
    assert entry["OOM_DOMAIN_SWAP_LIMIT_BYTES"] == str(1048572 << 10)
    assert entry["OOM_DOMAIN_SWAP_USAGE_BYTES"] == str(1048568 << 10)


def test_a_limit_of_memory_and_swap_together_means_version_1(machine: Callable[[], Machine]) -> None:
    lines = [
        line._replace(
            text=line.text.replace(b"swap: usage 2048kB, limit 4096kB", b"memory+swap: usage 49156kB, limit 53248kB")
        )
        for line in lines_of("limits_and_swap")
    ]
    (entry,) = machine().at_level_kmsg(lines)
    assert (entry["OOM_DOMAIN_SWAP_USAGE_BYTES"], entry["OOM_DOMAIN_SWAP_LIMIT_BYTES"]) == ("4096", str(4096 << 10))


def test_where_nothing_can_be_killed_all_processes_are_exempt(machine: Callable[[], Machine]) -> None:
    *report, end = lines_of("nothing_to_kill")
    rows = [line for line in lines_of("candidates") if line.text.startswith(b"[ ")][:3]
    exempt = [line._replace(text=line.text.replace(b"  0 sh", b"  -1000 sh")) for line in rows]
    (entry,) = machine().at_level_kmsg([*report, *exempt, end._replace(usec=rows[-1].usec + 1)])
    assert (entry["OOM_CANDIDATES"], entry["OOM_CANDIDATES_EXEMPT"]) == ("2", "2")
    assert (entry["OOM_CANDIDATE_1_PID"], entry["OOM_CANDIDATE_2_COMM"]) == ("51", "sh")


def test_a_storm_without_kills_gives_one_entry_per_domain(machine: Callable[[], Machine]) -> None:
    report = lines_of("nothing_to_kill")
    lines = report[:1]
    for number in range(500):
        for line in report[1:]:
            lines.append(line._replace(usec=line.usec + 10_000 * number))
        lines.insert(-1, lines[-1]._replace(text=b"Memory cgroup stats for /%d.slice:" % (number % 2)))
    entries = machine().at_level_kmsg(lines)
    assert [(entry["OOM_EVENT"], entry["OOM_DOMAIN_CGROUP"]) for entry in entries] == [
        ("unkillable", "/0.slice"),
        ("unkillable", "/1.slice"),
    ]


def test_a_storm_without_kills_leaves_room_for_kills() -> None:
    report, (killed,) = lines_of("nothing_to_kill")[1:], lines_of("no_header")[1:]
    lines = []
    for number in range(3000):
        # More and more domains, with one of them most of the time.
        domain = number // 20 if number % 20 == 0 else 0
        lines += [line._replace(usec=10_000_000 + 10_000 * number) for line in report]
        lines.insert(-1, lines[-1]._replace(text=b"Memory cgroup stats for /%d.slice:" % domain))
        if number % 10 == 5:
            lines.append(killed._replace(text=killed.text.replace(b"811", b"%d" % (1 + number)), usec=lines[-1].usec))
    log = Lines()
    log.waiting.extend(lines)
    source = source_of(log)
    tids, unkillable, position = [], Counter[bytes | None](), 0
    while item := source.peek(position):
        position = item.end
        if isinstance(item.record, Unkillable):
            unkillable[item.record.decision.domain_cgroup] += item.record.times
        elif isinstance(item.record, KillRecord):
            tids.append(item.record.victim_tid)
    # Nothing of it is stored yet.
    assert tids == list(range(6, 3001, 10))
    assert unkillable == {b"/%d.slice" % domain: 1 for domain in range(MAX_STUBBORN)}
    # After it is stored, the next report of a domain also counts those since then.
    source.free(position)
    more = [line._replace(usec=lines[-1].usec + 1) for line in report]
    log.waiting += [*more[:-1], more[-1]._replace(text=b"Memory cgroup stats for /0.slice:"), more[-1]]
    item = source.peek(position)
    assert item is not None
    assert isinstance(item.record, Unkillable)
    assert (item.record.decision.domain_cgroup, item.record.times) == (b"/0.slice", 3000 - 150 + 1)


def test_ids_do_not_depend_on_who_kept_the_line(machine: Callable[[], Machine]) -> None:
    lines = lines_of("limits_and_swap")
    (live,), (kept,) = machine().at_level_kmsg(lines), machine().in_recall(by_journald(lines), [])
    assert live["OOM_KILL_ID"] == kept["OOM_KILL_ID"]
    assert live["OOM_DECISION_ID"] == kept["OOM_DECISION_ID"]
