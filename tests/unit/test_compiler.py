# SPDX-License-Identifier: Apache-2.0
"""The compiler's child process: the service survives whatever happens to it, and the child outlives nobody."""

import errno
import faulthandler
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from oomkilld.arm import compiler
from oomkilld.arm.armed import Armed
from oomkilld.arm.keptprogram import Unusable
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoPrivilege, NoRoom, OomkilldError

ROOT = Path(__file__).parents[2]
JOB = compiler.Job("/nonexistent", 4096, "kprobe", cmdline=False)
Work = Callable[[compiler.Jobs], tuple[compiler._Verdict, list[int]]]


def run_child(work: Work) -> Armed:
    made = compiler.Compiler(work)
    try:
        made.prepare(JOB)
        return made.arm(JOB)
    finally:
        made.close()


def aborts(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    faulthandler.disable()  # pytest's, which would not run in clang's abort
    os.write(1, b"Assertion `Ctx' failed.\n")
    os.abort()


def is_killed(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    os.kill(os.getpid(), 9)
    raise AssertionError


def raises(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    raise RuntimeError("unforeseen")


def lacks(error: Exception) -> Work:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        raise error

    return work


def runs_out(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    faulthandler.disable()
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n")
    os.abort()


def fails(step: str, number: int = 0) -> Work:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        os.write(2, b"words of the verifier\n\x1b[2J")
        return compiler._Verdict(step, "kprobe on mark_oom_victim", "detail", number), []

    return work


@pytest.mark.parametrize(
    ("work", "kind", "message", "hint"),
    [
        (aborts, CaptureBroken, "aborted (SIGABRT)", "  bcc: Assertion `Ctx' failed."),
        (is_killed, NoRoom, "was killed (SIGKILL), most likely due to lack of memory", "160 MB"),
        (raises, CaptureBroken, "ended with status 1", "  bcc: RuntimeError: unforeseen"),
        (lacks(MemoryError()), NoRoom, "ran out of resources: MemoryError", "MemoryMax="),
        (lacks(OSError(errno.ENFILE, os.strerror(errno.ENFILE))), NoRoom, "Too many open files in system", "160 MB"),
        (lacks(ImportError("libx.so: failed to map segment from shared object")), NoRoom, "libx.so", "LimitAS="),
        (runs_out, NoRoom, "ran out of resources: what():  std::bad_alloc", "160 MB"),
        (fails("import"), CaptureUnavailable, "Failed to import bcc: kprobe on mark_oom_victim", "python3-bpfcc"),
        (
            fails("compile"),
            CaptureBroken,
            "bcc failed to compile or set up kprobe on mark_oom_victim",
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
            "no resources for the probe (kprobe on mark_oom_victim: Cannot allocate memory)",
            "systemd restarts",
        ),
        (
            fails("attach", errno.EMFILE),
            NoRoom,
            "no resources for the probe (kprobe on mark_oom_victim: Too many open files)",
            "systemd restarts",
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
def test_every_failure_of_the_compiler_is_survived_and_reported(
    work: Work, kind: type[OomkilldError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        run_child(work)
    assert message in caught.value.message
    assert hint in caught.value.hint


# In the form of kernel/bpf/verifier.c and log.c, with addresses of each kind that the program loads.
VERIFIER_LOGS = {
    "5.10": """\
func#0 @0
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; bpf_probe_read_kernel(&count, sizeof(count), (void *)0xffffffff9c0e2b40ULL)
0: (18) r3 = 0xffffffff9c0e2b40
2: R1=ctx(id=0,off=0,imm=0) R3_w=inv-1676792000 R10=fp0
2: (b7) r2 = -1676792000
from 2 to 4: R0=inv(id=0,umin_value=18446744072032759616,var_off=(0xffffffff9c0e2b40; 0x3f)) R10=fp0
last_idx 4 first_idx 0
regs=8 stack=0 before 3: (b7) r1 = 8
math between fp pointer and -1676792000 is not allowed
R3 invalid mem access 'inv'
processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
    "6.12": """\
reg type unsupported for arg#0 function on_mark#31
0: R1=ctx() R10=fp0
0: (18) r3 = 0xffff888100c0ffee       ; R3_w=0xffff888100c0ffee
2: (16) if w0 == 0xc0ffee00 goto pc+1   ; R0=scalar(smin=-121927571996690,smax32=0x9c0e2b40,u32_min=2618174784)
frame1: R6_w=0xffff888100c0ffee R10=fp0 fp-8_w=0xffff888100c0ffee
mark_precise: frame0: regs=r3 stack= before 3: (b7) r1 = 8
R3 invalid mem access 'scalar'
dereference of modified scalar ptr R3 off=-121927571996690 disallowed
processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
    "oops": """\
warning: in expansion of ADDRESS_vm_zone_stat: 0xFFFF800081A2B3C4ULL
#define ADDRESS_avenrun ffffffff9c0e2b40ULL
map 00000000deadbeef at 0x9c0e2b40 and 0xffffffff
""",
}
SAYS_WHY = {
    "5.10": [
        "math between fp pointer and -(hidden) is not allowed",
        "R3 invalid mem access 'inv'",
        "processed 4 insns",
    ],
    "6.12": ["R3 invalid mem access 'scalar'", "processed 5 insns (limit 1000000)", "on_mark#31"],
    "oops": ["in expansion of ADDRESS_vm_zone_stat: 0x(hidden)ULL"],
}
# The addresses, also in the other forms that a log has them in, whole or by halves.
LEAKS = re.compile(
    r"9c0e2b40|ffffffff|888100c0ffee|c0ffee00|800081A2B3C4|deadbeef|1676792000|18446744072032759616|121927571996690"
    r"|2618174784",
    re.IGNORECASE,
)


@pytest.mark.parametrize("kernel", VERIFIER_LOGS)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_compilers_messages_show_the_reason_and_no_kernel_address(kernel: str) -> None:
    log = VERIFIER_LOGS[kernel]
    assert LEAKS.search(log)

    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        os.write(2, log.encode())
        return compiler._Verdict("load", "kprobe on mark_oom_victim", f"x {log}"), []

    with pytest.raises(CaptureBroken) as caught:
        run_child(work)
    shown = caught.value.hint
    assert not LEAKS.search(shown), shown
    assert [line for line in SAYS_WHY[kernel] if line not in shown] == []
    assert "R10=fp0" not in shown


@pytest.mark.parametrize("kernel", VERIFIER_LOGS)
def test_wherever_messages_are_cut_no_part_of_an_address_remains(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    log = VERIFIER_LOGS[kernel]
    for size in range(1, len(log)):
        monkeypatch.setattr(compiler, "_OUTPUT_BYTES", size)
        shown = compiler._quoted(compiler._tail(io.BytesIO(log.encode())))
        assert not re.search(r"\b\w{0,7}(?:2b40|ffee|B3C4|beef|6792000|6996690)", shown), shown


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("why_no_program", ["", "bcc has changed"])
def test_file_descriptors_and_the_program_outlive_the_child(why_no_program: str) -> None:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        made = []
        for content in (b"ring", b"counters", b"probe", b"other", *([] if why_no_program else [b"program"])):
            fd = os.memfd_create("x")
            os.pwrite(fd, content, 0)
            made.append(fd)
        return compiler._Verdict(None, detail=why_no_program), made

    armed = run_child(work)
    fds = [armed.ring, armed.counters, *armed.probes]
    if why_no_program:
        with pytest.raises(Unusable, match=why_no_program):
            armed.compiled()
    else:
        assert armed.compiled() == b"program"
    assert not [fd for fd in fds if os.get_inheritable(fd)]
    assert [os.pread(fd, 10, 0) for fd in fds] == [b"ring", b"counters", b"probe", b"other"]
    for fd in fds:
        os.close(fd)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_it_arms_the_requested_level_even_if_another_was_prepared() -> None:
    def work(jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        seen = [(job.level, attach) for job, attach in jobs]
        return compiler._Verdict("compile", str(seen)), []

    made = compiler.Compiler(work)
    made.prepare(JOB)
    with pytest.raises(CaptureBroken, match=r"\[\('kprobe', False\), \('fentry', True\)\]"):
        made.arm(JOB._replace(level="fentry"))
    # After a failure, the next level gets a new child, for which nothing was prepared.
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
def test_a_child_that_does_not_finish_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_SECONDS", 0.2)

    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        time.sleep(60)
        raise AssertionError

    with pytest.raises(CaptureBroken, match="did not finish within 0 s"):
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
                with suppress(FileNotFoundError):  # the child closed it meanwhile
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
