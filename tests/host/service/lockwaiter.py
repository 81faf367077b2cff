# SPDX-License-Identifier: Apache-2.0
"""A user without any right who tries to take the service's lock."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# Opens every file that it can, and waits for a lock of each kind on it.
LOCK_WAITER = """
import fcntl, os, struct, sys, threading, time
held = {}
def wait(fd):
    fcntl.flock(fd, fcntl.LOCK_EX)  # for which no more is needed than that it is open
def hold(path):
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            fd = os.open(path, flags | os.O_NONBLOCK)
        except OSError:
            continue
        for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
            for command in (fcntl.F_SETLK, fcntl.F_OFD_SETLK):
                try:
                    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))
                except OSError:
                    pass
        threading.Thread(target=wait, args=(fd,), daemon=True).start()
        return fd
while True:
    for directory, _directories, names in os.walk("/run/oomkilld"):
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            try:
                status = os.lstat(path)
            except OSError:
                continue
            key = status.st_dev, status.st_ino
            if key not in held and (fd := hold(path)) is not None:
                held[key] = fd
                print(path, flush=True)
    time.sleep(0.001)
"""


@contextmanager
def lock_waiter() -> Iterator[list[str]]:
    """Run it during the block; yields the files that it could open."""
    opened: list[str] = []
    command = ["/usr/bin/python3", "-I", "-c", LOCK_WAITER]
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **nobody) as waiter:  # type: ignore[call-overload]
        try:
            yield opened
            assert waiter.poll() is None, "he ended by himself"
        finally:
            waiter.terminate()
            opened += waiter.communicate()[0].splitlines()
