# SPDX-License-Identifier: Apache-2.0
"""Surroundings in which the program cannot do what it should, and command lines that ask for nothing it knows.

Each is a line of bash, run with mounts of its own: an empty /run, no configuration, no kernel's log. The program is
root without any capability: where nothing else is wrong, the service ends with NO_PRIVILEGE. $BASE: how much address
space the interpreter itself takes, in KiB.
"""

from typing import NamedTuple

NO_PRIVILEGE = (77, "no way to see OOM kills works here")
_USAGE = 2
_NOT_WRITTEN = 1
_UNUSABLE = 69
_NO_ROOM = 71
_IS_NO_DIRECTORY = (_UNUSABLE, "/run/oomkilld cannot be used: Not a directory")
_IS_READ_ONLY = (_UNUSABLE, "/run/oomkilld cannot be used: Read-only file system")
_IS_FULL = (_NO_ROOM, "/run/oomkilld cannot be used: No space left on device")
_IS_BUSY = (_UNUSABLE, "/run/oomkilld cannot be used: Device or resource busy")
_NOTHING_SAID = ""
# Nobody reads what is written to file 5.
_BROKEN_PIPE = "mkfifo /run/pipe; exec 4<>/run/pipe 5>/run/pipe 4<&-"
_GONE = "mkdir /run/gone; cd /run/gone; rmdir /run/gone"
_LISTEN = "export LISTEN_PID=$$"


class Case(NamedTuple):
    """What is run, and with which exit status it ends; ``said``: in its first line that is no warning, or printed."""

    script: str
    status: int
    said: str


COMMAND_LINES = [
    Case("oomkilld --bogus", _USAGE, "unrecognized arguments: --bogus"),
    Case("oomkilld start", _USAGE, "unrecognized arguments: start"),
    Case("oomkilld ''", _USAGE, "found an empty argument"),
    Case("oomkilld --check-config ''", _USAGE, "found an empty argument"),
    Case("oomkilld --check-config=", _USAGE, "found an empty argument"),
    Case("oomkilld -x", _USAGE, "unrecognized arguments: -x"),
    Case("oomkilld --ver", _USAGE, "unrecognized arguments: --ver"),
    Case("oomkilld --version=3", _USAGE, "argument --version: ignored explicit argument '3'"),
    Case("oomkilld --show-config=x", _USAGE, "argument --show-config: ignored explicit argument 'x'"),
    Case("oomkilld --version more", _USAGE, "unrecognized arguments: more"),
    Case("oomkilld --check-config a b", _USAGE, "unrecognized arguments: b"),
    Case(
        "oomkilld --check-config --show-config",
        _USAGE,
        "argument --show-config: not allowed with argument --check-config",
    ),
    Case("oomkilld --help --version", _USAGE, "argument --version: not allowed with argument -h/--help"),
    Case(r"oomkilld $'\xff\xfe'", _USAGE, r"unrecognized arguments: \udcff\udcfe"),
    Case(r"oomkilld $'a\e[2Jb'", _USAGE, r"unrecognized arguments: a\x1b[2Jb"),
    Case(r"oomkilld $'a\nb'", _USAGE, r"unrecognized arguments: a\nb"),
    Case(r"oomkilld $'\xe2\x80\xaeb'", _USAGE, r"unrecognized arguments: \u202eb"),
    Case("oomkilld $(printf %0100000d 0)", _USAGE, "unrecognized arguments: 0000"),
    Case("oomkilld $(seq 5000)", _USAGE, "unrecognized arguments: 1 2 3"),
]
FILES = [
    Case("oomkilld --show-config >&-", _NOT_WRITTEN, "the output cannot be written: Bad file descriptor"),
    Case("oomkilld --version >&-", _NOT_WRITTEN, "the output cannot be written: Bad file descriptor"),
    Case("oomkilld --version 1</dev/null", _NOT_WRITTEN, "the output cannot be written: Bad file descriptor"),
    Case("oomkilld --show-config <&- >&-", _NOT_WRITTEN, "the output cannot be written: Bad file descriptor"),
    Case("oomkilld --show-config >/dev/full", _NOT_WRITTEN, "the output cannot be written: No space left on device"),
    Case("oomkilld --help >/dev/full", _NOT_WRITTEN, "the output cannot be written: No space left on device"),
    Case("oomkilld --version >/dev/full", _NOT_WRITTEN, "the output cannot be written: No space left on device"),
    Case(f"{_BROKEN_PIPE}; oomkilld --show-config >&5", _NOT_WRITTEN, "the output cannot be written: Broken pipe"),
    Case(f"{_BROKEN_PIPE}; oomkilld --help >&5", _NOT_WRITTEN, "the output cannot be written: Broken pipe"),
    Case("oomkilld --show-config <&- >&- 2>&-", _NOT_WRITTEN, _NOTHING_SAID),
    Case("oomkilld --show-config >/dev/full 2>/dev/full", _NOT_WRITTEN, _NOTHING_SAID),
    Case("oomkilld --check-config <&- >&- 2>&-", 0, _NOTHING_SAID),
    Case("oomkilld --bogus 2>&-", _USAGE, _NOTHING_SAID),
    Case("oomkilld --bogus 2>/dev/full", _USAGE, _NOTHING_SAID),
    Case(f"{_BROKEN_PIPE}; oomkilld --bogus 2>&5", _USAGE, _NOTHING_SAID),
    Case("oomkilld <&-", *NO_PRIVILEGE),
    Case("oomkilld >&-", *NO_PRIVILEGE),
    Case("oomkilld 2>&-", 77, _NOTHING_SAID),
    Case("oomkilld 2>/dev/full", 77, _NOTHING_SAID),
    Case("oomkilld <&- >&- 2>&-", 77, _NOTHING_SAID),
]
VARIABLES = [
    Case(f"{_LISTEN} LISTEN_FDS=2 LISTEN_FDNAMES=ring.x:arming.x; oomkilld", *NO_PRIVILEGE),
    Case(f"{_LISTEN} LISTEN_FDS=2 LISTEN_FDNAMES=ring.x:arming.x; oomkilld 4</dev/null", *NO_PRIVILEGE),
    Case(f"{_LISTEN} LISTEN_FDS=1 LISTEN_FDNAMES=arming.x; oomkilld 3</", *NO_PRIVILEGE),
    Case(f"{_LISTEN} LISTEN_FDS=1 LISTEN_FDNAMES=; oomkilld", *NO_PRIVILEGE),
    Case(f"{_LISTEN} LISTEN_FDS=1; oomkilld", *NO_PRIVILEGE),
    Case(f"{_LISTEN}; oomkilld", *NO_PRIVILEGE),
    Case(f"{_LISTEN} LISTEN_FDS=none LISTEN_FDNAMES=::::; oomkilld", *NO_PRIVILEGE),
    Case("export LISTEN_PID=none LISTEN_FDS=1 LISTEN_FDNAMES=ring.x; oomkilld", *NO_PRIVILEGE),
    Case("NOTIFY_SOCKET=/run/none oomkilld", *NO_PRIVILEGE),
    Case("NOTIFY_SOCKET=$(printf /%0200d 0) oomkilld", *NO_PRIVILEGE),
    Case("NOTIFY_SOCKET=relative oomkilld", *NO_PRIVILEGE),
    Case("NOTIFY_SOCKET=@ oomkilld", *NO_PRIVILEGE),
    Case("WATCHDOG_USEC=² WATCHDOG_PID=$$ oomkilld", *NO_PRIVILEGE),
    Case("WATCHDOG_USEC=$(printf 9%05000d 0) oomkilld", *NO_PRIVILEGE),
    Case("JOURNAL_STREAM=none oomkilld", *NO_PRIVILEGE),
    Case("unset $(compgen -e); oomkilld", *NO_PRIVILEGE),
    Case("LANG=none oomkilld --bogus", _USAGE, "unrecognized arguments: --bogus"),
    Case("TMPDIR=/none HOME= oomkilld --show-config", 0, "[capture]"),
    Case("PYTHONHOME=/none PYTHONPATH=/none PYTHONIOENCODING=none oomkilld --version", 0, "oomkilld "),
    Case("echo 'raise SystemExit(3)' >/run/argparse.py; PYTHONPATH=/run oomkilld --version", 0, "oomkilld "),
]
LIMITS = [
    *(
        Case(
            f"ulimit -n {files}; oomkilld",
            _NO_ROOM,
            f"found a limit of {files} files open at a time, expected at least 64",
        )
        for files in (20, 22, 24, 26, 28, 63)
    ),
    *(
        Case(
            f"ulimit -v $((BASE + {more})); oomkilld {option}",
            _NO_ROOM,
            "bytes of address space, expected at least 67108864",
        )
        for more in (3000, 20000, 40000)
        for option in ("", "--show-config")
    ),
    Case("ulimit -d 20000; oomkilld", _NO_ROOM, "found a limit of 20480000 bytes of data, expected at least 33554432"),
    Case("ulimit -d 10000; oomkilld --show-config", _NO_ROOM, "found a limit of 10240000 bytes of data"),
    Case("ulimit -f 0; oomkilld", _NO_ROOM, "found a limit of 0 bytes in a file, expected at least 1048576"),
    Case("ulimit -f 100; oomkilld", _NO_ROOM, "found a limit of 102400 bytes in a file"),
    Case("ulimit -s 64; oomkilld", _NO_ROOM, "found a limit of 65536 bytes of stack, expected at least 1048576"),
    Case("ulimit -c 0 -l 0 -q 0; oomkilld", *NO_PRIVILEGE),
]
RUN = [
    Case("touch /run/oomkilld; oomkilld", *_IS_NO_DIRECTORY),
    Case("mkfifo /run/oomkilld; oomkilld", *_IS_NO_DIRECTORY),
    Case("ln -s none /run/oomkilld; oomkilld", *_IS_NO_DIRECTORY),
    Case("ln -s oomkilld /run/oomkilld; oomkilld", *_IS_NO_DIRECTORY),
    Case("mkdir /run/real; ln -s real /run/oomkilld; oomkilld", *_IS_NO_DIRECTORY),
    Case("mkdir /run/oomkilld; mount -t tmpfs -o ro none /run/oomkilld; oomkilld", *_IS_READ_ONLY),
    Case("mount -o remount,ro /run; oomkilld", *_IS_READ_ONLY),
    Case("mkdir /run/oomkilld; mount -o remount,ro /run; oomkilld", *_IS_READ_ONLY),
    Case("mkdir /run/oomkilld; mount -t tmpfs -o nr_inodes=1 none /run/oomkilld; oomkilld", *_IS_FULL),
    Case(
        "mkdir /run/oomkilld; mount -t tmpfs -o size=4k none /run/oomkilld; echo >/run/oomkilld/x; oomkilld", *_IS_FULL
    ),
    Case("mkdir -p /run/oomkilld/instance; mount -t tmpfs none /run/oomkilld/instance; oomkilld", *_IS_BUSY),
    Case("mkdir -p /run/oomkilld/headers; mount -t tmpfs none /run/oomkilld/headers; oomkilld", *_IS_BUSY),
    Case("mkdir -p /run/oomkilld/instance/x/y; oomkilld", *NO_PRIVILEGE),
    Case("mkdir /run/oomkilld; mkfifo /run/oomkilld/instance; oomkilld", *NO_PRIVILEGE),
    Case("mkdir /run/oomkilld; ln -s /none /run/oomkilld/headers; oomkilld", *NO_PRIVILEGE),
]
SYSTEM = [
    Case(
        "mount -t tmpfs none /proc; oomkilld", _UNUSABLE, "/proc/self/status cannot be used: No such file or directory"
    ),
    Case("mount -t tmpfs none /proc; oomkilld --show-config", 0, "[capture]"),
    Case("mount --bind /dev/null /proc/sys/kernel/perf_event_paranoid; oomkilld", *NO_PRIVILEGE),
    Case("mount --bind /dev/null /proc/kallsyms; oomkilld", *NO_PRIVILEGE),
    Case("mount --bind /dev/null /proc/vmstat; oomkilld", *NO_PRIVILEGE),
    Case("mount -t tmpfs none /sys; oomkilld", *NO_PRIVILEGE),
    Case("mount -t tmpfs none /dev; oomkilld", *NO_PRIVILEGE),
    Case(f"{_GONE}; oomkilld", *NO_PRIVILEGE),
    Case(f"{_GONE}; oomkilld --show-config", 0, "[capture]"),
    Case(f"{_GONE}; oomkilld --check-config some.toml", 78, "some.toml: cannot be read: No such file or directory"),
]
CASES = [*COMMAND_LINES, *FILES, *VARIABLES, *LIMITS, *RUN, *SYSTEM]
