# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls: its instructions, executed here; test_privileges has the kernel load them."""

import re
import struct
from pathlib import Path

import pytest

from oomkilld.record.process import seccomp

KILLED, ALLOWED, EPERM, ENOSYS = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
HEADERS = {
    "x86_64": (r"#define __NR_(\w+) (\d+)$", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": (r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", "/usr/include/asm-generic/unistd.h"),
}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Calls that the service and its child processes need.
NEEDED = (
    *(
        "read",
        "sendmsg",
        "sendto",
        "recvmsg",
        "socket",
        "socketpair",
        "openat",
        "mmap",
        "mprotect",
        "mlockall",
        "ioctl",
    ),
    *("execve", "wait4", "kill", "prlimit64", "prctl", "pidfd_open", "memfd_create", "setpriority", "epoll_pwait"),
)


def outcome(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """The verdict of the filter on this call."""
    given = (*arguments, *[0] * 6)[:6]
    told = struct.pack("=iIQ6Q", number, architecture or ARCHITECTURES[machine], 0, *given)
    steps = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    at = loaded = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", told, value)
        elif code == 0x06:
            return int(value)
        else:
            true = {0x15: loaded == value, 0x35: loaded >= value, 0x45: loaded & value != 0}[code]
            at += if_true if true else if_false


@pytest.fixture(params=sorted(HEADERS))
def numbers(request: pytest.FixtureRequest) -> tuple[str, dict[str, int]]:
    pattern, path = HEADERS[request.param]
    if not Path(path).exists():
        pytest.skip(f"{path} is missing")
    found = re.findall(pattern, Path(path).read_text(), re.MULTILINE)
    return request.param, {name: int(number) for name, number in found}


def test_each_number_belongs_to_its_name(numbers: tuple[str, dict[str, int]]) -> None:
    machine, by_name = numbers
    column = seccomp._ARCHITECTURES[machine][1]
    table = {**seccomp._KILLED, **seccomp._REFUSED, "clone": seccomp._CLONE, "clone3": seccomp._CLONE3}
    table |= {name: numbers for name, (numbers, _argument) in seccomp._OF_OTHERS.items()}
    assert {name: row[column] for name, row in table.items()} == {name: by_name.get(name) for name in table}


def test_forbidden_calls_kill_and_needed_ones_pass(numbers: tuple[str, dict[str, int]]) -> None:
    machine, by_name = numbers
    for name in (
        "bpf",
        "perf_event_open",
        "ptrace",
        "setuid",
        "setresgid",
        "finit_module",
        "mount",
        "unshare",
        "keyctl",
    ):
        assert outcome(machine, by_name[name]) == KILLED, name
    for name in NEEDED:
        assert outcome(machine, by_name[name]) == ALLOWED, name
    for name in ("connect", "bind"):
        assert outcome(machine, by_name[name]) == EPERM
    assert outcome(machine, by_name["clone3"]) == ENOSYS
    # As fork and posix_spawn call it, and with a new user namespace.
    assert outcome(machine, by_name["clone"], 0x01200011) == outcome(machine, by_name["clone"], 0x4111) == ALLOWED
    assert outcome(machine, by_name["clone"], 0x10000011) == KILLED
    # For the process itself, and for process 1.
    assert outcome(machine, by_name["prlimit64"], 0, 2) == outcome(machine, by_name["setpriority"], 0, 0, 10) == ALLOWED
    assert outcome(machine, by_name["prlimit64"], 1, 2) == outcome(machine, by_name["setpriority"], 0, 1, 10) == KILLED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_other_architectures_kill(machine: str) -> None:
    assert outcome(machine, 0, architecture=0x40000003) == KILLED  # of i386
    assert outcome(machine, 0x40000000 | 1) == (KILLED if machine == "x86_64" else ALLOWED)
