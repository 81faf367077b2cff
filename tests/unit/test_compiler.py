# SPDX-License-Identifier: Apache-2.0
"""The compiler's child process: whatever happens to it is survived, and it outlives nobody."""

import errno
import faulthandler
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from oomkilld.arm import compiler
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoPrivilege, NoRoom, OomkilldError

ROOT = Path(__file__).parents[2]
JOB = compiler.Job("/nonexistent", 4096, "kprobe", cmdline=False)
Work = Callable[[compiler.Jobs], tuple[compiler._Verdict, list[int]]]


def run_child(work: Work) -> compiler.Armed:
    made = compiler.Compiler(work)
    try:
        made.prepare(JOB)
        return made.arm(JOB)
    finally:
        made.close()


def aborts(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    faulthandler.disable()  # pytest's, which clang's abort has not
    os.write(1, b"Assertion `Ctx' failed.\n")
    os.abort()


def is_killed(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    os.kill(os.getpid(), 9)
    raise AssertionError


def raises(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    raise RuntimeError("unforeseen")


def fails(step: str, number: int = 0) -> Work:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        os.write(2, b"words of the verifier\n\x1b[2J")
        return compiler._Verdict(step, "kprobe on mark_oom_victim", "detail", number), []

    return work


@pytest.mark.parametrize(
    ("work", "kind", "message", "hint"),
    [
        (aborts, CaptureBroken, "aborted (SIGABRT)", "  bcc: Assertion `Ctx' failed."),
        (is_killed, NoRoom, "was killed (SIGKILL), most likely for want of memory", "160 MB"),
        (raises, CaptureBroken, "ended with status 1", "  bcc: RuntimeError: unforeseen"),
        (fails("import"), CaptureUnavailable, "bcc cannot be imported: kprobe on mark_oom_victim", "python3-bpfcc"),
        (
            fails("compile"),
            CaptureBroken,
            "bcc cannot compile or set up kprobe on mark_oom_victim",
            "  bcc: words of the verifier",
        ),
        (
            fails("load"),
            CaptureBroken,
            "verifier refused the program for a kprobe on mark_oom_victim",
            "  bcc: words of the verifier",
        ),
        (
            fails("load", errno.ENOMEM),
            NoRoom,
            "no room for the probe (kprobe on mark_oom_victim: Cannot allocate memory)",
            "tried again",
        ),
        (
            fails("attach", errno.EMFILE),
            NoRoom,
            "no room for the probe (kprobe on mark_oom_victim: Too many open files)",
            "tried again",
        ),
        (
            fails("load", errno.EPERM),
            NoPrivilege,
            "forbids the probe (kprobe on mark_oom_victim: Operation not permitted)",
            "sandbox",
        ),
        (
            fails("attach", errno.EACCES),
            NoPrivilege,
            "forbids the probe (kprobe on mark_oom_victim: Permission denied)",
            "sandbox",
        ),
        (
            fails("load", errno.EACCES),
            CaptureBroken,
            "verifier refused the program for a kprobe on mark_oom_victim",
            "report this",
        ),
        (
            fails("attach"),
            CaptureUnavailable,
            "refused to attach kprobe on mark_oom_victim",
            "  bcc:  [2J\n  bcc: detail",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_whatever_happens_to_the_compiler_is_survived_and_said(
    work: Work, kind: type[OomkilldError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        run_child(work)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_file_descriptors_outlive_the_child() -> None:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        made = []
        for content in (b"ring", b"counters", b"probe", b"other"):
            fd = os.memfd_create("x")
            os.write(fd, content)
            made.append(fd)
        return compiler._Verdict(None), made

    armed = run_child(work)
    fds = [armed.ring, armed.counters, *armed.probes]
    assert not [fd for fd in fds if os.get_inheritable(fd)]
    assert [os.pread(fd, 10, 0) for fd in fds] == [b"ring", b"counters", b"probe", b"other"]
    for fd in fds:
        os.close(fd)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_is_asked_for_is_armed_also_when_something_else_was_prepared() -> None:
    def work(jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        seen = [(job.level, attach) for job, attach in jobs]
        return compiler._Verdict("compile", str(seen)), []

    made = compiler.Compiler(work)
    made.prepare(JOB)
    with pytest.raises(CaptureBroken, match=r"\[\('kprobe', False\), \('fentry', True\)\]"):
        made.arm(JOB._replace(level="fentry"))
    # After a failure the next level has a child of its own, which nothing was prepared for.
    with pytest.raises(CaptureBroken, match=r"\[\('tracepoint', True\)\]"):
        made.arm(JOB._replace(level="tracepoint"))
    made.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_not_needed_is_ended() -> None:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        time.sleep(60)
        raise AssertionError

    started = time.monotonic()
    made = compiler.Compiler(work)
    made.prepare(JOB)
    made.close()
    made.close()
    assert time.monotonic() - started < 30


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_comes_to_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_SECONDS", 0.2)

    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        time.sleep(60)
        raise AssertionError

    with pytest.raises(CaptureBroken, match="came to no end within 0 s"):
        run_child(work)


KILLED_WHILE_ARMING = """
import os, time
from oomkilld.arm.compiler import Compiler
lock = os.open("/dev/zero", os.O_RDONLY)
print(Compiler(lambda jobs: time.sleep(60))._pid, flush=True)
time.sleep(60)
"""


def test_a_child_has_no_file_but_its_socket_and_ends_with_the_service() -> None:
    command = [sys.executable, "-c", KILLED_WHILE_ARMING]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        child = Path("/proc", service.stdout.readline().strip())

        def files() -> list[str]:
            found = []
            for path in (child / "fd").iterdir():
                with suppress(FileNotFoundError):  # closed by it meanwhile
                    found.append(os.readlink(path).partition(":")[0])
            return sorted(found)

        wait(lambda: len(files()) == 4)
        assert files() == ["/dev/null", "/memfd", "/memfd", "socket"]
        service.kill()
        service.wait()
        wait(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text())


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
