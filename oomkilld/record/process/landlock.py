# SPDX-License-Identifier: Apache-2.0
"""Limits which files the resident stage and its child processes can open, see landlock(7).

While the uid is 0, mode bits protect none of root's files, not even /proc/sys and /etc/shadow. Landlock exists since
Linux 5.13, where it is switched on. Files that are open already stay usable.
"""

import os
import struct
import sys
from collections.abc import Iterator

from oomkilld.host.cgroupfs import CGROUP_ROOT
from oomkilld.host.syscall import call, checked
from oomkilld.service.handover import PACKAGE_ROOT
from oomkilld.service.rundir import RUNTIME_DIRECTORY

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_VERSION, _PATH_BENEATH = 1, 1
# LANDLOCK_ACCESS_FS_…, uapi/linux/landlock.h
_WRITE, _READ, _LIST = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_FILE, _REFER, _TRUNCATE, _IOCTL = 1 << 5, 1 << 8, 1 << 13, 1 << 14, 1 << 15
# Removing and creating files of any kind.
_CHANGE_DIRECTORIES = sum(1 << bit for bit in range(4, 13))
# Execution is not handled: a process can map what it can read of /usr anyway.
_HANDLED = _WRITE | _READ | _LIST | _CHANGE_DIRECTORIES
_HANDLED_SINCE = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL}
_NET_SINCE, _ALL_OF_NET = 4, 0b11
_SCOPED_SINCE, _SCOPED_ABSTRACT_SOCKETS, _SCOPED_SIGNALS = 6, 1, 2
# Rights that a rule about a file can grant.
_OF_FILES = _WRITE | _READ | _TRUNCATE | _IOCTL

_READABLE = (
    *("/proc", CGROUP_ROOT, "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/machine-id", "/etc/localtime"),
    *("/dev/null", "/dev/urandom"),
    # Debian's sitecustomize.
    "/etc/python{}.{}".format(*sys.version_info),
)
# May be created later: until then, the nearest directory above that exists is readable.
_READABLE_ONCE_THERE = ("/run/log", "/var/log/journal")
_PODS = "/var/log"


def confine() -> bool:
    """Permanent; needs no_new_privs. False: this kernel has no Landlock. Raises OSError if the kernel refuses it."""
    version = call("syscall", _CREATE_RULESET, 0, 0, _VERSION)
    if version < 1:
        return False
    handled = _HANDLED | sum(rights for since, rights in _HANDLED_SINCE.items() if version >= since)
    ruleset = checked("landlock_create_ruleset", "syscall", _CREATE_RULESET, *_attributes(version, handled), 0)
    try:
        for path, rights in _rules():
            _allow(ruleset, path, rights & handled)
        checked("landlock_restrict_self", "syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _attributes(version: int, handled: int) -> tuple[bytes, int]:
    """What to restrict: struct landlock_ruleset_attr as that version has it, and its size."""
    members = [handled]
    if version >= _NET_SINCE:
        members.append(_ALL_OF_NET)
    if version >= _SCOPED_SINCE:
        # The service manager of a container may listen at an abstract address.
        abstract = 0 if os.environ.get("NOTIFY_SOCKET", "").startswith("@") else _SCOPED_ABSTRACT_SOCKETS
        members.append(_SCOPED_SIGNALS | abstract)
    return struct.pack(f"={len(members)}Q", *members), 8 * len(members)


def _rules() -> Iterator[tuple[str, int]]:
    yield RUNTIME_DIRECTORY, _READ | _LIST | _WRITE | _MAKE_FILE | _REMOVE_FILE | _TRUNCATE
    yield "/dev/null", _WRITE
    yield _nearest(_PODS), _LIST
    # Modules that are imported later, most of them by the processes of lookup/.
    imported_from = {PACKAGE_ROOT, sys.prefix, sys.base_prefix, *sys.path}
    for path in {*_READABLE, *map(_nearest, _READABLE_ONCE_THERE), *imported_from}:
        yield path, _READ | _LIST


def _nearest(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # without a rule, this process cannot open it later either
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        checked(f"landlock_add_rule for {path}", "syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
