# SPDX-License-Identifier: Apache-2.0
"""Runs the compiler in a child process and takes the file descriptors from it.

clang inside bcc may abort the process on an assertion, and writes to fd 1 and 2 from C++. In a child, both do no harm:
the service can report the abort, and its own output stays clean. Also, the child loads and compiles while the service
itself imports pydantic, which takes about as long.
"""

import ctypes
import errno
import json
import os
import re
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from oomkilld.arm.armed import Armed
from oomkilld.arm.pagecache import give_back, mapped_files
from oomkilld.errors import (
    NO_ROOM,
    CaptureBroken,
    CaptureUnavailable,
    NoPrivilege,
    NoRoom,
    OomkilldError,
    no_room,
    says_no_room,
)

_OUTPUT_BYTES = 4000
_MESSAGE_BYTES = 65536
_MAX_FDS = 16
# Less than TimeoutStartSec= of the unit. Arming takes seconds; on a slow machine short of memory, perhaps a minute.
_SECONDS = 240.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# By step: the errors that mean a missing privilege. The step "compile" also makes the maps. For "load", EACCES comes
# from the verifier.
_FORBIDDEN = {"compile": (errno.EPERM,), "load": (errno.EPERM,), "attach": (errno.EPERM, errno.EACCES)}
# Lines of the verifier's log with instructions and register states. The remaining lines say why it refused the program.
_DUMP = re.compile(
    r"\s*(\d+: |from \d+ to \d+|(frame ?\d+: ?)?(R\d+\w*=|fp-\d+\w*=)|;|(mark_precise|last_idx|regs=|parent ))"
)
# A kernel address has 16 hexadecimal digits, half of one has 8, and a decimal one has more. Other useful numbers are
# shorter: a program has at most a million instructions.
_ADDRESS = re.compile(r"[0-9A-Fa-f]{8,}")


class _Verdict(NamedTuple):
    """The report of the child: a failed step; None: success, and the file descriptors come with the report.

    The last of them has what was compiled, see Program.dump(); if there is no such file, ``detail`` says why.
    """

    failed_step: str | None
    what: str = ""
    detail: str = ""
    errno: int = 0


class Job(NamedTuple):
    """A build job: the header tree, the size of the ring, the name of the level, whether to read command lines.

    ``lacking``: functions that the kernel lacks; their hooks are left out. ``addresses``: of headers.ADDRESSES.
    """

    headers: str
    ring_bytes: int
    level: str
    cmdline: bool
    lacking: tuple[str, ...] = ()
    addresses: tuple[int, ...] = ()


# Each job, and whether to attach it or only to prepare it. The one to attach is the last.
Jobs = Iterator[tuple[Job, bool]]
Work = Callable[[Jobs], tuple[_Verdict, list[int]]]


class Compiler:
    """A child process that loads bcc at once, prepares jobs, and attaches one at the end."""

    def __init__(self, work: Work | None = None) -> None:
        self._work = work or _work
        self._pid: int | None = None
        self._start()

    def prepare(self, job: Job) -> None:
        """Start compiling the job that will most likely be wanted; returns at once."""
        self._send(job, attach=False)

    def arm(self, job: Job) -> Armed:
        """Attach ``job``, and end the child.

        Raises CaptureBroken or CaptureUnavailable, whose hint ends with bcc's output; NoPrivilege or NoRoom.
        """
        if self._pid is None:
            self._start()
        self._send(job, attach=True)
        try:
            message, fds, flags, _address = socket.recv_fds(self._socket, _MESSAGE_BYTES, _MAX_FDS)
        except ConnectionResetError:
            message, fds, flags = b"", [], 0  # the child died before it read the job
        except TimeoutError:
            self.close()
            raise CaptureBroken(
                f"the compiler (bcc) did not finish within {_SECONDS:.0f} s", "report this, or try again"
            ) from None
        exit_code, said = self._end()
        if not message:
            raise _died(exit_code, said)
        for fd in fds:
            os.set_inheritable(fd, False)
        if flags & socket.MSG_CTRUNC:
            raise NoRoom("the probe needs more open files", "raise LimitNOFILE=; systemd restarts the service")
        verdict = _Verdict(*json.loads(message))
        if verdict.failed_step is not None:
            raise _failed(verdict, said)
        if verdict.detail:
            return Armed(fds[0], fds[1], fds[2:], verdict.detail)
        with open(fds.pop(), "rb") as compiled:
            return Armed(fds[0], fds[1], fds[2:], compiled.read())

    def close(self) -> None:
        if self._pid is not None:
            self._end(signal.SIGKILL)

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_SECONDS)
        self._output = open(os.memfd_create("bcc-output"), "w+b")  # noqa: SIM115 # closed in _end
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _child(self._work, theirs, self._output, parent)
        theirs.close()

    def _send(self, job: Job, *, attach: bool) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # arm() reports the child's death
            self._socket.send(json.dumps([job, attach]).encode())

    def _end(self, with_signal: int = 0) -> tuple[int, str]:
        """End the child, and give the memory of its files back. Returns its exit code and the end of bcc's output."""
        assert self._pid is not None
        files = mapped_files(self._pid)
        os.kill(self._pid, with_signal)
        self._socket.close()  # the child waits for that after its report
        _pid, status = os.waitpid(self._pid, 0)
        self._pid = None
        give_back(files - mapped_files("self"))
        with self._output:
            return os.waitstatus_to_exitcode(status), _tail(self._output)


def _child(work: Work, ours: socket.socket, output: BinaryIO, parent: int) -> NoReturn:
    # os._exit in all cases: bcc's exit handlers would detach the probe.
    try:
        _end_with(parent)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        _close_all_but({0, 1, 2, ours.fileno()})
        jobs = _receive(ours)
        verdict, fds = work(jobs)
        for _job in jobs:
            pass  # if jobs are unread when this end is closed, the verdict is lost
        detail = _whole_lines(verdict.detail[-_OUTPUT_BYTES:], cut=len(verdict.detail) > _OUTPUT_BYTES)
        socket.send_fds(ours, [json.dumps(verdict._replace(detail=detail)).encode()], fds)
        ours.recv(1)  # wait until the parent knows which files this process maps
        os._exit(0)
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))
        os._exit(1)


def _end_with(parent: int) -> None:
    """Ensure that the child does not outlive the service and compile for nobody."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _close_all_but(kept: set[int]) -> None:
    """Close the inherited files, above all the lock, which the child would keep."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the file of the listing is closed already
                os.close(int(name))


def _receive(ours: socket.socket) -> Jobs:
    while message := ours.recv(_MESSAGE_BYTES):
        job, attach = json.loads(message)
        made = Job(*job)
        yield made._replace(lacking=tuple(made.lacking), addresses=tuple(made.addresses)), attach
        if attach:
            return
    os._exit(0)  # the parent has gone


def _work(jobs: Jobs) -> tuple[_Verdict, list[int]]:
    try:
        from oomkilld.arm.probe import ProbeFailure, Program
    except (ImportError, OSError) as error:
        if no_room(error):
            raise
        return _Verdict("import", str(error)), []
    prepared: dict[Job, Program | ProbeFailure] = {}
    for job, _attach in jobs:
        if job not in prepared:
            try:
                prepared[job] = Program(Path(job.headers), job.ring_bytes, job.level, cmdline=job.cmdline)
            except ProbeFailure as failure:
                prepared[job] = failure
    try:
        program = prepared[job]
        if isinstance(program, ProbeFailure):
            raise program
        fds = program.attach(job.lacking, job.addresses)
    except ProbeFailure as failure:
        return _Verdict(failure.step, failure.what, str(failure), failure.errno), []
    try:
        compiled = os.memfd_create("compiled")
        os.pwrite(compiled, program.compiled(job.lacking).dump(), 0)
    except Exception as error:  # whatever bcc raises, the probe is attached
        return _Verdict(None, detail=f"{error!r}"), fds
    return _Verdict(None), [*fds, compiled]


def _tail(output: BinaryIO) -> str:
    start = max(0, output.seek(0, os.SEEK_END) - _OUTPUT_BYTES)
    output.seek(start)
    return _whole_lines(output.read().decode(errors="replace"), cut=start > 0)


def _whole_lines(text: str, *, cut: bool) -> str:
    """Drop the first line if the text was cut: an address without its beginning would not be recognised."""
    return text.partition("\n")[2] if cut else text


def _died(exit_code: int, said: str) -> OomkilldError:
    room = "give the service more memory: arming takes about 160 MB (MemoryMax=) and twice the address space (LimitAS=)"
    if exit_code == -signal.SIGKILL:
        return NoRoom("the compiler (bcc) was killed (SIGKILL), most likely due to lack of memory", room)
    if says_no_room(said):
        last_line = _ADDRESS.sub("(hidden)", said.splitlines()[-1].strip())
        return NoRoom(f"the compiler (bcc) ran out of resources: {last_line}", room)
    how = f"aborted ({signal.Signals(-exit_code).name})" if exit_code < 0 else f"ended with status {exit_code}"
    return CaptureBroken(
        f"the compiler (bcc) {how} while building the probe",
        "report this, with the versions of the kernel and of bcc and the lines below" + _quoted(said),
    )


def _failed(verdict: _Verdict, said: str) -> OomkilldError:
    if verdict.failed_step == "import":
        return CaptureUnavailable(
            f"Failed to import bcc: {verdict.what}",
            "install the distribution's package python3-bpfcc (PyPI's bcc is another project)",
        )
    if verdict.errno in NO_ROOM:
        return NoRoom(
            f"the kernel has no resources for the probe ({verdict.what}: {os.strerror(verdict.errno)})",
            "free memory or files; systemd restarts the service",
        )
    if verdict.errno in _FORBIDDEN.get(verdict.failed_step or "", ()):
        return NoPrivilege(
            f"the kernel forbids the probe ({verdict.what}: {os.strerror(verdict.errno)})",
            "look for a security module or a sandbox that restricts bpf(2) or perf_event_open(2)",
        )
    below = _quoted(f"{said}\n{verdict.detail}")
    report = "report this, with the versions of the kernel and of bcc and the lines below" + below
    if verdict.failed_step == "compile":
        return CaptureBroken(f"bcc failed to compile or set up {verdict.what} on this kernel", report)
    if verdict.failed_step == "load":
        return CaptureBroken(f"the kernel's verifier refused the program for a {verdict.what}", report)
    return CaptureUnavailable(f"the kernel refused to attach {verdict.what}", report)


def _quoted(text: str) -> str:
    """Quote bcc's output without kernel addresses: readers of the journal must not learn where the kernel is."""
    lines = [_ADDRESS.sub("(hidden)", line) for line in text.splitlines() if line.strip() and not _DUMP.match(line)]
    shown = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
    return "".join(f"\n  bcc: {line}" for line in shown)
