# SPDX-License-Identifier: Apache-2.0
"""System calls that the resident stage and its child processes never make: the kernel kills a process that makes one.

This adds to the filter of the unit, which has to allow what the arming stage needs, and works without a unit. The
filter is a program of classic BPF, see seccomp(2) and Documentation/userspace-api/seccomp_filter.rst.
"""

import os
import struct
from array import array

from oomkilld.host.syscall import call, checked

_PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 21, 22, 2  # uapi/linux/prctl.h, uapi/linux/seccomp.h
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # uapi/linux/bpf_common.h
_NUMBER, _ARCHITECTURE, _ARGUMENTS, _ARGUMENT_BYTES = 0, 4, 16, 8  # struct seccomp_data, on little endian
_X32 = 0x40000000
# CLONE_NEW…: mounts, cgroups, host name, IPC, users, processes, network.
_NAMESPACES = 0x7E020000

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # uapi/linux/audit.h; column of the table
# Numbers on x86_64 and on aarch64 (None: no such call): asm/unistd_64.h, uapi/asm-generic/unistd.h.
_KILLED = {
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "setgroups": (116, 159),
    "capset": (126, 91),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "unshare": (272, 97),
    "setns": (308, 268),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "process_mrelease": (448, 448),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
}
# Allowed for the process itself (0), but not for others, which may have uid 0, too. Last: the argument that says whose.
_OF_OTHERS = {"prlimit64": ((302, 261), 0), "setpriority": ((141, 140), 1)}
# journald and the service manager get datagrams. Any other listener, above all D-Bus and container managers, needs a
# connection. These calls fail instead: the C library may try one (nscd), and continues without it.
_REFUSED = {"connect": (42, 203), "bind": (49, 200), "listen": (50, 201)}
_CLONE, _CLONE3 = (56, 220), (435, 435)


def install() -> str | None:
    """Install the filter for good; no_new_privs must be set. Returns the reason if there is none for this system.

    Raises OSError if the kernel has such filters but refuses this one.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        return f"the system call numbers of {machine} are unknown"
    if call("prctl", _PR_GET_SECCOMP) < 0:
        return "this kernel has no seccomp"
    filters = array("Q", program(machine))
    address, instructions = filters.buffer_info()
    told = struct.pack("@HP", instructions, address)
    checked("prctl(PR_SET_SECCOMP)", "prctl", _PR_SET_SECCOMP, _MODE_FILTER, told)
    return None


def program(machine: str) -> bytes:
    """Instructions of 8 bytes, struct sock_filter. Raises KeyError for an unknown machine."""
    architecture, column = _ARCHITECTURES[machine]
    steps = [_step(_LOAD, _ARCHITECTURE), *_unless(_EQUAL, architecture, _KILL_PROCESS), _step(_LOAD, _NUMBER)]
    if column == 0:
        steps += _when(_AT_LEAST, _X32, _KILL_PROCESS)
    for numbers in _KILLED.values():
        number = numbers[column]
        if number is not None:
            steps += _when(_EQUAL, number, _KILL_PROCESS)
    for numbers in _REFUSED.values():
        steps += _when(_EQUAL, numbers[column], _ERRNO | _EPERM)
    # A filter cannot read its flags; on ENOSYS, the C library uses clone.
    steps += _when(_EQUAL, _CLONE3[column], _ERRNO | _ENOSYS)
    for numbers, argument in _OF_OTHERS.values():
        steps += _where(numbers[column], argument, _unless(_EQUAL, 0, _KILL_PROCESS))
    steps += _where(_CLONE[column], 0, _when(_ANY_OF, _NAMESPACES, _KILL_PROCESS))
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _where(number: int, argument: int, steps: list[bytes]) -> list[bytes]:
    """Apply ``steps`` to the lower half of an argument of that call, and allow the call after them."""
    steps = [_step(_LOAD, _ARGUMENTS + _ARGUMENT_BYTES * argument), *steps, _step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, number, 0, len(steps)), *steps]


def _when(test: int, value: int, result: int) -> list[bytes]:
    return [_step(test, value, 0, 1), _step(_RETURN, result)]


def _unless(test: int, value: int, result: int) -> list[bytes]:
    return [_step(test, value, 1, 0), _step(_RETURN, result)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
