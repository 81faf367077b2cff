# SPDX-License-Identifier: Apache-2.0
"""Fresh Debian systems, made once with debootstrap and kept in the cache; each test works on a copy of its own.

A copy is an overlay in this process's own mount namespace, so it ends with the process. The system is in a directory
below the mount point, so that in a chroot "/" is no mount point either.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support import pace
from tests.vm.machine import copy_checkout

CACHE = Path(os.environ["OOMKILLD_TEST_CACHE"])
NEWCOMER = 1000
_CHECKOUT = "home/newcomer/oomkilld"
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Tree(NamedTuple):
    """A Debian system below ``root``, with a checkout that belongs to an ordinary user."""

    root: Path

    @property
    def checkout(self) -> Path:
        return self.root / _CHECKOUT

    def environment(self) -> list[str]:
        """A command prefix: the few variables of a fresh system, and this machine's settings for package registries."""
        settings = [f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", f"PIP_CERT=/etc/{_CA_BUNDLE.name}"]
        proxies = [f"{name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")]
        return ["env", "-i", *settings, *proxies]

    def command(self, *command: str) -> list[str]:
        """As root in the checkout, as sudo would run it."""
        return ["chroot", str(self.root), "env", f"--chdir=/{_CHECKOUT}", *self.environment(), *command]

    def run(self, *command: str, seconds: float = 600) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*command),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds * pace.patience(),
        )

    def files(self) -> dict[str, str]:
        """Every file, link and directory, with its owner and its time of change."""
        found = {}
        for directory, names, files in os.walk(self.root):
            names[:] = [name for name in names if not os.path.ismount(os.path.join(directory, name))]
            for name in [*names, *files]:
                path = Path(directory, name)
                status = path.lstat()
                changed = "" if path.is_dir() else f" {status.st_size} bytes of {status.st_mtime_ns}"
                found[str(path.relative_to(self.root))] = f"{status.st_uid}{changed}"
        return found


@contextmanager
def fresh_tree(suite: str, packages: Collection[str] = ()) -> Iterator[Tree]:
    """A copy of that Debian release as debootstrap's minbase leaves it, with ``packages``."""
    base = _base(suite, sorted(packages))
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as work:
        for name in ("upper", "work", "mounted"):
            Path(work, name).mkdir()
        mounted = Path(work, "mounted")
        _mount("-t", "overlay", "-o", f"lowerdir={base},upperdir={work}/upper,workdir={work}/work", "overlay", mounted)
        try:
            tree = Tree(mounted / "root")
            for name in ("proc", "sys", "dev"):
                _mount("--bind", f"/{name}", tree.root / name)
            shutil.copy("/etc/resolv.conf", tree.root / "etc")
            if _CA_BUNDLE.exists():
                # The certificates that this machine trusts when it asks a package registry.
                shutil.copy(_CA_BUNDLE, tree.root / "etc")
            copy_checkout(tree.checkout)
            for path in (tree.checkout.parent, *tree.checkout.parent.rglob("*")):
                os.chown(path, NEWCOMER, NEWCOMER, follow_symlinks=False)
            yield tree
        finally:
            subprocess.run(["umount", "--recursive", mounted], check=True)


def codename() -> str:
    """The Debian release of this machine."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return release["VERSION_CODENAME"]


def _base(suite: str, packages: list[str]) -> Path:
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    target = CACHE / f"tree-{suite}-{key}"
    with (CACHE / "trees.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be creating it
        if not target.exists():
            part = CACHE / f"{target.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            options = ["--variant=minbase", *([f"--include={','.join(packages)}"] if packages else [])]
            subprocess.run(
                ["debootstrap", *options, suite, part / "root", os.environ["OOMKILLD_TEST_MIRROR"]],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            part.rename(target)
    return target


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)
