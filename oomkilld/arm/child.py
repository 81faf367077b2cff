# SPDX-License-Identifier: Apache-2.0
"""Runs the compiler in a child process and takes the file descriptors from it.

clang inside bcc may abort the process on an assertion, and writes to fd 1 and 2 from C++. In a child both
are survived: the service hears of the abort and can say so, and its own output stays its own.
"""

import errno
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from oomkilld.arm.levels import Level
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoPrivilege, NoRoom, OomkilldError

_OUTPUT_BYTES = 4000
_MESSAGE_BYTES = 65536
_MAX_FDS = 16
# By step: the verifier itself answers EACCES.
_FORBIDDEN = {"load": (errno.EPERM,), "attach": (errno.EPERM, errno.EACCES)}
_NO_ROOM = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC})


class Armed(NamedTuple):
    """Open file descriptors of the attached program."""

    ring: int
    counters: int
    probes: list[int]


class _Verdict(NamedTuple):
    """What the child reports: a failed step, or None and the file descriptors beside it."""

    failed_step: str | None
    what: str = ""
    detail: str = ""
    errno: int = 0


def arm_in_child(headers: Path, ring_bytes: int, level: Level) -> Armed:
    """Attach the hooks of ``level``.

    Raises CaptureBroken or CaptureUnavailable with bcc's output as last lines, NoPrivilege or NoRoom.
    """
    return _in_child(lambda: _attach(headers, ring_bytes, level))


def _attach(headers: Path, ring_bytes: int, level: Level) -> tuple[_Verdict, list[int]]:
    try:
        from oomkilld.arm.probe import ProbeFailure, attach
    except ImportError as error:
        return _Verdict("import", str(error)), []
    try:
        attached = attach(headers, ring_bytes, level)
    except ProbeFailure as failure:
        return _Verdict(failure.step, failure.what, str(failure), failure.errno), []
    return _Verdict(None), [attached.ring, attached.counters, *attached.probes]


def _in_child(work: Callable[[], tuple[_Verdict, list[int]]]) -> Armed:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open(os.memfd_create("bcc-output"), "w+b") as output:
        pid = os.fork()
        if pid == 0:
            _child(work, theirs, output)
        theirs.close()
        message, fds, _flags, _address = socket.recv_fds(ours, _MESSAGE_BYTES, _MAX_FDS)
        _pid, status = os.waitpid(pid, 0)
        said = _tail(output)
    if not message:
        raise _died(os.waitstatus_to_exitcode(status), said)
    for fd in fds:
        os.set_inheritable(fd, False)
    verdict = _Verdict(*json.loads(message))
    if verdict.failed_step is not None:
        raise _failed(verdict, said)
    return Armed(fds[0], fds[1], fds[2:])


def _child(work: Callable[[], tuple[_Verdict, list[int]]], result: socket.socket, output: BinaryIO) -> NoReturn:
    # os._exit whatever happens: bcc's exit handlers would detach what was just attached.
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        verdict, fds = work()
        text = verdict._replace(detail=verdict.detail[-_OUTPUT_BYTES:])
        socket.send_fds(result, [json.dumps(text).encode()], fds)
        os._exit(0)
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))
        os._exit(1)


def _tail(output: BinaryIO) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _OUTPUT_BYTES))
    return output.read().decode(errors="replace")


def _died(exit_code: int, said: str) -> OomkilldError:
    if exit_code == -signal.SIGKILL:
        return NoRoom(
            "the compiler (bcc) was killed (SIGKILL), most likely for want of memory",
            "give the service room: arming takes about 160 MB (MemoryMax=), which is freed when it is done",
        )
    how = f"aborted ({signal.Signals(-exit_code).name})" if exit_code < 0 else f"ended with status {exit_code}"
    return CaptureBroken(
        f"the compiler (bcc) {how} while building the probe",
        "report this, with the versions of the kernel and of bcc and the lines below" + _quoted(said),
    )


def _failed(verdict: _Verdict, said: str) -> OomkilldError:
    if verdict.failed_step == "import":
        return CaptureUnavailable(
            f"bcc cannot be imported: {verdict.what}",
            "install the distribution's package python3-bpfcc (PyPI's bcc is another project)",
        )
    if verdict.errno in _NO_ROOM:
        return NoRoom(
            f"the kernel had no room for the probe ({verdict.what}: {os.strerror(verdict.errno)})",
            "free memory or files; it is tried again by itself",
        )
    if verdict.errno in _FORBIDDEN.get(verdict.failed_step or "", ()):
        return NoPrivilege(
            f"the kernel forbids the probe ({verdict.what}: {os.strerror(verdict.errno)})",
            "look for a security module or a sandbox that restricts bpf(2) or perf_event_open(2)",
        )
    below = _quoted(f"{said}\n{verdict.detail}")
    report = "report this, with the versions of the kernel and of bcc and the lines below" + below
    if verdict.failed_step == "compile":
        return CaptureBroken(f"bcc cannot compile or set up {verdict.what} on this kernel", report)
    if verdict.failed_step == "load":
        return CaptureBroken(f"the kernel's verifier refused the program for a {verdict.what}", report)
    return CaptureUnavailable(f"the kernel refused to attach {verdict.what}", report)


def _quoted(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    shown = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
    return "".join(f"\n  bcc: {line}" for line in shown)
