# SPDX-License-Identifier: Apache-2.0
"""The service itself: its idle cost, its end, and its messages when it cannot start."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import live
from tests.support.unitfile import binds_but_kmsg
from tests.vm.guest.kills import LIMIT, kills_after
from tests.vm.guest.service import SETTINGS, assert_refuses_to_start, drop_in, drop_in_of, file, run, service_restored

SO_SNDBUFFORCE = 32  # asm-generic/socket.h
IDLE_MINUTES = 10 if "OOMKILLD_TEST_FULL" in os.environ else 2
MIB = 1 << 20
JOURNAL_SOCKET = Path("/run/systemd/journal/socket")


def journald_and_us() -> str:
    """For a failing test to show."""
    return run("systemctl", "status", "--no-pager", "-n", "5", "systemd-journald", "oomkilld").stdout


def test_it_is_small_and_sleeps_while_nothing_happens() -> None:
    pid = live.main_pid()
    time.sleep(1)
    before = live.process_status(pid, "voluntary_ctxt_switches")
    time.sleep(60 * IDLE_MINUTES)  # this test measures the time itself
    wakes = live.process_status(pid, "voluntary_ctxt_switches") - before
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    resident, proportional = (int(re.findall(rf"^{key}:\s+(\d+)", rollup, re.MULTILINE)[0]) for key in ("Rss", "Pss"))
    locked = live.process_status(pid, "VmLck")
    print(
        f"resident {resident} kB, proportional {proportional} kB, locked once touched {locked} kB; "
        f"{wakes} wake-ups in {IDLE_MINUTES} minutes"
    )
    assert resident <= 16 * 1024
    assert locked >= resident
    assert wakes <= 6 * IDLE_MINUTES
    assert wakes >= 1, "not even the watchdog is fed"


def test_sigterm_ends_it_in_time() -> None:
    with service_restored():
        started = time.monotonic()
        run("systemctl", "stop", "oomkilld")
        took = time.monotonic() - started
        assert live.show("oomkilld", "Result") == "success"
    print(f"stopped in {took:.2f} s")
    assert took < 10  # ten times the promised second


def test_with_a_bad_configuration_it_names_every_error_and_continues_to_record(here: live.Moment) -> None:
    content = '[capture]\nlevel = "magic"\nring_sise = 1\n[entry]\npriority = 2\n'
    errors = [
        f"{SETTINGS}:2: capture.level: found 'magic', expected 'auto', 'kprobe', 'fentry', 'tracepoint' or 'kmsg'",
        f"{SETTINGS}:3: capture.ring_sise: unknown key (did you mean 'ring_size'?), expected one of level, ring_size",
    ]
    with service_restored(), file(SETTINGS, content):
        checked = run("oomkilld", "--check-config")
        run("systemctl", "restart", "oomkilld")
        with live.cgroup("settings", LIMIT) as where:
            live.kill_one(where)
        kills_after(here, 1)
        status = live.show("oomkilld", "StatusText")
        said = [entry["MESSAGE"] for entry in live.journal("-u", "oomkilld", here.after_cursor, "PRIORITY=3")]
    assert checked.returncode == 78
    assert checked.stderr.splitlines()[:2] == [f"oomkilld: {error}" for error in errors]
    assert f"{SETTINGS}:5: entry.priority: found 2, expected 'emerg', 'alert'" in checked.stderr
    assert said[:2] == errors
    assert "; the configuration is invalid: recording with the last valid settings" in status


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ["CapabilityBoundingSet=", "CapabilityBoundingSet=CAP_SYSLOG"],
            "(not kprobe: no privilege to attach kprobes: CAP_SYS_ADMIN missing",
        ),
        (
            ["InaccessiblePaths=/sys/kernel/btf"],
            "(not kprobe, fentry, tracepoint: this kernel has no BTF type information",
        ),
    ],
    ids=["no privilege", "no BTF"],
)
def test_if_no_probe_works_it_reads_the_kernel_log(here: live.Moment, lines: list[str], reason: str) -> None:
    with service_restored(), drop_in(*lines):
        # A restart would take over the working probe.
        run("systemctl", "stop", "oomkilld")
        run("systemctl", "start", "oomkilld")
        assert live.level() == "kmsg"
        (change,) = live.service_entries("level", here)
        assert reason in change["MESSAGE"]
        with live.cgroup("logged", LIMIT) as where:
            victim = live.kill_one(where)
            (entry,) = kills_after(here, 1, "kmsg")
    assert int(entry["OOM_VICTIM_TID"]) == victim.pid


def test_if_the_kernel_log_is_hidden_too_it_gives_both_reasons(here: live.Moment) -> None:
    # PrivateDevices= hides it, without the unit's own line.
    with service_restored(), drop_in("InaccessiblePaths=/sys/kernel/btf", *binds_but_kmsg()):
        assert_refuses_to_start(here, 69, "kprobe, fentry, tracepoint: this kernel has no BTF type information")
        assert_refuses_to_start(live.now(), 69, "kmsg: the kernel's log cannot be read: /dev/kmsg")


def test_an_ordinary_user_gets_an_explanation() -> None:
    result = run("setpriv", "--reuid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "oomkilld")
    assert result.returncode == 77
    assert "oomkilld: /run/oomkilld cannot be used: Permission denied" in result.stderr
    assert "start it as a service" in result.stderr


def test_a_second_instance_waits_until_it_is_ended_and_the_first_continues() -> None:
    pid = live.main_pid()
    with subprocess.Popen(["oomkilld"], stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr is not None
        waits = f"another oomkilld is running (process {pid}): waiting at most 60 s for its end\n"
        assert second.stderr.readline() == f"oomkilld: {waits}"
        second.terminate()
        assert second.wait(10) == -signal.SIGTERM
        assert second.stderr.read() == ""
    assert live.main_pid() == pid


@pytest.fixture(scope="class")
def stopped() -> Iterator[None]:
    """One stop and one start around all tests of a class."""
    run("systemctl", "stop", "oomkilld")
    with service_restored():
        yield


@pytest.mark.usefixtures("stopped")
class TestAProbeThatFails:
    """A copy of the program with one fault in it."""

    @pytest.mark.parametrize(
        ("module", "old", "new", "status", "message"),
        [
            pytest.param(
                *("host/levels.py", '"mark_oom_victim"', '"mark_oom_viktim"'),
                *(69, "this kernel has no function mark_oom_viktim to attach to"),
                id="symbol missing",
            ),
            pytest.param(
                *("arm/bpf/oomkill.bpf.c", "draft->owner = 0;\n\treturn 0", "return *(int *)owner"),
                *(70, "the kernel's verifier refused the program for a kretprobe on oom_kill_process"),
                id="verifier refusal",
            ),
            pytest.param(
                *("arm/bpf/oomkill.bpf.c", "count(COUNT_attempts);", "no_such_function();"),
                *(70, "bcc failed to compile or set up oomkill.bpf.c"),
                id="compiler error",
            ),
            pytest.param(
                *("arm/probe.py", "    probe_fds: list[int] = []\n", "    os.abort()\n"),
                *(70, "the compiler (bcc) aborted (SIGABRT)"),
                id="abort",
            ),
        ],
    )
    def test_is_explained(self, tmp_path: Path, module: str, old: str, new: str, status: int, message: str) -> None:
        shutil.copytree("/opt/oomkilld/lib/oomkilld", tmp_path / "oomkilld", ignore=shutil.ignore_patterns("*.pyc"))
        target = tmp_path / "oomkilld" / module
        assert old in target.read_text()
        target.write_text(target.read_text().replace(old, new, 1))
        with file(SETTINGS, '[capture]\nlevel = "kprobe"\n'):
            result = run("python3", "-P", "-m", "oomkilld", PYTHONPATH=str(tmp_path))
        assert (result.returncode, message in result.stderr) == (status, True), result.stderr
        assert "report this" in result.stderr


SMALL = """
[capture]
ring_size = "4KiB"
[entry]
priority = "notice"
meminfo = ["MemFree", "Active(anon)", "NoSuchRow"]
"""


def test_kills_beyond_a_full_ring_are_found_in_the_kernel_log_and_settings_apply(here: live.Moment) -> None:
    with service_restored(), file(SETTINGS, SMALL):
        run("systemctl", "restart", "oomkilld")
        before, vmstat = live.settled_counts(), live.vmstat_kills()
        os.kill(live.main_pid(), signal.SIGSTOP)
        with live.cgroup("overflow", 4 * MIB) as where:
            pids = [live.kill_one(where).pid for _ in range(30)]
        with live.cgroup("group", 4 * MIB, group=True) as where:
            for hog in [where.start("sleep"), where.start("eat")]:
                assert live.killed(hog)
                pids.append(hog.pid)
        os.kill(live.main_pid(), signal.SIGCONT)
        live.wait_for("all entries", lambda: len(live.service_entries("kill", here)) >= 32, 150, journald_and_us)
        # Stored kills leave the ring: more kills than it holds fit, but not at once.
        with live.cgroup("later", 4 * MIB) as where:
            for _ in range(3):
                time.sleep(5)  # longer than sent records are kept
                # More than five, with their releases, might not fit.
                pids += [live.kill_one(where).pid for _ in range(5)]
        live.wait_for("last entries", lambda: len(live.service_entries("kill", here)) >= 47, 30)
        counts = live.settled_counts()
        entries = live.service_entries("kill", here)
        repeats, missing = counts.repeats - before.repeats, counts.missing - before.missing
        # The ring also had no room for the repeat of the group's chosen process: the log has it.
        assert (counts.kills - before.kills, repeats, missing) == (32 + 15, 1, 0)
        live.Books(len(entries), repeats, missing, live.vmstat_kills() - vmstat, 32 + 15).check()
        warnings = [e["MESSAGE"] for e in live.journal("-u", "oomkilld", "PRIORITY=4", here.after_cursor)]
    assert warnings == ["entry.meminfo: this kernel's /proc/meminfo has no row 'NoSuchRow', entries will lack it"]
    assert live.service_entries("missed", here) == []
    assert sorted(int(entry["OOM_VICTIM_TID"]) for entry in entries) == sorted(pids)
    found = [entry for entry in entries if entry["OOM_SOURCE"] == "kmsg"]
    print(f"{len(found)} of 32 had no room")
    assert 20 <= len(found) < 32
    assert {entry["PRIORITY"] for entry in entries} == {"5"}
    rows = {field for field in entries[0] if field.startswith("OOM_MEMINFO_")}
    assert rows == {"OOM_MEMINFO_MEMFREE_BYTES", "OOM_MEMINFO_ACTIVE_ANON_BYTES"}


@pytest.mark.only_in_full
def test_kills_in_a_ring_that_is_dropped_are_found_in_the_kernel_log(here: live.Moment) -> None:
    before, vmstat = live.settled_counts(), live.vmstat_kills()
    with service_restored(), file(SETTINGS, '[capture]\nring_size = "64KiB"\n'):
        os.kill(pid := live.main_pid(), signal.SIGSTOP)
        with live.cgroup("waiting", 4 * MIB) as where:
            pids = [live.kill_one(where).pid for _ in range(5)]
        os.kill(pid, signal.SIGKILL)
        live.wait_for("another run", lambda: live.main_pid() not in (0, pid), 60)
        live.wait_for("all entries", lambda: len(live.service_entries("kill", here)) >= 5, 150, journald_and_us)
        counts = live.settled_counts()
    entries = live.service_entries("kill", here)
    repeats, missing = counts.repeats - before.repeats, counts.missing - before.missing
    live.Books(len(entries), repeats, missing, live.vmstat_kills() - vmstat, 5).check()
    assert missing == 0
    assert sorted(int(entry["OOM_VICTIM_TID"]) for entry in entries) == sorted(pids)
    assert {entry["OOM_SOURCE"] for entry in entries} == {"kmsg"}
    # The next run had to look for them again, in the journal first; this one comes before it has.
    run("systemctl", "restart", "oomkilld")
    assert live.settled_counts() == counts
    assert live.service_entries("missed", here) == []
    assert len(live.service_entries("kill", here)) == 5


@contextmanager
def journald_stopped() -> Iterator[None]:
    # The last of these stops journald, too, which requires it. If journald were stopped first, messages that wait in
    # the sockets could start it again.
    sockets = ["systemd-journald-dev-log.socket", "systemd-journald-audit.socket", "systemd-journald.socket"]
    run("systemctl", "stop", *sockets)
    try:
        yield
    finally:
        run("systemctl", "start", *sockets, "systemd-journald.service")


@contextmanager
def journal_socket_missing() -> Iterator[None]:
    aside = JOURNAL_SOCKET.with_name("aside")
    JOURNAL_SOCKET.rename(aside)
    try:
        yield
    finally:
        aside.rename(JOURNAL_SOCKET)


@pytest.mark.parametrize(
    ("journal_away", "reason"),
    [(journald_stopped, "Connection refused"), (journal_socket_missing, f"{JOURNAL_SOCKET} is missing")],
)
def test_kills_while_the_journal_is_away_wait_for_it(
    here: live.Moment, journal_away: Callable[[], AbstractContextManager[None]], reason: str
) -> None:
    vmstat = live.vmstat_kills()
    with journal_away():
        with live.cgroup("away", 4 * MIB) as where:
            for _ in range(5):
                live.kill_one(where)

        def waiting() -> bool:
            return f"waiting for journald: {reason}" in live.show("oomkilld", "StatusText")

        live.wait_for("status that says so", waiting, 20, lambda: live.show("oomkilld", "StatusText"))
    live.wait_for("5 entries", lambda: len(live.service_entries("kill", here)) >= 5, 30, journald_and_us)
    entries = live.service_entries("kill", here)
    live.Books(len(entries), 0, 0, live.vmstat_kills() - vmstat, 5).check()
    assert live.service_entries("missed", here) == []


def said(here: live.Moment) -> list[str]:
    return [entry["MESSAGE"] for entry in live.journal("-u", "oomkilld", "PRIORITY=4", here.after_cursor)]


def test_entries_that_waited_for_a_killed_journald_are_not_sent_again(here: live.Moment) -> None:
    """Its queue outlives it, and the next journald reads it."""
    vmstat = live.vmstat_kills()
    run("systemctl", "kill", "--signal=SIGSTOP", "systemd-journald")
    with live.cgroup("dying", 4 * MIB) as where:
        for _ in range(20):
            live.kill_one(where)
    run("systemctl", "kill", "--signal=SIGKILL", "systemd-journald")
    live.wait_for("all entries", lambda: len(live.service_entries("kill", here)) >= 20, 60, journald_and_us)
    live.settled_counts()
    entries = live.service_entries("kill", here)
    live.Books(len(entries), 0, 0, live.vmstat_kills() - vmstat, 20).check()
    raw = live.journal("-u", "oomkilld", "_UID=0", "OOM_EVENT=kill", here.after_cursor)
    assert len(raw) == 20, "some were sent twice"
    assert [line for line in said(here) if "read back" in line] == []


@contextmanager
def journal_files_away(aside: Path) -> Iterator[None]:
    """Move away the files that journald has written until now."""
    run("journalctl", "--rotate")
    moved = [path for path in Path("/var/log/journal").glob("*/system@*") if path.rename(aside / path.name)]
    directory = moved[0].parent
    try:
        yield
    finally:
        for path in moved:
            (aside / path.name).rename(directory / path.name)


def test_entries_that_a_killed_journald_had_not_stored_are_sent_again(here: live.Moment) -> None:
    aside = Path(tempfile.mkdtemp(dir="/var/log", prefix="aside-"))
    time.sleep(5)  # nothing of earlier kills waits to be stored
    before = live.settled_counts().kills

    def sent() -> bool:
        counts = live.counts_in(live.show("oomkilld", "StatusText"))
        return counts is not None and counts.kills == before + 1

    def entries() -> list[live.Entry]:
        """Without a cursor: its entry may be among the files moved away."""
        wanted = "--output-fields=OOM_KILL_ID,OOM_VICTIM_PID,OOM_BOOTTIME_TIMESTAMP"  # of hundreds of entries
        found = live.journal(wanted, "-b", "-u", "oomkilld", "_UID=0", "OOM_EVENT=kill")
        return [entry for entry in found if int(entry["OOM_BOOTTIME_TIMESTAMP"]) >= here.boottime_usec]

    # The entry is sent, and then stored without the service noticing, however long that takes.
    run("systemctl", "kill", "--signal=SIGSTOP", "systemd-journald")
    with live.cgroup("lost", 4 * MIB) as where:
        victim = live.kill_one(where).pid
    live.wait_for("it to be sent", sent, 20)
    os.kill(live.main_pid(), signal.SIGSTOP)
    try:
        run("systemctl", "kill", "--signal=SIGCONT", "systemd-journald")
        live.wait_for("its entry", entries, 20)
        with journal_files_away(aside):
            run("systemctl", "restart", "systemd-journald")
            assert entries() == []
            os.kill(live.main_pid(), signal.SIGCONT)
            (again,) = live.wait_for("its entry again", entries, 60, journald_and_us)
    finally:
        os.kill(live.main_pid(), signal.SIGCONT)
    assert int(again["OOM_VICTIM_PID"]) == victim
    assert {entry["OOM_KILL_ID"] for entry in entries()} == {again["OOM_KILL_ID"]}
    aside.rmdir()
    line = "1 entry was missing from this service's journal (of the last 1), sent again"
    live.wait_for("it to be said", lambda: line in said(here), 20, lambda: "\n".join(said(here)))


def stop_with_an_entry_that_journald_has_not_read(kills_before: int) -> int:
    """Stop journald, record a kill, and stop the service at once. Returns the pid of the killed process."""

    def sent() -> bool:
        counts = live.counts_in(live.show("oomkilld", "StatusText"))
        return counts is not None and counts.kills == kills_before + 1

    run("systemctl", "kill", "--signal=SIGSTOP", "systemd-journald")
    with live.cgroup("unread", 4 * MIB) as where:
        victim = live.kill_one(where).pid
    live.wait_for("it to be sent", sent, 20)
    run("systemctl", "stop", "oomkilld")
    return victim


def entries_of_any_unit(here: live.Moment) -> list[live.Entry]:
    """journald does not know the unit of a process that has ended."""
    return live.journal("SYSLOG_IDENTIFIER=oomkilld", "_UID=0", "OOM_EVENT=kill", here.after_cursor)


@pytest.mark.only_in_full
def test_an_entry_that_a_stopped_run_sent_to_a_journald_that_died_is_searched_for(here: live.Moment) -> None:
    before, vmstat = live.settled_counts(), live.vmstat_kills()
    with service_restored(), drop_in_of("systemd-journald.service", "KillSignal=SIGKILL"):
        victim = stop_with_an_entry_that_journald_has_not_read(before.kills)
        with journald_stopped():
            pass  # its queue goes with its sockets
        assert entries_of_any_unit(here) == []
        run("systemctl", "start", "oomkilld")
        # Ten times the promised 15 s.
        (entry,) = live.wait_for("its entry", lambda: live.service_entries("kill", here), 150, live.service_journal)
        assert (int(entry["OOM_VICTIM_TID"]), entry["OOM_SOURCE"]) == (victim, "kmsg")
        late = (int(entry["__REALTIME_TIMESTAMP"]) - int(entry["OOM_TIMESTAMP"])) / 1e6
        print(f"recorded {late:.1f} s after the kill")
        counts = live.settled_counts()
    assert counts == before._replace(kills=before.kills + 1)
    assert any(line.startswith("the journal lacks 1 entry of an earlier run (of the last 1)") for line in said(here))
    live.Books(1, 0, 0, live.vmstat_kills() - vmstat, 1).check()


def test_an_entry_that_journald_reads_only_after_the_next_start_is_not_searched_for(here: live.Moment) -> None:
    before, vmstat = live.settled_counts(), live.vmstat_kills()

    with service_restored():
        try:
            victim = stop_with_an_entry_that_journald_has_not_read(before.kills)
            run("systemctl", "start", "oomkilld")
            time.sleep(10)  # the service must wait meanwhile
        finally:
            run("systemctl", "kill", "--signal=SIGCONT", "systemd-journald")
        live.wait_for("its entry", lambda: entries_of_any_unit(here), 60, journald_and_us)
        time.sleep(10)  # and no second entry may come
        assert live.settled_counts() == before._replace(kills=before.kills + 1)
    assert [line for line in said(here) if "of an earlier run" in line] == []
    (entry,) = entries_of_any_unit(here)
    assert (int(entry["OOM_VICTIM_PID"]), entry["OOM_SOURCE"]) == (victim, live.level())
    live.Books(1, 0, 0, live.vmstat_kills() - vmstat, 1).check()


def test_a_hanging_journald_with_a_full_queue_does_not_block_the_service(here: live.Moment) -> None:
    vmstat = live.vmstat_kills()
    run("systemctl", "kill", "--signal=SIGSTOP", "systemd-journald")
    try:
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        # journald's queue must become full, not this socket's own buffer.
        other.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
        with other, suppress(BlockingIOError):
            while True:
                other.sendto(b"MESSAGE=filling the queue\n", str(JOURNAL_SOCKET))
        with live.cgroup("hanging", 4 * MIB) as where:
            for _ in range(5):
                live.kill_one(where)

        def waiting() -> bool:
            return "waiting for journald: its queue is full" in live.show("oomkilld", "StatusText")

        live.wait_for("status that says so", waiting, 20, lambda: live.show("oomkilld", "StatusText"))
    finally:
        run("systemctl", "kill", "--signal=SIGCONT", "systemd-journald")
    live.wait_for("5 entries", lambda: len(live.service_entries("kill", here)) >= 5, 30, journald_and_us)
    entries = live.service_entries("kill", here)
    live.Books(len(entries), 0, 0, live.vmstat_kills() - vmstat, 5).check()
