# SPDX-License-Identifier: Apache-2.0
"""The kernels that the guest boots with, found and fetched with apt in suites of Debian's archive."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.vm.command import run_logged

# By the names for --kernel of tests/run.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "newest": "trixie-backports"}
# The kernel of the suite that the guest's userland comes from.
OWN = "6.12"
_META_PACKAGE = "linux-image-cloud-amd64"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Archive:
    """Debian's archive, through a separate apt in ``work``.

    It uses the machine's settings, such as a proxy, but none of its sources and preferences.
    """

    def __init__(self, work: Path, mirror: str) -> None:
        self._work = work
        self._log = work / "log"
        for directory in ("state/lists/partial", "cache/archives/partial"):
            (work / directory).mkdir(parents=True, exist_ok=True)
        sources = (f"deb [arch=amd64 signed-by={_KEYRING}] {mirror} {suite} main\n" for suite in SUITES.values())
        (work / "sources.list").write_text("".join(sources))
        self._log.write_text("")
        # If the archive cannot be reached, apt continues with its previous lists.
        self._apt("update")

    def kernel_packages(self, suite: str) -> list[str]:
        """``name=version`` of all packages that make up the newest kernel of the suite."""
        plan = self._apt("install", "--simulate", "--no-install-recommends", "-t", suite, _META_PACKAGE)
        found = re.findall(r"^Inst (linux-\S+) \((\S+)", plan, re.MULTILINE)
        return sorted(f"{name}={version}" for name, version in found)

    def unpack(self, packages: Iterable[str], tree: Path) -> None:
        """Unpack the packages' files in ``tree``, a new directory, without running their scripts."""
        downloads = tree.with_name(f"{tree.name}-packages")
        downloads.mkdir()
        self._apt("download", *packages, directory=downloads)
        for package in sorted(downloads.iterdir()):
            run_logged(["dpkg-deb", "--extract", str(package), str(tree)], self._log)
        shutil.rmtree(downloads)

    def _apt(self, *words: str, directory: Path | None = None) -> str:
        options = {
            "Dir::Etc::SourceList": self._work / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": self._work / "state",
            # Nothing counts as installed, so apt also fetches all dependencies.
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": self._work / "cache",
            "Acquire::Languages": "none",
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return run_logged(["apt-get", "-q", *settings, *words], self._log, directory)


def add_kernel(tree: Path, root: Path, target: Path, log: Path) -> None:
    """Give the guest's ``root`` the modules of the kernel unpacked in ``tree``.

    The kernel and its initial RAM disk go to ``target``: QEMU boots them from outside.
    """
    # Before Debian 13 the modules are in /lib; since Linux 7 the kernel is beside them.
    (modules,) = (*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*"))
    release = modules.name
    (kernel,) = (*tree.glob("boot/vmlinuz-*"), *modules.glob("vmlinuz"))
    (config,) = (*tree.glob("boot/config-*"), *modules.glob("config"))
    # If the guest has the kernel's headers, the directory exists already.
    shutil.copytree(modules, root / "usr/lib/modules" / release, symlinks=True, dirs_exist_ok=True)
    shutil.copyfile(config, root / f"boot/config-{release}")  # tells update-initramfs how to compress
    run_logged(["chroot", str(root), "depmod", release], log)
    run_logged(["chroot", str(root), "update-initramfs", "-c", "-k", release], log)
    target.mkdir(parents=True)
    shutil.copyfile(kernel, target / "vmlinuz")
    shutil.move(root / f"boot/initrd.img-{release}", target / "initrd")
