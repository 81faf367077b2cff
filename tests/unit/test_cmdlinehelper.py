# SPDX-License-Identifier: Apache-2.0
"""The helper that reads command lines: what it answers, and that it can always be killed."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.host.procfs import ProcReader
from oomkilld.record.cmdline.helper import Helper, HelperGone
from oomkilld.record.kill import CommandLine
from tests.support.live import wait_for

STAT = b"4242 (a) R (\n) S 1 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 1551572 2318336 0\n"
START = 1551572


def answer(helper: Helper) -> CommandLine | None:
    assert select.select([helper.fileno()], [], [], 10)[0], "no answer"
    return helper.answer()


def get_rid_of(helper: Helper) -> None:
    helper.kill()
    wait_for("its end", helper.reaped, 10)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A /proc with one process."""
    process = tmp_path / "4242"
    process.mkdir()
    (process / "stat").write_bytes(STAT)
    (process / "cmdline").write_bytes(b"a\0-b\0")
    return tmp_path


@pytest.fixture
def helper(tree: Path) -> Iterator[Helper]:
    made = Helper(ProcReader(str(tree)))
    yield made
    get_rid_of(made)


def test_it_reads_the_command_line_of_the_right_process(helper: Helper) -> None:
    helper.ask(4242, START)
    assert answer(helper) == (b"a\0-b\0", False)


@pytest.mark.parametrize(("pid", "start"), [(4242, START + 1), (4242, START - 1), (1, START)])
def test_it_answers_nothing_about_another_process(helper: Helper, pid: int, start: int) -> None:
    helper.ask(pid, start)
    assert answer(helper) is None


@pytest.mark.parametrize(
    ("length", "told", "cut"), [(0, 0, False), (4095, 4095, False), (4096, 4096, True), (2 << 20, 4096, True)]
)
def test_its_answer_is_bounded(tree: Path, helper: Helper, length: int, told: int, cut: bool) -> None:
    (tree / "4242/cmdline").write_bytes(b"x" * length)
    helper.ask(4242, START)
    assert answer(helper) == ((b"x" * told, cut) if told else None)


def test_before_it_answers_asking_does_not_block_and_it_can_be_killed(tree: Path, helper: Helper) -> None:
    (tree / "4242/cmdline").unlink()
    os.mkfifo(tree / "4242/cmdline")  # nobody ever writes
    helper.ask(4242, START)
    with pytest.raises(BlockingIOError):
        helper.answer()


def test_its_death_is_noticed(helper: Helper) -> None:
    os.kill(helper.pid, 9)
    with pytest.raises(HelperGone):
        answer(helper)
    with pytest.raises(HelperGone):
        helper.ask(4242, START)


def test_it_holds_no_file_but_its_socket_and_ignores_sigterm(tree: Path) -> None:
    with (tree / "lock").open("w"):
        made = Helper(ProcReader(str(tree)))
        made.ask(4242, START)
        assert answer(made)  # it has started
        files = os.listdir(f"/proc/{made.pid}/fd")
        os.kill(made.pid, 15)
        made.ask(4242, START)
        assert answer(made)
        get_rid_of(made)
    assert len(files) == 1


PARENT = """
import sys, time
from oomkilld.record.cmdline.helper import Helper
from oomkilld.host.procfs import ProcReader
helper = Helper(ProcReader())
print(helper.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_the_service() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as output:
        pid = int(output.readline())
    parent.kill()
    parent.wait()

    def gone() -> bool:
        try:
            return ProcReader().process_stat(pid).state in "ZX"
        except OSError:
            return True

    wait_for("its end", gone, 10)


def test_it_reads_the_arguments_of_a_real_process() -> None:
    child = subprocess.Popen(["sleep", "60"])
    made = Helper(ProcReader())
    made.ask(child.pid, ProcReader().process_stat(child.pid).start_ticks)
    assert answer(made) == (b"sleep\x0060\0", False)
    child.kill()
    time.sleep(0.05)
    made.ask(child.pid, ProcReader().process_stat(child.pid).start_ticks)
    assert answer(made) is None  # a zombie has no memory
    child.wait()
    get_rid_of(made)
