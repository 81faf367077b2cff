# SPDX-License-Identifier: Apache-2.0
"""Processes that cannot end, even when killed: they wait for a frozen file system."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import live
from tests.vm.guest.service import run

FREEZABLE = Path("/run/freezable")


@contextmanager
def frozen() -> Iterator[Path]:
    """A file on a frozen file system: a process that writes to it blocks and cannot be killed."""
    FREEZABLE.mkdir(exist_ok=True)
    subprocess.run(["mount", "/dev/vdc", FREEZABLE], check=True)
    try:
        (FREEZABLE / "file").write_bytes(bytes(4096))
        subprocess.run(["fsfreeze", "--freeze", FREEZABLE], check=True)
        try:
            yield FREEZABLE / "file"
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", FREEZABLE], check=True)
    finally:
        live.wait_for("unmounted", lambda: not run("umount", str(FREEZABLE)).returncode, 20)


def asleep(hog: "subprocess.Popen[str]") -> bool:
    """Uninterruptible sleep."""
    return Path(f"/proc/{hog.pid}/stat").read_text().rpartition(")")[2].split()[0] == "D"
