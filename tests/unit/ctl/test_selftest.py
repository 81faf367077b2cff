# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl selftest`` without a kill: the layer host makes one."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomkilld.testkill.failure import TrialFailed
from oomkilld.testkill.interrupts import Interrupts
from oomkilld.testkill.victim import Victim, kill_one_in_scope
from tests.support.journals import write
from tests.unit.ctl.samples import AT_USEC, PYTHON, SECOND, environment_of, kill
from tests.unit.ctl.test_check import as_nobody, needs_root

NAME = "oomtest-4242"


@needs_root
def test_without_root_it_refuses_and_kills_nothing() -> None:
    ran = as_nobody("-m", "oomkilld.ctl", "selftest")
    assert (ran.status, ran.out) == (4, "")
    assert ran.err == (
        "oomkillctl: only root may let the kernel kill a process in a cgroup of its own\noomkillctl: use sudo\n"
    )


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield Interrupts()
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def counting(*counts: int) -> Callable[[], int]:
    """The kernel's count, one reading after the other; the last one stays."""
    left = [*counts]
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def systemd_run(directory: Path, does: str) -> str:
    """A program that writes down its arguments, a line for each start, and ends as the process in the scope would."""
    program = directory / "systemd-run"
    noting = f'echo "$@" | tr "\\n" " " >> {directory}/starts; echo >> {directory}/starts'
    program.write_text(f"#!/bin/sh\n{noting}\n{does}\n")
    program.chmod(0o755)
    return str(program)


def starts(directory: Path) -> list[str]:
    return (directory / "starts").read_text().splitlines()


def test_the_process_is_alone_in_a_scope_with_a_limit(tmp_path: Path, interrupts: Interrupts) -> None:
    began = time.time()
    program = systemd_run(tmp_path, "kill -KILL $$")
    killed = kill_one_in_scope(NAME, interrupts, program, counting(7, 8))
    assert isinstance(killed, Victim)
    assert killed.name == NAME
    assert killed.pid > 1
    assert began <= killed.killed_at <= time.time()
    (start,) = starts(tmp_path)
    for word in ("--scope", "--collect", "--property=MemoryMax=31457280", "--property=MemorySwapMax=0"):
        assert f" {word} " in f" {start} "
    assert f"--unit={NAME}-0.scope /usr/bin/python3 -I -S -c" in start
    assert start.split()[-2:] == ["/dev/null", NAME]


def test_a_process_that_was_refused_memory_or_killed_by_another_is_followed_by_the_next(
    tmp_path: Path, interrupts: Interrupts
) -> None:
    program = systemd_run(tmp_path, f"[ $(wc -l < {tmp_path}/starts) = 1 ] && exit 3; kill -KILL $$")
    # Nobody counted the second one.
    killed = kill_one_in_scope(NAME, interrupts, program, counting(7, 7, 7, 7, 8))
    assert isinstance(killed, Victim)
    assert [start.split("--unit=")[1].split()[0] for start in starts(tmp_path)] == [
        f"{NAME}-{attempt}.scope" for attempt in range(3)
    ]
    (tmp_path / "starts").unlink()
    with pytest.raises(TrialFailed, match=r"the kernel killed none of 10 processes; the last one ended with status -9"):
        kill_one_in_scope(NAME, interrupts, systemd_run(tmp_path, "kill -KILL $$"), counting(8))
    assert len(starts(tmp_path)) == 10


@pytest.mark.parametrize("ends", ["exit 0", "exit 1"], ids=["the limit is not in force", "no bus"])
def test_where_systemd_limits_nothing_there_is_no_scope(tmp_path: Path, interrupts: Interrupts, ends: str) -> None:
    assert kill_one_in_scope(NAME, interrupts, systemd_run(tmp_path, ends), counting(1, 2)) is None
    assert len(starts(tmp_path)) == 1


AWAITED = """
import sys, time
from argparse import Namespace
from oomkilld.ctl.selftest import awaited, said
from oomkilld.ctl.source import Source
from oomkilld.testkill.victim import Victim
name, killed_at, seconds, file = sys.argv[1:]
source = Source(Namespace(directory=None, file=[file], merge=False, root=None))
def sleep(seconds):
    print("waiting", flush=True)
    time.sleep(seconds)
found = awaited(Victim(name, 1, float(killed_at)), source, float(seconds), sleep)
print("none" if found is None else said(found, float(killed_at) + 0.0384))
"""


def awaiting(file: Path, seconds: float) -> "subprocess.Popen[str]":
    words = [NAME, str(AT_USEC / SECOND), str(seconds), str(file)]
    return subprocess.Popen(
        [PYTHON, "-c", AWAITED, *words], env=environment_of(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_entry_is_awaited_although_there_is_no_journal_yet(tmp_path: Path) -> None:
    file = tmp_path / "system.journal"
    waiting = awaiting(file, 30)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waiting\n"
    written = tmp_path / "new" / file.name
    write(
        written,
        [
            kill(1, -7000, OOM_VICTIM_COMM=NAME),
            kill(2, 0, OOM_VICTIM_COMM=NAME, _UID="1000"),
            kill(3, 0, OOM_VICTIM_COMM="oomtest-1"),
            kill(4, 0, OOM_VICTIM_COMM=NAME, OOM_SOURCE="tracepoint", MESSAGE="Out of memory in \x1b[31m\u202e"),
        ],
    )
    written.rename(file)
    out, err = waiting.communicate(timeout=30)
    said = "recorded: readable 38 ms after the kill, level tracepoint: Out of memory in \\x1b[31m\\xe2\\x80\\xae"
    assert out.splitlines()[-1] == said
    assert err == ""


def test_a_kill_without_an_entry_is_reported_after_a_while(tmp_path: Path) -> None:
    file = write(tmp_path / "system.journal", [kill(1, -7000, OOM_VICTIM_COMM=NAME), kill(2, 0)])
    out, err = awaiting(file, 0.2).communicate(timeout=30)
    assert set(out.splitlines()) == {"waiting", "none"}
    assert err == ""
