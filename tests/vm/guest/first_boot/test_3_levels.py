# SPDX-License-Identifier: Apache-2.0
"""The capture levels below the best: taken if a better one does not work, reported, and what they record."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.service.daemon import Unit
from tests.support import live
from tests.vm.guest.kills import (
    LIMIT,
    assert_as_the_kernel_says,
    group_kill,
    kills_after,
    unprinted,
    wait_until_headers_are_counted,
)
from tests.vm.guest.service import SETTINGS, drop_in, file, run, service_restored

TRY_COPY = "ExecStart=/usr/bin/python3 -P -m oomkilld"


def level_changes(here: live.Moment) -> list[tuple[str, str]]:
    return [(entry["OOM_LEVEL_FROM"], entry["OOM_LEVEL_TO"]) for entry in live.service_entries("level", here)]


def kill_fields(here: live.Moment) -> set[str]:
    """The field names of one kill at the current level, checked against the kernel's line."""
    with live.cgroup("level", LIMIT) as where:
        victim = live.kill_one(where, "uid=65534", "threads=4")
        (entry,) = kills_after(here, 1, live.level())
    assert int(entry["OOM_VICTIM_PID"]) == int(entry["OOM_TRIGGER_PID"]) == victim.pid
    (line,) = live.kernel_lines(here)
    assert_as_the_kernel_says(entry, line)
    return {name for name in entry if name.startswith("OOM_")}


@pytest.fixture(scope="module")
def fields_of_kprobe() -> set[str]:
    assert live.level() == "kprobe"
    return kill_fields(live.now())


def test_if_perf_refuses_kprobes_fentry_records_the_same(here: live.Moment, fields_of_kprobe: set[str]) -> None:
    less = "CapabilityBoundingSet=CAP_BPF CAP_PERFMON CAP_SYSLOG"
    why = "not kprobe: no privilege to attach kprobes: CAP_SYS_ADMIN missing"
    with service_restored(), drop_in("CapabilityBoundingSet=", less):
        run("systemctl", "restart", "oomkilld")
        assert live.level() == "fentry"
        assert why not in live.show("oomkilld", "StatusText")
        assert kill_fields(live.now()) == fields_of_kprobe
    changes = live.service_entries("level", here)
    assert level_changes(here) == [("kprobe", "fentry"), ("fentry", "kprobe")]
    assert [entry["PRIORITY"] for entry in changes] == ["4", "5"]
    assert changes[0]["MESSAGE"] == f"OOM kills are recorded at level fentry instead of kprobe ({why})"


@pytest.mark.only_in_full
def test_a_group_kill_at_level_fentry(here: live.Moment) -> None:
    with service_restored(), file(SETTINGS, '[capture]\nlevel = "fentry"\n'):
        run("systemctl", "restart", "oomkilld")
        entries = group_kill(live.now(), "fentry")
        assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1
    assert level_changes(here) == [("kprobe", "fentry"), ("fentry", "kprobe")]


@contextmanager
def at_level_tracepoint() -> Iterator[None]:
    with service_restored(), file(SETTINGS, '[capture]\nlevel = "tracepoint"\n'):
        run("systemctl", "restart", "oomkilld")
        assert live.level() == "tracepoint"
        yield


def test_at_level_tracepoint_the_decision_has_what_the_kernel_prints(
    here: live.Moment, fields_of_kprobe: set[str]
) -> None:
    with at_level_tracepoint():
        assert kill_fields(live.now()) == fields_of_kprobe - unprinted(fields_of_kprobe)
        wait_until_headers_are_counted()
        entries = group_kill(live.now(), "tracepoint")
        assert len({entry["OOM_DECISION_ID"] for entry in entries}) == 1
        assert {entry["OOM_DOMAIN_CGROUP"].rpartition("/")[2] for entry in entries} == {"group"}
    assert level_changes(here) == [("kprobe", "tracepoint"), ("tracepoint", "kprobe")]


def test_at_level_tracepoint_a_kill_during_a_downtime_gets_its_lines() -> None:
    with at_level_tracepoint(), drop_in("RestartSec=5"), live.cgroup("down", LIMIT) as where:
        down, pid = live.now(), live.main_pid()
        os.kill(pid, signal.SIGKILL)
        live.kill_one(where)
        assert live.show("oomkilld", "SubState") == "auto-restart"
        Unit().wait_for_the_run_after(pid)
        (entry,) = kills_after(down, 1, "tracepoint")
    assert entry["OOM_DOMAIN_CGROUP"].endswith("/down")
    assert int(entry["OOM_DOMAIN_LIMIT_BYTES"]) == LIMIT


@pytest.fixture
def copy() -> Iterator[Path]:
    """A copy of the program in a place that the service sees: it has a private /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/lib") as made:
        shutil.copytree("/opt/oomkilld/lib/oomkilld", f"{made}/oomkilld", ignore=shutil.ignore_patterns("*.pyc"))
        yield Path(made)


@pytest.mark.only_in_full
def test_a_level_that_fails_when_tried_makes_way_for_the_next(here: live.Moment, copy: Path) -> None:
    program = copy / "oomkilld/arm/bpf/oomkill.bpf.c"
    # The verifier refuses this, and only in programs that see a decision.
    program.write_text(program.read_text().replace("draft->owner = 0;\n\treturn 0", "return *(int *)owner", 1))
    with service_restored(), drop_in(f"Environment=PYTHONPATH={copy}", "ExecStart=", TRY_COPY):
        run("systemctl", "restart", "oomkilld")
        assert live.level() == "tracepoint"
        (change,) = live.service_entries("level", here)
        assert change["MESSAGE"] == (
            "OOM kills are recorded at level tracepoint instead of kprobe "
            "(not kprobe: the kernel's verifier refused the program for a kretprobe on oom_kill_process; "
            "not fentry: the kernel's verifier refused the program for a fexit on oom_kill_process)"
        )
        kill_fields(live.now())


CEILING = Path("/run/oomkilld/level")
NOW = "draft->record.kill_boottime_ns = bpf_ktime_get_boot_ns();"
FUTURE = f"{NOW}\n#ifdef LEVEL_kprobe\n\tdraft->record.kill_boottime_ns *= 2;\n#endif"


def at_fentry() -> bool:
    return live.show("oomkilld", "StatusText").startswith("Level fentry: ")


@pytest.mark.only_in_full
def test_impossible_records_get_no_entry_and_three_of_them_step_down_a_level(here: live.Moment, copy: Path) -> None:
    program = copy / "oomkilld/arm/bpf/oomkill.bpf.c"
    text = program.read_text()
    assert NOW in text
    program.write_text(text.replace(NOW, FUTURE))
    vmstat = live.vmstat_kills()
    try:
        with service_restored(), drop_in(f"Environment=PYTHONPATH={copy}", "ExecStart=", TRY_COPY):
            run("systemctl", "restart", "oomkilld")
            assert live.level() == "kprobe"
            with live.cgroup("drift", LIMIT) as where:
                for _ in range(3):
                    live.kill_one(where)
            # The service reports and counts before it exits.
            live.wait_for("level below", at_fentry, 180, live.service_journal)
            missed = live.service_entries("missed", here)
            assert {entry["OOM_MISSED_REASON"] for entry in missed} == {"record-rejected"}
            live.Books(0, 0, sum(int(entry["OOM_MISSED"]) for entry in missed), live.vmstat_kills() - vmstat, 3).check()
            assert live.service_entries("kill", here) == []
            # The level below records correctly.
            kill_fields(live.now())
            assert CEILING.read_text() == "fentry 3 impossible records within an hour\n"
            change = live.service_entries("level", here)[-1]
            assert "kprobe: set aside in this boot: 3 impossible records within an hour" in change["MESSAGE"]
    finally:
        CEILING.unlink(missing_ok=True)
        run("systemctl", "restart", "oomkilld")
