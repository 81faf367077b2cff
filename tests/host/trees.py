# SPDX-License-Identifier: Apache-2.0
"""Fresh Debian systems, made with debootstrap once and kept in the cache; each test works on a copy of its own.

A copy is an overlay, mounted in this process's own mount namespace: nothing of it outlives the process.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

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

    def command(self, *command: str) -> list[str]:
        """As root in the checkout, as sudo would run it, with the little that a fresh system has set."""
        settings = [f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", f"PIP_CERT=/etc/{_CA_BUNDLE.name}"]
        proxies = [f"{name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")]
        inside = ["env", "-i", f"--chdir=/{_CHECKOUT}", *settings, *proxies, *command]
        return ["chroot", str(self.root), *inside]

    def run(self, *command: str, seconds: float = 600) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*command),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )

    def files(self) -> dict[str, str]:
        """Every file, link and directory, with its owner and what tells when it was changed."""
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
def fresh_tree(suite: str) -> Iterator[Tree]:
    """A copy of that Debian release as debootstrap's minbase leaves it."""
    base = _base(suite)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as work:
        for name in ("upper", "work", "root"):
            Path(work, name).mkdir()
        root = Path(work, "root")
        _mount("-t", "overlay", "-o", f"lowerdir={base},upperdir={work}/upper,workdir={work}/work", "overlay", root)
        try:
            for name in ("proc", "sys", "dev"):
                _mount("--bind", f"/{name}", root / name)
            shutil.copy("/etc/resolv.conf", root / "etc")
            if _CA_BUNDLE.exists():
                # What this machine trusts when it asks a package registry.
                shutil.copy(_CA_BUNDLE, root / "etc")
            tree = Tree(root)
            copy_checkout(tree.checkout)
            for path in (tree.checkout.parent, *tree.checkout.parent.rglob("*")):
                os.chown(path, NEWCOMER, NEWCOMER, follow_symlinks=False)
            yield tree
        finally:
            subprocess.run(["umount", "--recursive", root], check=True)


def _base(suite: str) -> Path:
    target = CACHE / f"tree-{suite}"
    with (CACHE / "trees.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if not target.exists():
            part = CACHE / f"tree-{suite}.part"
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", suite, part, os.environ["OOMKILLD_TEST_MIRROR"]],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            part.rename(target)
    return target


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)
