# SPDX-License-Identifier: Apache-2.0
"""The kernel's own lines become records, whatever names a process or a cgroup has; no record is a guess."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.assemble import Assembler
from oomkilld.record.kernlog.clock import LogClock
from oomkilld.record.kernlog.kmsg import Line, parse, unescaped
from oomkilld.record.kill import KillRecord, Unkillable
from tests.support import pace
from tests.unit.fakes import FakeClock

SIZES = b"total-vm:32000kB, anon-rss:30000kB, file-rss:640kB, shmem-rss:4kB, UID:1000 pgtables:96kB oom_score_adj:-17"
HOSTILE = (
    b"x) total-vm:0kB",
    b"p,pid=1,uid=0",
    b"a\nKilled proce",
    b"\xff" * 15,
    b"",
    b"(",
    b") ",
    b",task=x",
    b"\\x41",
)
comms = st.binary(max_size=15).filter(lambda comm: b"\0" not in comm) | st.sampled_from(HOSTILE)


def killed_line(tid: int = 42, comm: bytes = b"hog", reason: bytes = b"Memory cgroup out of memory") -> bytes:
    return b"%s: Killed process %d (%s) %s" % (reason, tid, comm, SIZES)


def chosen_line(tid: int = 42, comm: bytes = b"hog", where: bytes = b",oom_memcg=/a,task_memcg=/a/b") -> bytes:
    return (
        b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=b,mems_allowed=0-1%s,task=%s,pid=%d,uid=1000"
        % (where, comm, tid)
    )


def header(tid: int = 42, comm: bytes = b"hog", where: bytes = b",oom_memcg=/a,task_memcg=/a/b") -> list[bytes]:
    return [
        b"asker invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        b"CPU: 1 UID: 0 PID: 77 Comm: asker Not tainted 6.12.0 #1",
        b"memory: usage 30720kB, limit 30720kB, failcnt 31",
        chosen_line(tid, comm, where),
    ]


def escaped(text: bytes) -> bytes:
    """Escapes as the kernel does for /dev/kmsg."""
    return b"".join(b"\\x%02x" % c if c < 32 or c >= 127 or c == 92 else bytes([c]) for c in text)


SKIPPED = b"Memory cgroup out of memory: OOM victim 42 (hog) is already exiting. Skip killing the task"
GROUP = b"Tasks in /a are going to be killed due to memory.oom.group set"


class Log:
    """An assembler that gets its lines a millisecond apart."""

    def __init__(self, *, settled: bool = True) -> None:
        self.clock = FakeClock()
        self.assembler = Assembler(LogClock(self.clock), 4096)
        self.usec = 1_000_000
        if settled:
            self.take(b"something else")
            self.usec += 6_000_000

    def take(self, text: bytes, **properties: int | bytes) -> KillRecord | None:
        self.usec += 1000
        self.clock.now_ns = self.usec * 1000 + 500
        found = self.assembler.take(Line(self.usec, text, **properties))  # type: ignore[arg-type]
        assert not isinstance(found, Unkillable)
        return found

    def kills(self, texts: Iterable[bytes]) -> list[KillRecord]:
        return [record for text in texts if (record := self.take(text))]


def test_records_of_dev_kmsg() -> None:
    raw = b"3,1234,5678901,-;Out of memory: \\x0a\\x5cx41 (x)\n SUBSYSTEM=mem\n DEVICE=+mem:oom\n"
    assert parse(raw) == Line(5678901, b"Out of memory: \n\\x41 (x)", 0, number=1234)
    assert parse(b"11,7,1,-,caller=T42;text;more\n") == Line(1, b"text;more", 1, number=7, caller=b"T42")
    assert parse(b"4,7,1,c;rest\n") == Line(1, b"rest", fragment=True, number=7)
    for nonsense in (b"", b";", b"3,1;x", b"3,1,x,-;x", b" SUBSYSTEM=mem", b"-3,1,2,-;x"):
        assert parse(nonsense) is None


@given(st.binary())
def test_unescaping_restores_what_the_kernel_escaped(text: bytes) -> None:
    assert unescaped(escaped(text)) == text
    line = parse(b"3,1,2,-;" + escaped(text) + b"\n")
    assert line is not None
    assert line.text == text


@settings(max_examples=pace.examples(10_000))
@given(st.binary())
def test_no_bytes_make_it_fail(text: bytes) -> None:
    parse(text)
    unescaped(text)
    log = Log()
    for line in (*header(), text, killed_line(), text, GROUP, text):
        log.assembler.take(Line(log.usec, line))


@given(comms, st.integers(1, 1 << 22), st.sampled_from([b"Out of memory", b"Out of memory (oom_kill_allocating_task)"]))
def test_a_kill_is_parsed_whatever_the_victims_name(comm: bytes, tid: int, reason: bytes) -> None:
    assert grammar.killed(killed_line(tid, comm, reason)) == grammar.Killed(
        *(reason, tid, comm, 32000 << 10, 30000 << 10, 640 << 10, 4 << 10, 1000, 96 << 10, -17)
    )


@given(comms, comms)
def test_a_header_is_parsed_whatever_the_names_in_it(victim: bytes, asker: bytes) -> None:
    log = Log()
    first, second, *rest = header(comm=victim)
    lines = (line.replace(b"asker", asker, 1) for line in (first, second))
    (kill,) = log.kills([*lines, *rest, killed_line(comm=victim)])
    assert (kill.victim_tid, kill.victim_comm, kill.victim_uid) == (42, victim, 1000)
    assert (kill.trigger_tid, kill.trigger_comm, kill.gfp_mask, kill.order) == (77, asker, 0xCC0, 0)
    assert (kill.domain_cgroup, kill.victim_cgroup) == (b"/a", b"/a/b")


@pytest.mark.parametrize(
    "text",
    [
        # A device or a file system can put this into a line, but neither at its beginning nor as a whole line.
        b"usb 1-1: Product: " + killed_line(),
        killed_line() + b" and more",
        killed_line(comm=b"sixteen bytes ab"),
        killed_line().replace(b"UID:1000", b"UID:x"),
        killed_line().replace(b"shmem-rss:4kB, ", b""),
        killed_line().replace(b"process 42", b"process -42"),
        killed_line(reason=b"x\nOut of memory"),
    ],
)
def test_a_line_that_the_kernel_cannot_have_written_is_no_kill(text: bytes) -> None:
    assert grammar.killed(text) is None


def test_only_the_kernels_own_lines_count() -> None:
    log = Log()
    assert log.take(killed_line(), facility=1) is None
    assert log.assembler.kills == 0
    # A forged header adds no facts to a kill either.
    for line in header():
        log.take(line, facility=1)
    kill = log.take(killed_line())
    assert kill is not None
    assert kill.constraint is None
    # A forged line between the real ones changes nothing.
    for line in header():
        log.take(line)
    log.take(chosen_line(where=b",oom_memcg=/evil,task_memcg=/evil"), facility=3)
    kill = log.take(killed_line())
    assert kill is not None
    assert kill.domain_cgroup == b"/a"


def test_every_fact_of_the_lines_is_in_the_record() -> None:
    log = Log()
    (kill,) = log.kills([*header(), killed_line()])
    assert kill == KillRecord._make([None] * len(kill))._replace(
        kill_boottime_ns=log.usec * 1000 + 500,
        spared=0,
        victim_tid=42,
        trigger_tid=77,
        trigger_uid=0,
        domain_limit_pages=7680,
        domain_usage_pages=7680,
        victim_comm=b"hog",
        victim_uid=1000,
        victim_oom_score_adj=-17,
        victim_total_vm_pages=8000,
        victim_anon_pages=7500,
        victim_file_pages=160,
        victim_shmem_pages=1,
        victim_pgtables_bytes=98304,
        victim_cgroup=b"/a/b",
        trigger_comm=b"asker",
        constraint=3,
        order=0,
        gfp_mask=0xCC0,
        reason=b"Memory cgroup out of memory",
        domain_cgroup=b"/a",
        logged_usec=log.usec,
        decision_logged_usec=log.usec,
    )
    assert grammar.CONSTRAINTS[3] == "CONSTRAINT_MEMCG"


@pytest.mark.parametrize(
    ("where", "domain", "victim"),
    [
        (b",global_oom,task_memcg=/b", None, b"/b"),
        (b",oom_memcg=/,task_memcg=/x,y=z\n\xff", b"/", b"/x,y=z\n\xff"),
        (b",oom_memcg=/a,task_memcg=/a,task=x,pid=1,uid=0", b"/a", b"/a,task=x,pid=1,uid=0"),
        (b",oom_memcg=/a,task_memcg=/a/b,task_memcg=/a/c", None, None),
        (b",oom_memcg=/a,oom_memcg=/b,task_memcg=/a/c", None, None),
        (b",global_oom,task_memcg=/b,oom_memcg=/c", None, None),
        (b",oom_memcg=<name too long>,task_memcg=(null)", None, None),
        (b",task_memcg=/b", None, None),
    ],
)
def test_ambiguous_paths_are_unknown(where: bytes, domain: bytes | None, victim: bytes | None) -> None:
    (kill,) = Log().kills([*header(where=where), killed_line()])
    assert (kill.domain_cgroup, kill.victim_cgroup) == (domain, victim)


@pytest.mark.parametrize(
    "lines",
    [
        [killed_line()],
        [*header(), killed_line(tid=9), killed_line()],
        [*header()[:3], killed_line()],
        [*(line.replace(b"uid=1000", b"uid=1001") for line in header()), killed_line()],
        [*(line.replace(b"MEMCG", b"CPUSET") for line in header()), killed_line()],
        [*header(), killed_line(reason=b"Out of memory")],
        [*header(), SKIPPED, killed_line()],
    ],
)
def test_a_kill_without_a_header_of_its_own_has_no_cause(lines: list[bytes]) -> None:
    kill = Log().kills(lines)[-1]
    assert (kill.constraint, kill.domain_cgroup, kill.victim_cgroup, kill.trigger_tid, kill.gfp_mask) == (None,) * 5
    assert kill.victim_tid == 42


def test_a_header_before_a_gap_adds_nothing() -> None:
    log = Log()
    log.kills(header())
    log.take(b"the rest", after_gap=True)
    kill = log.take(killed_line())
    assert kill is not None
    assert kill.constraint is None


@pytest.mark.parametrize(
    ("lines", "victim"),
    [
        (header(tid=41), b"/a/b"),
        (header(tid=41, comm=b"hag"), b"/a/b"),
        (header(tid=41, comm=b",task=x"), None),
        (header(tid=41, comm=b"x,task=hog"), None),
        (header(where=b",oom_memcg=/a,task_memcg=/" + b"b" * 900), None),
        ([*header(), (b"the rest of it", {"fragment": True})], None),
        ([*header()[:-1], header()[-1][:30], (header()[-1][30:], {"fragment": True})], None),
    ],
)
def test_a_kill_after_a_whole_header_gets_its_facts_and_a_cut_line_loses_only_what_was_cut(
    lines: list[bytes | tuple[bytes, dict[str, int | bytes]]], victim: bytes | None
) -> None:
    log = Log()
    for line in lines:
        text, properties = line if isinstance(line, tuple) else (line, {})
        log.take(text, **properties)
    kill = log.take(killed_line())
    assert kill is not None
    assert (kill.constraint, kill.trigger_tid, kill.gfp_mask, kill.domain_limit_pages) == (3, 77, 0xCC0, 7680)
    assert kill.victim_cgroup == victim


def test_lines_of_another_writer_are_not_part_of_the_report() -> None:
    log = Log()
    first, *rest = header()
    log.take(first, caller=b"T77")
    for line in (b"memory: usage 8kB, limit 8kB, failcnt 1", b"CPU: 3 UID: 0 PID: 9 Comm: asker Not tainted 6.12.0"):
        log.take(line, caller=b"T9")
    log.take(b" more", fragment=True, caller=b"T9")
    for line in rest:
        log.take(line, caller=b"T77")
    log.take(b" more", fragment=True, caller=b"C2")
    kill = log.take(killed_line(), caller=b"T77")
    assert kill is not None
    assert (kill.trigger_tid, kill.domain_limit_pages, kill.victim_cgroup) == (77, 7680, b"/a/b")


def test_the_domain_comes_from_its_own_line_if_the_last_line_is_too_long() -> None:
    lines = header(where=b",oom_memcg=/a,task_memcg=/" + b"b" * 900)
    lines.insert(3, b"Memory cgroup stats for /a:")
    kill = Log().kills([*lines, killed_line()])[0]
    assert kill.domain_cgroup == b"/a"
    log = Log()
    for text in lines[:4]:
        log.take(text)
    log.take(b":", fragment=True)
    for text in lines[4:]:
        log.take(text)
    kill = log.kills([killed_line()])[0]
    assert kill.domain_cgroup is None
    assert kill.domain_limit_pages == 7680


def test_a_group_is_one_decision_and_its_chosen_process_gives_one_record() -> None:
    log = Log()
    kills = log.kills([*header(), killed_line(), GROUP, killed_line(43), killed_line(), killed_line(44)])
    assert [kill.victim_tid for kill in kills] == [42, 43, 44]
    assert (log.assembler.kills, log.assembler.repeats) == (4, 1)
    assert {kill.decision_logged_usec for kill in kills} == {kills[0].logged_usec}
    assert [kill.group_kill for kill in kills] == [None, 1, 1]
    assert [kill.domain_cgroup for kill in kills] == [b"/a"] * 3
    assert [kill.victim_cgroup for kill in kills] == [b"/a/b", None, None]
    # The next decision is a different one, even with the same thread id.
    (kill,) = log.kills([*header(), killed_line()])
    assert kill.decision_logged_usec == kill.logged_usec


def test_only_the_chosen_process_repeats_and_only_once_and_soon() -> None:
    log = Log()
    log.kills([*header(), killed_line(), GROUP, killed_line(43), killed_line(43), killed_line(), killed_line()])
    assert (log.assembler.kills, log.assembler.repeats) == (5, 1)
    log.kills([*header(), killed_line(), GROUP])
    log.usec += 3_000_000
    assert log.take(killed_line()) is not None
    log.kills([*header(), killed_line(), GROUP, killed_line(comm=b"other")])
    assert log.assembler.repeats == 1


def test_a_group_whose_chosen_process_was_skipped_has_a_decision_of_its_own() -> None:
    log = Log()
    kills = log.kills([killed_line(40), SKIPPED, GROUP, killed_line(43), killed_line(44)])
    assert [kill.group_kill for kill in kills] == [None, 1, 1]
    assert kills[1].decision_logged_usec == kills[2].decision_logged_usec != kills[0].decision_logged_usec


def test_without_its_header_a_kill_does_not_join_the_group_before_it() -> None:
    for log in (Log(), Log(settled=False)):
        if log.usec > 5_000_000:
            for tid in range(100, 109):
                log.kills([*header(tid), killed_line(tid)])
        kills = log.kills([*header(), killed_line(), GROUP, killed_line(43), killed_line()])
        assert [kill.victim_tid for kill in kills] == [42, 43]
        assert kills[0].constraint == 3
        assert (kills[1].constraint, kills[1].decision_logged_usec, kills[1].group_kill) == (None, None, None)
        assert log.assembler.repeats == 1
        log.usec += 6_000_000
        kills = log.kills([*header(), killed_line(), GROUP, killed_line(43)])
        assert kills[1].constraint == 3


def test_headers_left_out_before_the_start_are_unknown_and_later_ones_are_known() -> None:
    # In the second case, this is the first report in an hour, so the kernel left out no header since reading began.
    for waited_usec, known in ((10_000, False), (3600 * 10**6, True)):
        log = Log(settled=False)
        log.usec += waited_usec
        kills = log.kills([*header(), killed_line(), GROUP, killed_line(43)])
        assert [kill.domain_cgroup for kill in kills] == [b"/a", b"/a" if known else None]


def test_reports_without_a_kill_do_not_count_as_headers() -> None:
    log = Log()
    for _ in range(20):
        for text in (*header()[:3], b"Out of memory and no killable processes..."):
            log.assembler.take(Line(log.usec, text))
    assert log.kills([*header(), killed_line(), GROUP, killed_line(43)])[1].domain_cgroup == b"/a"


def test_times_follow_printks_clock_and_never_lie_after_the_reading() -> None:
    clock = FakeClock()
    log_clock = LogClock(clock)

    def read(written_ns: int, late_ns: int, printk_offset_ns: int = 40_000_000) -> int:
        clock.now_ns = written_ns + late_ns
        return log_clock.boottime_ns((written_ns + printk_offset_ns) // 1000) - written_ns - clock.asleep_ns

    second = 10**9
    assert read(1 * second, 3_000_000) == 3_000_000
    assert read(2 * second, 1_000_000) == 1_000_000
    # However late this line is read, the shortest delay so far decides.
    assert read(3 * second, 30 * second) == 1_000_000
    clock.asleep_ns = 3600 * second
    assert read(40 * second, 2_000_000) == 1_000_000
    # The clocks drift, so old readings lose their weight.
    assert read(1000 * second, 1_000_000, -60_000_000) <= 1_000_000
    assert abs(read(2000 * second, 1_000_000, -60_000_000)) <= 1_000_000
    assert abs(read(3000 * second, 5_000_000, -60_000_000)) <= 5_000_000


def test_times_increase_with_the_lines() -> None:
    clock = FakeClock()
    log_clock = LogClock(clock)
    clock.now_ns = 10**9
    first = log_clock.boottime_ns(1)
    clock.now_ns += 1
    assert first < log_clock.boottime_ns(2) <= clock.now_ns
