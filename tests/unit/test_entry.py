# SPDX-License-Identifier: Apache-2.0
"""A kill becomes the entry that the field table promises."""

import re
import time
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld import schema
from oomkilld.host.cgrouppath import outermost
from oomkilld.host.kubelet import PodDirectory, PodNames
from oomkilld.host.procformats import LoadAverage, MeminfoRow, Stall
from oomkilld.record.cmdline.commandlines import CommandLines
from oomkilld.record.cmdline.redact import Redactor
from oomkilld.record.enrich.cause import cause_of
from oomkilld.record.enrich.counters import Counters
from oomkilld.record.enrich.enrich import Context, LedUp
from oomkilld.record.enrich.memcgusage import Contents
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.sample import Sample
from oomkilld.record.entry.killentry import MAX_REDUCED_BYTES, MAX_VICTIM_BYTES, kill_entry, victim_fields
from oomkilld.record.entry.notices import gone_entry, level_entry, missed_entry, stuck_entry
from oomkilld.record.kill import Gone, KillRecord, Stuck, Victim, kill_id
from oomkilld.text import pasteable
from tests.support import pace
from tests.unit.recorded import whole_history
from tests.unit.records import ORIGIN, kill_of, raw_cmdline

SAMPLE = Sample(
    delay_ns=1_500_000,
    boot_realtime_ns=1_700_000_000_000_000_000,
    load_average=LoadAverage("1.70 0.68 0.25 2/123 4567", (1.70, 0.68, 0.25)),
    meminfo={
        "MemTotal": MeminfoRow(2048, True),
        "Active(anon)": MeminfoRow(1024, True),
        "HugePages_Total": MeminfoRow(3, False),
    },
    pressure={
        "memory": {"some": Stall((12.34, 1.5, 0.0), 987654), "full": Stall((7.0, 0.25, 0.01), 4321)},
        "cpu": {"some": Stall((1.0, 2.0, 3.0), 40), "full": Stall((0.0, 0.0, 0.0), 0)},
        "io": {"some": Stall((4.0, 5.0, 6.0), 50), "full": Stall((7.0, 8.0, 9.0), 60)},
    },
    vmstat={"oom_kill": 17, "pgscan_direct": 300},
)
LATE = Sample(11 * 10**9, SAMPLE.boot_realtime_ns, None, {}, {}, {})
COUNTERS = Counters(peak=31_457_280, high=26_214_400, tasks=12, times_high=3, times_max=42, oom_kills=7)
CONTENTS = Contents(
    {"anon": 4096, "slab_reclaimable": 512}, [(b"/tenants.slice/victim.service", 3000)], counters=COUNTERS
)
FAMILIES = ("OOM_MEMINFO_", "OOM_VMSTAT_", "OOM_DOMAIN_STAT_", "OOM_TOP_", "OOM_CANDIDATE_")
CANDIDATES = {
    "OOM_CANDIDATES": "3",
    "OOM_CANDIDATES_EXEMPT": "1",
    "OOM_CANDIDATES_BYTES": f"{9900 * 4096}",
    "OOM_CANDIDATE_1_PID": "4242",
    "OOM_CANDIDATE_1_COMM": "victim",
    "OOM_CANDIDATE_1_BYTES": f"{8000 * 4096}",
    "OOM_CANDIDATE_1_OOM_SCORE_ADJ": "-17",
    "OOM_CANDIDATE_1_UNIT": "victim.service",
    "OOM_CANDIDATE_2_PID": "17",
    "OOM_CANDIDATE_2_COMM": "exempt",
    "OOM_CANDIDATE_2_BYTES": f"{1900 * 4096}",
    "OOM_CANDIDATE_2_OOM_SCORE_ADJ": "-1000",
}
OF_COUNTERS = {
    *("OOM_DOMAIN_PEAK_BYTES", "OOM_DOMAIN_HIGH_BYTES", "OOM_DOMAIN_TASKS"),
    *("OOM_DOMAIN_EVENTS_HIGH", "OOM_DOMAIN_EVENTS_MAX", "OOM_DOMAIN_EVENTS_OOM_KILL"),
}
# The cgroups of a kill with all facts.
POD = b"/kubepods.slice/kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice/cri-containerd-%s.scope" % (b"ab" * 32)
USER = b"/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.service"
LXC = b"/system.slice/ci.service/lxc.payload.a"


LED_UP = LedUp("leak", 480 * 10**9, [(b"/tenants.slice/%d" % size, size << 20) for size in (9, 8, 7)])


class EveryPod(PodDirectory):
    """Knows the names of every pod."""

    def names(self, pod_uid: bytes, container_id: bytes | None) -> PodNames:  # noqa: ARG002
        return PodNames(b"shop", b"web-7d9", b"web" if container_id else None)


def entry(
    kill: KillRecord,
    sample: Sample = SAMPLE,
    contents: Contents | None = CONTENTS,
    *,
    reduced: bool = False,
    led_up: LedUp | None = None,
) -> dict[str, str]:
    cause = cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes)
    identifier = Identifier(EveryPod(), lambda _unit, _kill: None, lambda _tid, _ns: None)
    trigger, victim, domain = identifier.of_kill(kill)
    shown = CommandLines(Redactor(["token *"]), only_first=False).shown(kill)
    invocation = b"0123456789abcdef0123456789abcdef"
    units = (b"victim.service", None) if kill.largest_candidates else ()
    context = Context(sample, trigger, victim, domain, invocation, contents, reduced, shown, units)
    context = context._replace(led_up=led_up)
    pairs = [field.decode().partition("=")[::2] for field in kill_entry(kill, cause, context, ORIGIN)]
    assert len(dict(pairs)) == len(pairs), "a field is there twice"
    return dict(pairs)


def victim(kill: KillRecord) -> Victim:
    fields = victim_fields(f"{name}={value}".encode() for name, value in entry(kill).items())
    assert kill.victim_pid is not None
    return Victim(kill.victim_pid, kill.victim_start_boottime_ns, kill.kill_boottime_ns, fields)


def pairs_of(fields: list[bytes]) -> dict[str, str]:
    pairs = dict(field.decode().split("=", 1) for field in fields)
    assert len(pairs) == len(fields), "a field is there twice"
    return pairs


def test_the_whole_entry_of_a_kill() -> None:
    kill = kill_of()
    assert entry(kill) == {
        "MESSAGE": "Out of memory in tenants.slice (limit 30.0M, an ancestor of victim.service): killed process 4242 "
        "(victim, victim.service, pid 7 in its PID namespace), 29.3M resident; asked by 4240 (trigger, asker.service, "
        "pid 6 in its PID namespace); load 1.70 0.68 0.25",
        "MESSAGE_ID": schema.MESSAGE_ID_KILL,
        "PRIORITY": "2",
        "SYSLOG_IDENTIFIER": "oomkilld",
        "DOCUMENTATION": "man:oomkilld(8)",
        "OOM_EVENT": "kill",
        "OOM_SCHEMA": "1",
        "OOM_SOURCE": "kprobe",
        "OOM_KERNEL_RELEASE": "6.12.0-test",
        "OOM_KILL_ID": kill_id(kill, ORIGIN.boot_id),
        "OOM_DECISION_ID": "e0f46800795fdc9030b63cba2b8fa666",
        "OOM_TIMESTAMP": "1700000005000000",
        "OOM_BOOTTIME_TIMESTAMP": "5000000",
        "OOM_DETAIL": "full",
        "OOM_TRIGGER_PID": "4240",
        "OOM_TRIGGER_TID": "4241",
        "OOM_TRIGGER_COMM": "trigger",
        "OOM_TRIGGER_UID": "1001",
        "OOM_TRIGGER_NS_PID": "6",
        "OOM_TRIGGER_PARENT_PID": "4100",
        "OOM_TRIGGER_PARENT_COMM": "trigger's paren",
        "OOM_TRIGGER_START_TIMESTAMP": "1700000002000000",
        "OOM_TRIGGER_EXE_NAME": "asker",
        "OOM_TRIGGER_CGROUP": "/tenants.slice/asker.service",
        "OOM_TRIGGER_UNIT": "asker.service",
        "OOM_TRIGGER_SLICE": "tenants.slice",
        "OOM_VICTIM_PID": "4242",
        "OOM_VICTIM_TID": "4243",
        "OOM_VICTIM_COMM": "victim",
        "OOM_VICTIM_UID": "1000",
        "OOM_VICTIM_NS_PID": "7",
        "OOM_VICTIM_PARENT_PID": "4200",
        "OOM_VICTIM_PARENT_COMM": "victim's parent",
        "OOM_VICTIM_EXE_NAME": "victim-bin",
        "OOM_VICTIM_CGROUP": "/tenants.slice/victim.service",
        "OOM_VICTIM_UNIT": "victim.service",
        "OOM_VICTIM_SLICE": "tenants.slice",
        "OOM_VICTIM_START_TIMESTAMP": "1700000003000000",
        "OOM_VICTIM_AGE_USEC": "2000000",
        "OOM_VICTIM_OOM_SCORE_ADJ": "-17",
        "OOM_VICTIM_BADNESS": "7600",
        "OOM_VICTIM_TOTAL_VM_BYTES": "36864000",
        "OOM_VICTIM_RSS_BYTES": "30736384",
        "OOM_VICTIM_RSS_ANON_BYTES": "28672000",
        "OOM_VICTIM_RSS_FILE_BYTES": "2048000",
        "OOM_VICTIM_RSS_SHMEM_BYTES": "16384",
        "OOM_VICTIM_SWAP_BYTES": "0",
        "OOM_VICTIM_PGTABLES_BYTES": "65536",
        "OOM_AT_KILL_MEMFREE_BYTES": "4096000",
        "OOM_AT_KILL_ANONPAGES_BYTES": "12288000",
        "OOM_AT_KILL_MAPPED_BYTES": "1638400",
        "OOM_AT_KILL_SHMEM_BYTES": "204800",
        "OOM_AT_KILL_SLAB_BYTES": "5324800",
        "OOM_AT_KILL_DIRTY_BYTES": "32768",
        "OOM_AT_KILL_WRITEBACK_BYTES": "36864",
        "OOM_AT_KILL_SWAPFREE_BYTES": "8192000",
        "OOM_AT_KILL_DOMAIN_ANON_BYTES": "24576000",
        "OOM_AT_KILL_DOMAIN_FILE_BYTES": "6144000",
        "OOM_AT_KILL_DOMAIN_SHMEM_BYTES": "5734400",
        "OOM_AT_KILL_DOMAIN_KERNEL_BYTES": "409600",
        "OOM_AT_KILL_LOADAVG_1": "3.50",
        "OOM_AT_KILL_LOADAVG_5": "1.00",
        "OOM_AT_KILL_LOADAVG_15": "0.25",
        "OOM_DOMAIN": "cgroup",
        "OOM_CONSTRAINT": "CONSTRAINT_MEMCG",
        "OOM_DOMAIN_CGROUP": "/tenants.slice",
        "OOM_DOMAIN_SLICE": "tenants.slice",
        "OOM_DOMAIN_LIMIT_BYTES": "31457280",
        "OOM_DOMAIN_USAGE_BYTES": "31453184",
        "OOM_DOMAIN_SWAP_LIMIT_BYTES": "1048576",
        "OOM_DOMAIN_SWAP_USAGE_BYTES": "1044480",
        "OOM_DOMAIN_PEAK_BYTES": "31457280",
        "OOM_DOMAIN_HIGH_BYTES": "26214400",
        "OOM_DOMAIN_TASKS": "12",
        "OOM_DOMAIN_EVENTS_HIGH": "3",
        "OOM_DOMAIN_EVENTS_MAX": "42",
        "OOM_DOMAIN_EVENTS_OOM_KILL": "7",
        "OOM_DOMAIN_STAT_ANON_BYTES": "4096",
        "OOM_DOMAIN_STAT_SLAB_RECLAIMABLE_BYTES": "512",
        "OOM_TOP_1_CGROUP": "/tenants.slice/victim.service",
        "OOM_TOP_1_BYTES": "3000",
        "OOM_TOTAL_PAGES": "7680",
        "OOM_TOTAL_BYTES": "31457280",
        "OOM_GFP_MASK": "0xcc0",
        "OOM_GFP_FLAGS": "GFP_KERNEL",
        "OOM_GROUP_KILL": "0",
        "OBJECT_SYSTEMD_UNIT": "victim.service",
        "OBJECT_SYSTEMD_SLICE": "tenants.slice",
        "OBJECT_SYSTEMD_CGROUP": "/tenants.slice/victim.service",
        "OBJECT_SYSTEMD_INVOCATION_ID": "0123456789abcdef0123456789abcdef",
        "OOM_ORDER": "0",
        "OOM_ORDER_BYTES": "4096",
        "OOM_REASON": "Memory cgroup out of memory",
        "OOM_SAMPLE_DELAY_USEC": "1500",
        "OOM_LOADAVG": "1.70 0.68 0.25 2/123 4567",
        "OOM_LOADAVG_1": "1.70",
        "OOM_LOADAVG_5": "0.68",
        "OOM_LOADAVG_15": "0.25",
        "OOM_MEMINFO_MEMTOTAL_BYTES": "2048",
        "OOM_MEMINFO_ACTIVE_ANON_BYTES": "1024",
        "OOM_MEMINFO_HUGEPAGES_TOTAL": "3",
        "OOM_PSI_MEMORY_SOME_AVG10": "12.34",
        "OOM_PSI_MEMORY_SOME_AVG60": "1.50",
        "OOM_PSI_MEMORY_SOME_AVG300": "0.00",
        "OOM_PSI_MEMORY_SOME_TOTAL_USEC": "987654",
        "OOM_PSI_MEMORY_FULL_AVG10": "7.00",
        "OOM_PSI_MEMORY_FULL_AVG60": "0.25",
        "OOM_PSI_MEMORY_FULL_AVG300": "0.01",
        "OOM_PSI_MEMORY_FULL_TOTAL_USEC": "4321",
        "OOM_PSI_CPU_SOME_AVG10": "1.00",
        "OOM_PSI_CPU_SOME_AVG60": "2.00",
        "OOM_PSI_CPU_SOME_AVG300": "3.00",
        "OOM_PSI_CPU_SOME_TOTAL_USEC": "40",
        "OOM_PSI_CPU_FULL_AVG10": "0.00",
        "OOM_PSI_CPU_FULL_AVG60": "0.00",
        "OOM_PSI_CPU_FULL_AVG300": "0.00",
        "OOM_PSI_CPU_FULL_TOTAL_USEC": "0",
        "OOM_PSI_IO_SOME_AVG10": "4.00",
        "OOM_PSI_IO_SOME_AVG60": "5.00",
        "OOM_PSI_IO_SOME_AVG300": "6.00",
        "OOM_PSI_IO_SOME_TOTAL_USEC": "50",
        "OOM_PSI_IO_FULL_AVG10": "7.00",
        "OOM_PSI_IO_FULL_AVG60": "8.00",
        "OOM_PSI_IO_FULL_AVG300": "9.00",
        "OOM_PSI_IO_FULL_TOTAL_USEC": "60",
        "OOM_VMSTAT_OOM_KILL": "17",
        "OOM_VMSTAT_PGSCAN_DIRECT": "300",
        **CANDIDATES,
    }


def test_a_reduced_entry_is_the_whole_one_without_what_the_table_excludes() -> None:
    whole, reduced = entry(kill_of()), entry(kill_of(), reduced=True)
    assert (whole.pop("OOM_DETAIL"), reduced.pop("OOM_DETAIL")) == ("full", "reduced")
    assert reduced == {name: value for name, value in whole.items() if name in schema.REDUCED}
    assert whole.keys() - reduced.keys() == {
        *("OOM_TRIGGER_NS_PID", "OOM_TRIGGER_PARENT_PID", "OOM_TRIGGER_PARENT_COMM"),
        *("OOM_TRIGGER_START_TIMESTAMP", "OOM_TRIGGER_EXE_NAME"),
        *("OOM_TRIGGER_SLICE", "OOM_DOMAIN_SLICE", "OBJECT_SYSTEMD_CGROUP"),
        *("OOM_VICTIM_NS_PID", "OOM_VICTIM_PARENT_PID", "OOM_VICTIM_PARENT_COMM", "OOM_VICTIM_EXE_NAME"),
        *("OOM_VICTIM_START_TIMESTAMP", "OOM_VICTIM_AGE_USEC", "OOM_VICTIM_OOM_SCORE_ADJ", "OOM_VICTIM_BADNESS"),
        *("OOM_VICTIM_TOTAL_VM_BYTES", "OOM_VICTIM_RSS_BYTES", "OOM_VICTIM_RSS_ANON_BYTES"),
        *("OOM_VICTIM_RSS_FILE_BYTES", "OOM_VICTIM_RSS_SHMEM_BYTES", "OOM_VICTIM_SWAP_BYTES"),
        "OOM_VICTIM_PGTABLES_BYTES",
        *(name for name in whole if name.startswith(("OOM_DOMAIN_STAT_", "OOM_TOP_", "OOM_CANDIDATE"))),
        *OF_COUNTERS,
        *(name for name in whole if name.startswith(("OOM_AT_KILL_", "OOM_MEMINFO_", "OOM_PSI_", "OOM_VMSTAT_"))),
    }


def test_what_led_up_to_a_kill() -> None:
    plain, led_up = entry(kill_of()), entry(kill_of(), led_up=LED_UP)
    assert {name: led_up[name] for name in led_up if name not in plain} == {
        "OOM_GREW_1_CGROUP": "/tenants.slice/9",
        "OOM_GREW_1_BYTES": str(9 << 20),
        "OOM_GREW_2_CGROUP": "/tenants.slice/8",
        "OOM_GREW_2_BYTES": str(8 << 20),
        "OOM_GREW_3_CGROUP": "/tenants.slice/7",
        "OOM_GREW_3_BYTES": str(7 << 20),
        "OOM_GREW_WINDOW_USEC": "480000000",
        "OOM_TREND": "leak",
    }
    assert {name: led_up[name] for name in plain} == plain
    unknown = entry(kill_of(), led_up=LedUp("unknown", None, []))
    assert unknown.keys() - plain.keys() == {"OOM_TREND"}
    assert not [name for name in entry(kill_of(), reduced=True, led_up=LED_UP) if "GREW" in name or "TREND" in name]


def test_produced_and_declared_fields_are_the_same() -> None:
    session = b"/user.slice/user-1000.slice/session-2.scope"
    machine = b"/machine.slice/machine-box.scope"
    entries = [
        entry(kill_of(domain_cgroup=path, trigger_cgroup=path, victim_cgroup=path))
        for path in (POD, USER, session, machine)
    ]
    others = [
        *missed_entry(2, 2, "ring-full", ORIGIN),
        *level_entry("kprobe", {}, ORIGIN),
        *stuck_entry(Stuck(victim(kill_of()), 10**10, "D"), ORIGIN),
        *gone_entry(Gone(victim(kill_of()), 10**10), ORIGIN),
        *whole_history(),
    ]
    entries.append(entry(kill_of(), led_up=LED_UP))
    inner = kill_of(victim_cgroup=LXC, trigger_cgroup=LXC, domain_cgroup=LXC)
    entries.append(entry(inner._replace(victim_cgroup_cut=True, trigger_cgroup_cut=True, domain_cgroup_cut=True)))
    entries.append(entry(kill_of(trigger_pid=4242, cmdline=raw_cmdline(b"victim\0"))))
    entries.append(entry(kill_of(constraint=1)._replace(domain_nodes=b"0-3,8", domain_cpuset=b"b")))
    produced = {field.decode().split("=", 1)[0] for field in others}.union(*entries)
    of_families = {name for name in produced if name.startswith(FAMILIES)}
    assert produced - of_families == {field.name for field in schema.FIELDS}


def test_the_processes_that_the_kernel_chose_from() -> None:
    assert {name: value for name, value in entry(kill_of()).items() if "CANDIDATE" in name} == CANDIDATES
    none = kill_of(unknown=("candidates", "candidates_exempt", "candidates_pages", "largest_candidates"))
    assert not [name for each in (entry(none), entry(kill_of(), reduced=True)) for name in each if "CANDIDATE" in name]


def test_a_command_line_is_one_bounded_field_without_secrets_or_control_bytes() -> None:
    text = b"victim\0--token\0s3cret\0a\nPRIORITY=0\0\x1b[2J\0" + b"x" * 4000
    produced = entry(kill_of(trigger_pid=4242, cmdline=raw_cmdline(text, 4096)))
    for role in ("VICTIM", "TRIGGER"):
        shown = produced[f"OOM_{role}_CMDLINE"]
        assert shown.startswith("victim --token *** a\\x0aPRIORITY=0 \\x1b[2J xxx")
        assert shown.endswith("x…")
        assert len(f"OOM_{role}_CMDLINE={shown}".encode()) <= schema.MAX_FIELD_BYTES
    assert produced["PRIORITY"] == "2"


@pytest.mark.parametrize(
    ("unknown", "absent"),
    [
        ("victim_comm", {"OOM_VICTIM_COMM"}),
        ("victim_uid", {"OOM_VICTIM_UID"}),
        ("victim_start_boottime_ns", {"OOM_VICTIM_START_TIMESTAMP", "OOM_VICTIM_AGE_USEC"}),
        ("victim_anon_pages", {"OOM_VICTIM_RSS_BYTES", "OOM_VICTIM_RSS_ANON_BYTES"}),
        ("decision_boottime_ns", {"OOM_DECISION_ID"}),
        ("total_pages", {"OOM_TOTAL_PAGES", "OOM_TOTAL_BYTES"}),
        ("constraint", {"OOM_CONSTRAINT"}),  # the kernel's message also gives it
        ("group_kill", {"OOM_GROUP_KILL"}),
        ("gfp_mask", {"OOM_GFP_MASK", "OOM_GFP_FLAGS"}),
        ("victim_exe", {"OOM_VICTIM_EXE_NAME"}),
        ("domain_limit_pages", {"OOM_DOMAIN_LIMIT_BYTES"}),
        ("domain_swap_usage_pages", {"OOM_DOMAIN_SWAP_USAGE_BYTES"}),
        ("trigger_cgroup", {"OOM_TRIGGER_CGROUP", "OOM_TRIGGER_UNIT", "OOM_TRIGGER_SLICE"}),
        ("domain_cgroup", {"OOM_DOMAIN_CGROUP", "OOM_DOMAIN_SLICE"}),
        ("order", {"OOM_ORDER", "OOM_ORDER_BYTES"}),
        ("chosen_pid", {"OOM_VICTIM_BADNESS"}),
        ("reason", {"OOM_REASON"}),
        ("machine_free_pages", {"OOM_AT_KILL_MEMFREE_BYTES"}),
        ("machine_slab_reclaimable_pages", {"OOM_AT_KILL_SLAB_BYTES"}),
        ("machine_load_5", {"OOM_AT_KILL_LOADAVG_5"}),
        ("domain_anon_pages", {"OOM_AT_KILL_DOMAIN_ANON_BYTES"}),
        ("domain_kernel_pages", {"OOM_AT_KILL_DOMAIN_KERNEL_BYTES"}),
    ],
)
def test_an_unknown_value_leaves_its_field_out(unknown: str, absent: set[str]) -> None:
    known = entry(kill_of())
    assert known.keys() - entry(kill_of(unknown=(unknown,))).keys() == absent


def test_the_message_needs_only_the_victim() -> None:
    from oomkilld import recordlayout

    kill = kill_of(unknown=(*recordlayout.fact_bits(), *recordlayout.TEXTS))
    assert entry(kill, LATE, None)["MESSAGE"] == "Out of memory: killed process 4242; asked by 4240"


def test_a_late_sample_is_left_out_and_its_delay_is_shown() -> None:
    fields = entry(kill_of(), LATE, None)
    assert fields["OOM_SAMPLE_DELAY_USEC"] == "11000000"
    assert not [name for name in fields if name.startswith(("OOM_LOADAVG", "OOM_MEMINFO", "OOM_PSI", "OOM_VMSTAT"))]
    assert "; load" not in fields["MESSAGE"]


@pytest.mark.parametrize(
    ("changes", "badness"),
    [
        ({}, "7600"),
        ({"victim_pid": 4300}, None),
        ({"reason": b"Out of memory (oom_kill_allocating_task)"}, None),
        ({"chosen_points": (1 << 63) - 1}, None),
        ({"chosen_points": -3}, "-3"),
    ],
)
def test_badness_is_that_of_the_chosen_process_if_the_kernel_computed_it(
    changes: dict[str, Any], badness: str | None
) -> None:
    assert entry(kill_of(**changes)).get("OOM_VICTIM_BADNESS") == badness


@pytest.mark.parametrize(
    ("constraint", "domain"),
    [(0, "host"), (1, "cpuset"), (2, "mempolicy"), (3, "cgroup"), (4, None)],
)
def test_the_domain_has_the_kernels_name(constraint: int, domain: str | None) -> None:
    assert entry(kill_of(constraint=constraint, reason=b"Out of memory")).get("OOM_DOMAIN") == domain


def test_if_only_the_kernels_message_is_known_the_domain_is_a_cgroup_or_unknown() -> None:
    known = {name for name in entry(kill_of()) if name.startswith("OOM_DOMAIN")}
    for reason, expected in ((b"Memory cgroup out of memory", known), (b"Out of memory", None), (b"", None)):
        unknown = ("constraint",) if reason else ("constraint", "reason")
        told = {name for name in entry(kill_of(unknown=unknown, reason=reason)) if name.startswith("OOM_DOMAIN")}
        sizes = {name for name in known if name.endswith(("LIMIT_BYTES", "USAGE_BYTES"))}
        path = known - sizes - {"OOM_DOMAIN"}
        assert told == (path if expected is None else expected)


@pytest.mark.parametrize("number", [1, 4])
def test_the_largest_cgroups_are_numbered_from_one(number: int) -> None:
    top: list[tuple[bytes, int | None]] = [(b"/c%d" % each, 10 - each) for each in range(number)]
    fields = entry(kill_of(), contents=Contents({}, top))
    assert [fields[f"OOM_TOP_{each + 1}_CGROUP"] for each in range(number)] == [f"/c{each}" for each in range(number)]
    assert fields[f"OOM_TOP_{number}_BYTES"] == str(11 - number)
    assert f"OOM_TOP_{number + 1}_CGROUP" not in fields


def test_a_cgroup_that_could_not_be_read_has_no_size() -> None:
    fields = entry(kill_of(), contents=Contents({}, [(b"/c0", 10), (b"/c1", None)]))
    assert fields["OOM_TOP_2_CGROUP"] == "/c1"
    assert "OOM_TOP_2_BYTES" not in fields


def test_a_cgroup_with_a_protection_has_its_size() -> None:
    contents = Contents({}, [(b"/c0", 10), (b"/c1", 9), (b"/c2", None)], {b"/c1": 4096})
    fields = entry(kill_of(), contents=contents)
    assert {name: value for name, value in fields.items() if "_MIN_" in name} == {"OOM_TOP_2_MIN_BYTES": "4096"}


@pytest.mark.parametrize(
    ("unknown", "absent"),
    [
        ("peak", "OOM_DOMAIN_PEAK_BYTES"),
        ("high", "OOM_DOMAIN_HIGH_BYTES"),
        ("tasks", "OOM_DOMAIN_TASKS"),
        ("times_high", "OOM_DOMAIN_EVENTS_HIGH"),
        ("times_max", "OOM_DOMAIN_EVENTS_MAX"),
        ("oom_kills", "OOM_DOMAIN_EVENTS_OOM_KILL"),
    ],
)
def test_an_unknown_count_leaves_only_its_own_field_out(unknown: str, absent: str) -> None:
    contents = CONTENTS._replace(counters=COUNTERS._replace(**{unknown: None}))
    assert OF_COUNTERS - entry(kill_of(), contents=contents).keys() == {absent}


def test_without_a_reading_of_the_domain_there_are_no_counts() -> None:
    assert not OF_COUNTERS & entry(kill_of(), contents=None).keys()
    assert not OF_COUNTERS & entry(kill_of(), contents=Contents({}, [])).keys()


def test_zero_is_a_count_too() -> None:
    contents = CONTENTS._replace(counters=COUNTERS._replace(high=0, times_high=0))
    fields = entry(kill_of(), contents=contents)
    assert (fields["OOM_DOMAIN_HIGH_BYTES"], fields["OOM_DOMAIN_EVENTS_HIGH"]) == ("0", "0")


def test_sysrq_has_no_size() -> None:
    fields = entry(kill_of(order=-1))
    assert fields["OOM_ORDER"] == "-1"
    assert "OOM_ORDER_BYTES" not in fields


def test_ids_depend_on_boot_thread_and_time() -> None:
    kill = kill_of()
    ids = {
        kill_id(kill, ORIGIN.boot_id),
        kill_id(kill._replace(victim_tid=1), ORIGIN.boot_id),
        kill_id(kill._replace(kill_boottime_ns=1), ORIGIN.boot_id),
        kill_id(kill, b"another"),
    }
    assert len(ids) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert kill_id(kill, ORIGIN.boot_id) == kill_id(kill._replace(victim_pid=1, trigger_pid=1), ORIGIN.boot_id)


def test_kills_of_one_decision_share_its_id() -> None:
    one = entry(kill_of())
    other = entry(kill_of(victim_pid=1, victim_tid=1, kill_boottime_ns=5_000_001_000))
    assert one["OOM_DECISION_ID"] == other["OOM_DECISION_ID"]
    assert one["OOM_KILL_ID"] != other["OOM_KILL_ID"]


@settings(max_examples=pace.examples(10_000))
@given(st.binary(max_size=16), st.binary(min_size=1, max_size=60))
def test_no_name_can_add_or_change_a_field(comm: bytes, name: bytes) -> None:
    name = name.replace(b"/", b"").replace(b"\0", b"") or b"x"
    hostile = entry(kill_of(victim_comm=comm, trigger_comm=comm, victim_exe=name, victim_cgroup=b"/u.service/" + name))
    plain = entry(kill_of(victim_cgroup=b"/u.service/x"))
    assert hostile.keys() - {"OOM_VICTIM_INNER_CONTAINER_ID", "OOM_VICTIM_INNER_CONTAINER_RUNTIME"} == plain.keys()
    differing = {name for name in plain if plain[name] != hostile[name]}
    changed = {"MESSAGE", "OOM_VICTIM_COMM", "OOM_TRIGGER_COMM", "OOM_VICTIM_EXE_NAME", "OOM_VICTIM_CGROUP"}
    assert differing <= {*changed, "OBJECT_SYSTEMD_CGROUP"}
    assert all(value.isprintable() for value in hostile.values())
    # Two different names never look the same.
    assert unquote_to_bytes(hostile["OOM_VICTIM_CGROUP"]) == b"/u.service/" + name
    assert all(len(f"{name}={value}".encode()) < 4096 for name, value in hostile.items())


@pytest.mark.parametrize("name", [b"\xff" * 4000, ("ä" * 3000).encode()], ids=["escaped", "UTF-8"])
def test_a_value_that_is_too_long_is_cut_between_characters_and_says_so(name: bytes) -> None:
    (field,) = schema.format_fields([("OOM_VICTIM_UNIT", name)])
    row = schema.format_row(schema.TOP_CGROUP, "1", name)
    for line in (field, row):
        assert 4085 < len(line) <= 4095
        assert line.decode().endswith("…")


def test_a_path_that_is_too_long_keeps_its_outermost_names_and_is_marked_as_cut() -> None:
    path = b"/user.slice/user-1000.slice/user@1000.service/app.slice/deep.service" + (b"/" + b"\xff" * 200) * 20
    fields = entry(kill_of(victim_cgroup=path, trigger_cgroup=path, domain_cgroup=path))
    for role in ("VICTIM", "TRIGGER", "DOMAIN"):
        told = fields[f"OOM_{role}_CGROUP"]
        assert len(f"OOM_{role}_CGROUP={told}".encode()) <= schema.MAX_FIELD_BYTES
        assert (told + "/").startswith("/user.slice/user-1000.slice/user@1000.service/app.slice/deep.service/%FF")
        assert {len(name) for name in told.split("/")[6:]} == {3 * 200}
        assert fields[f"OOM_{role}_CGROUP_CUT"] == "1"
        assert fields[f"OOM_{role}_USER_UNIT"] == "deep.service"
    assert "OBJECT_SYSTEMD_CGROUP" not in fields
    assert fields["OBJECT_SYSTEMD_USER_UNIT"] == "deep.service"
    assert "CUT" not in "".join(entry(kill_of()))


def test_a_path_that_the_probe_cut_is_marked_as_cut() -> None:
    kill = kill_of()._replace(victim_cgroup_cut=True, domain_cgroup_cut=True)
    fields = entry(kill)
    assert fields["OOM_VICTIM_CGROUP"] == "/tenants.slice/victim.service"
    assert fields["OOM_VICTIM_CGROUP_CUT"] == fields["OOM_DOMAIN_CGROUP_CUT"] == "1"
    assert fields["OBJECT_SYSTEMD_UNIT"] == "victim.service"
    assert {"OBJECT_SYSTEMD_CGROUP", "OOM_TRIGGER_CGROUP_CUT"} & fields.keys() == set()


def test_if_the_path_is_unknown_the_domains_path_shows_the_owner() -> None:
    domain = b"/system.slice/db.service/shard"
    fields = entry(kill_of(unknown=("victim_cgroup",), domain_cgroup=domain))
    assert fields["OOM_VICTIM_UNIT"] == fields["OBJECT_SYSTEMD_UNIT"] == "db.service"
    assert (fields["OOM_VICTIM_CGROUP"], fields["OOM_VICTIM_CGROUP_CUT"]) == (domain.decode(), "1")
    assert {"OBJECT_SYSTEMD_CGROUP", "OOM_DOMAIN_CGROUP_CUT"} & fields.keys() == set()
    assert fields["MESSAGE"].startswith(
        "Out of memory in cgroup '/system.slice/db.service/shard' (limit 30.0M): killed process 4242 (victim, pid 7 "
    )


LONG_UNIT = b"\\" * 247 + b".service"


@pytest.mark.parametrize(
    "path",
    [
        b"/user.slice/user-1000.slice/user@1000.service/" + LONG_UNIT + (b"/" + b"\xff" * 255) * 7,
        b"/user.slice/user-1000.slice/user@1000.service/" + LONG_UNIT + b"/lxc.payload." + b"\xff" * 240,
        b"/user.slice/user-1000.slice/user@1000.service/" + LONG_UNIT,
        b"/" + b"\xff" * 255,
        b"/lxc/" + "\u202e".encode() * 80 + b"/lxc/" + b"'" * 250,
    ],
    ids=["deep", "a container", "a unit", "flat", "in a container"],
)
def test_a_reduced_entry_is_small_whatever_the_names(path: bytes) -> None:
    name = b"\xff" * 15
    kill = kill_of(
        trigger_pid=4242,
        victim_comm=name,
        trigger_comm=name,
        victim_cgroup=path + b"/v",
        trigger_cgroup=path + b"/t",
        domain_cgroup=path,
        cmdline=raw_cmdline(b"\xff" * 4000 + b"\0", 4096),
    )
    fields = entry(kill, reduced=True)
    size = sum(len(f"{name}={value}".encode()) for name, value in fields.items())
    print(f"{size} bytes")
    assert size <= MAX_REDUCED_BYTES
    assert fields["OOM_DETAIL"] == "reduced"
    assert fields["OOM_VICTIM_CGROUP_CUT"] == "1"
    assert entry(kill)["OOM_VICTIM_CGROUP"] == pasteable(outermost(path + b"/v", schema.MAX_PATH_BYTES))
    for found_by in ("OBJECT_SYSTEMD_UNIT", "OBJECT_SYSTEMD_USER_UNIT"):
        assert fields.get(found_by) == entry(kill).get(found_by)


def cost(kill: KillRecord, *, reduced: bool) -> float:
    """The fastest of some tries, in seconds of CPU time."""
    taken = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(10):
            entry(kill, reduced=reduced)
        taken.append(time.process_time() - begun)
    return min(taken)


@pytest.mark.parametrize("reduced", [False, True])
def test_hostile_names_cost_little_more_than_others(reduced: bool) -> None:
    path = b"/user.slice/user-1000.slice/user@1000.service" + (b"/" + b"\xff" * 250) * 7
    hostile = kill_of(victim_cgroup=path, trigger_cgroup=path, domain_cgroup=path)
    ratio = cost(hostile, reduced=reduced) / cost(kill_of(), reduced=reduced)
    print(f"{ratio:.1f} times")
    assert ratio < 30


def test_an_ordinary_entry_in_a_flood_is_not_cut() -> None:
    pod = "kubepods-burstable-pod5931aa75_4603_4e65_b552_7c71cf55cfb5.slice"
    path = f"/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{'ab' * 32}.scope".encode()
    kill = kill_of(victim_cgroup=path, trigger_cgroup=path, domain_cgroup=path)
    whole, reduced = entry(kill), entry(kill, reduced=True)
    assert {**whole, **reduced, "OOM_DETAIL": "full"} == whole


def test_a_spared_process_is_distinct_from_a_kill() -> None:
    fields, kill = entry(kill_of(spared=1)), entry(kill_of())
    assert fields["OOM_EVENT"] == "spared"
    assert fields["MESSAGE_ID"] == schema.MESSAGE_ID_SPARED
    assert fields["PRIORITY"] == "5"
    assert fields["MESSAGE"] == (
        "Out of memory in tenants.slice (limit 30.0M, an ancestor of victim.service): spared process 4242 "
        "(victim, victim.service, pid 7 in its PID namespace), which was exiting already; "
        "asked by 4240 (trigger, asker.service, pid 6 in its PID namespace)"
    )
    assert {name for name in kill if kill[name] != fields[name]} == {"OOM_EVENT", "MESSAGE_ID", "PRIORITY", "MESSAGE"}


LEVEL = {
    "MESSAGE_ID": schema.MESSAGE_ID_LEVEL,
    "SYSLOG_IDENTIFIER": "oomkilld",
    "DOCUMENTATION": "man:oomkilld(8)",
    "OOM_EVENT": "level",
    "OOM_SCHEMA": "1",
    "OOM_SOURCE": "tracepoint",
    "OOM_KERNEL_RELEASE": "6.12.0-test",
    "OOM_LEVEL_TO": "tracepoint",
}


@pytest.mark.parametrize(
    ("failures", "priority", "reasons"),
    [
        ({"kprobe": "none here", "fentry": "forbidden"}, "4", " (not kprobe: none here; not fentry: forbidden)"),
        ({"kprobe": "locked down", "fentry": "locked down"}, "4", " (not kprobe, fentry: locked down)"),
        ({}, "5", ""),
    ],
)
def test_a_change_of_level_is_an_entry_with_each_reason_once(
    failures: dict[str, str], priority: str, reasons: str
) -> None:
    origin = ORIGIN._replace(level="tracepoint")
    assert pairs_of(level_entry("kprobe", failures, origin)) == {
        **LEVEL,
        "MESSAGE": f"OOM kills are recorded at level tracepoint instead of kprobe{reasons}",
        "PRIORITY": priority,
        "OOM_LEVEL_FROM": "kprobe",
    }


def test_the_first_start_in_a_boot_names_no_previous_level() -> None:
    origin = ORIGIN._replace(level="tracepoint")
    assert pairs_of(level_entry(None, {"kprobe": "none here", "fentry": "none here"}, origin)) == {
        **LEVEL,
        "MESSAGE": "OOM kills are recorded at level tracepoint (not kprobe, fentry: none here)",
        "PRIORITY": "4",
    }


def test_missed_kills_get_an_entry_of_their_own() -> None:
    fields = dict(field.decode().split("=", 1) for field in missed_entry(3, 7, "ring-full", ORIGIN))
    assert fields == {
        "MESSAGE": "Failed to record 3 OOM kills (ring full), 7 since boot",
        "MESSAGE_ID": schema.MESSAGE_ID_MISSED,
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "oomkilld",
        "DOCUMENTATION": "man:oomkilld(8)",
        "OOM_EVENT": "missed",
        "OOM_SCHEMA": "1",
        "OOM_SOURCE": "kprobe",
        "OOM_KERNEL_RELEASE": "6.12.0-test",
        "OOM_MISSED": "3",
        "OOM_MISSED_REASON": "ring-full",
    }


@pytest.mark.parametrize(("missed", "kills", "them"), [(1, "1 OOM kill", "it"), (3, "3 OOM kills", "them")])
def test_what_was_missed_before_the_first_start_in_a_boot_is_no_error(missed: int, kills: str, them: str) -> None:
    assert pairs_of(missed_entry(missed, missed, "before-first-start", ORIGIN)) == {
        **pairs_of(missed_entry(missed, missed, "not-running", ORIGIN)),
        "MESSAGE": f"{kills} before the first start of oomkilld in this boot: no entry, because nothing about {them} "
        "was found in the kernel log",
        "PRIORITY": "6",
    }


def test_kills_that_only_the_kernels_count_reports_are_a_warning() -> None:
    fields = pairs_of(missed_entry(2000, 4000, "unconfirmed", ORIGIN))
    assert fields["PRIORITY"] == "4"
    assert fields["OOM_MISSED_REASON"] == "unconfirmed"
    assert fields["MESSAGE"] == (
        "The kernel counted 2000 OOM kills (oom_kill in /proc/vmstat) that oomkilld neither saw nor found in the "
        "kernel log (unconfirmed), 4000 since boot"
    )


OUTCOME = {
    "SYSLOG_IDENTIFIER": "oomkilld",
    "DOCUMENTATION": "man:oomkilld(8)",
    "OOM_SCHEMA": "1",
    "OOM_SOURCE": "kprobe",
    "OOM_KERNEL_RELEASE": "6.12.0-test",
}
STUCK_IN_A_UNIT = {
    *("OOM_KILL_ID", "OOM_VICTIM_PID", "OOM_VICTIM_TID", "OOM_VICTIM_COMM", "OOM_VICTIM_NS_PID", "OOM_VICTIM_UID"),
    *(
        "OOM_TIMESTAMP",
        "OOM_BOOTTIME_TIMESTAMP",
        "OBJECT_SYSTEMD_UNIT",
        "OOM_VICTIM_START_TIMESTAMP",
        "OOM_VICTIM_EXE_NAME",
    ),
    "OOM_VICTIM_UNIT",
}


STILL_THERE = (
    "Out of memory: process 4242 (victim, pid 7 in its PID namespace) is still there 10.004 s after it was killed"
)


def test_a_stuck_victim_is_named_as_in_the_entry_of_its_kill() -> None:
    kill = entry(kill_of())
    assert pairs_of(stuck_entry(Stuck(victim(kill_of()), 10_004_000_000, "D"), ORIGIN)) == {
        **OUTCOME,
        "MESSAGE": f"{STILL_THERE} (state D)",
        "MESSAGE_ID": schema.MESSAGE_ID_STUCK,
        "PRIORITY": "4",
        "OOM_EVENT": "stuck",
        **{name: kill[name] for name in STUCK_IN_A_UNIT},
    }
    hidden = pairs_of(stuck_entry(Stuck(victim(kill_of()), 10_004_000_000, None), ORIGIN))
    assert hidden["MESSAGE"] == STILL_THERE


@pytest.mark.parametrize(
    ("after_ns", "message", "exit_after"),
    [
        (
            34_215_000_999,
            "Out of memory: process 4242 (victim, pid 7 in its PID namespace) was gone 34.215 s after it was killed",
            {"OOM_EXIT_AFTER_USEC": "34215000"},
        ),
        (None, "Out of memory: process 4242 (victim, pid 7 in its PID namespace), which was killed, is gone", {}),
    ],
)
def test_a_gone_victim_has_the_time_if_somebody_saw_it(
    after_ns: int | None, message: str, exit_after: dict[str, str]
) -> None:
    kill = entry(kill_of())
    assert pairs_of(gone_entry(Gone(victim(kill_of()), after_ns), ORIGIN)) == {
        **OUTCOME,
        "MESSAGE": message,
        "MESSAGE_ID": schema.MESSAGE_ID_GONE,
        "PRIORITY": "5",
        "OOM_EVENT": "gone",
        **exit_after,
        **{name: kill[name] for name in STUCK_IN_A_UNIT},
    }


def test_a_name_cannot_add_a_field_to_a_stuck_entry_either() -> None:
    hostile = victim(kill_of(victim_comm=b"x\nPRIORITY=0"))
    fields = pairs_of(stuck_entry(Stuck(hostile, 10**10, "D"), ORIGIN))
    assert fields["PRIORITY"] == "4"
    assert fields["MESSAGE"].startswith(
        "Out of memory: process 4242 ('x\\x0aPRIORITY=0', pid 7 in its PID namespace) is still"
    )


def test_a_victim_without_a_name_is_shown_by_its_number() -> None:
    fields = pairs_of(gone_entry(Gone(victim(kill_of(unknown=("victim_comm",))), None), ORIGIN))
    assert fields["MESSAGE"] == "Out of memory: process 4242 (pid 7 in its PID namespace), which was killed, is gone"


def test_a_victim_in_a_pod_has_the_names_that_people_know_first() -> None:
    fields = pairs_of(stuck_entry(Stuck(victim(kill_of(victim_cgroup=POD)), 10**10, "D"), ORIGIN))
    assert {name: value for name, value in fields.items() if "POD" in name or "CONTAINER" in name} == {
        "OOM_VICTIM_CONTAINER_NAME": "web",
        "OOM_VICTIM_POD_NAMESPACE": "shop",
        "OOM_VICTIM_POD_NAME": "web-7d9",
    }
    assert "ab" * 32 in fields["OBJECT_SYSTEMD_UNIT"]


def test_the_facts_kept_of_a_victim_are_bounded_and_the_least_important_go_first() -> None:
    comm = b"OOM_VICTIM_COMM=" + b"x" * (MAX_VICTIM_BYTES - 60)
    assert victim_fields([comm, b"OOM_KILL_ID=" + b"1" * 32, b"OOM_VICTIM_UID=1000", b"MESSAGE=no"]) == (
        b"OOM_KILL_ID=" + b"1" * 32 + b"\nOOM_VICTIM_UID=1000"
    )


def test_a_kill_from_the_log_takes_its_id_from_the_lines_own_time() -> None:
    kill = kill_of()._replace(logged_usec=7, decision_logged_usec=5, victim_pid=None, trigger_pid=None)
    again = kill._replace(kill_boottime_ns=1, victim_pid=4242)
    assert (
        kill_id(kill, ORIGIN.boot_id)
        == kill_id(again, ORIGIN.boot_id)
        != kill_id(kill._replace(logged_usec=8), ORIGIN.boot_id)
    )
    told = entry(kill)
    assert told["OOM_DECISION_ID"] == entry(again)["OOM_DECISION_ID"]
    assert told["OOM_DECISION_ID"] != entry(kill._replace(decision_logged_usec=6))["OOM_DECISION_ID"]
    assert {"OOM_VICTIM_PID", "OOM_TRIGGER_PID"} & told.keys() == set()
    assert "killed process of thread 4243 (victim" in told["MESSAGE"]
    assert "; asked by thread 4241 (trigger" in told["MESSAGE"]


def test_an_unknown_trigger_is_left_out_of_the_message() -> None:
    kill = kill_of()._replace(trigger_pid=None, trigger_tid=None, trigger_comm=None)
    assert "asked" not in entry(kill)["MESSAGE"]
