# SPDX-License-Identifier: Apache-2.0
"""Builds the guest: a Debian 13 with systemd, and kernels to boot it with, without kernel headers. Needs root.

It is built once and kept in the cache, under a name derived from everything that goes into it.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.vm import kernels
from tests.vm.command import run_logged

CHECKOUT = Path(__file__).resolve().parents[2]
SUITE = kernels.SUITES[kernels.OWN]
# In addition to packages for packaging/install: a bootable system, and the test runner.
SYSTEM_PACKAGES = (*("systemd", "systemd-sysv", "udev", "dbus", "initramfs-tools", "kmod", "zstd", "python3-pytest"),)
# Packages that packaging/install would fetch on a Debian 13; the guest has no network.
PROJECT_PACKAGES = ("python3", "python3-bpfcc", "python3-systemd", "python3-pydantic")
# Units that the guest runs without: it has no network and lives for minutes.
MASKED = (
    *("serial-getty@ttyS0.service", "getty@tty1.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "systemd-firstboot.service"),
    "systemd-networkd.service",
)
TEST_UNIT = """\
[Unit]
Description=Tests of oomkilld
After=multi-user.target
# Where the report goes: the driver of the port may come later than everything else.
Requires=dev-virtio\\x2dports-oomkilld.tests.device
After=dev-virtio\\x2dports-oomkilld.tests.device
# A guest that cannot begin ends at once, and its console is shown.
FailureAction=reboot-force

[Service]
Type=exec
ExecStart=/bin/sh -c 'mount -o ro /dev/vdb /mnt && exec /mnt/checkout/tests/vm/guest/run'
OOMPolicy=continue
OOMScoreAdjust=-900
Delegate=yes
StandardOutput=file:/dev/virtio-ports/oomkilld.tests
StandardError=inherit

[Install]
WantedBy=multi-user.target
"""


class Recipe(NamedTuple):
    """What an image contains beyond what every guest has."""

    kernels: tuple[str, ...]  # names in kernels.SUITES
    packages: tuple[str, ...] = ()
    disk_size: str = "3G"


TESTS = Recipe(tuple(kernels.SUITES))


class Image(NamedTuple):
    """Files of a guest. Its disk has the modules of all its kernels."""

    disk: Path
    kernel: Path
    initrd: Path


def base_images(cache: Path, mirror: str, recipe: Recipe = TESTS) -> dict[str, Image]:
    """The guest for each kernel, by the kernel's name; built now if it is missing.

    ``mirror``: the address of a Debian mirror.
    """
    with (cache / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building it
        archive = kernels.Archive(cache / "apt", mirror)
        packages = {name: archive.kernel_packages(kernels.SUITES[name]) for name in recipe.kernels}
        target = cache / f"image-{_fingerprint(recipe, packages)}"
        if not target.exists():
            print(f"building the guest ({SUITE}) in {target}, once; takes some minutes", flush=True)
            work = cache / f"{target.name}.part"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            _build(work, mirror, recipe, archive, packages)
            work.rename(target)
    return {name: Image(target / "disk", target / name / "vmlinuz", target / name / "initrd") for name in packages}


def _fingerprint(recipe: Recipe, kernel_packages: Mapping[str, list[str]]) -> str:
    sources = (Path(__file__).read_text(), Path(kernels.__file__).read_text())
    parts = [*sources, repr(recipe), *(package for names in kernel_packages.values() for package in names)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _build(
    work: Path, mirror: str, recipe: Recipe, archive: kernels.Archive, kernel_packages: Mapping[str, list[str]]
) -> None:
    root = work / "root"
    log = work / "log"
    packages = ",".join((*SYSTEM_PACKAGES, *PROJECT_PACKAGES, *recipe.packages))
    run_logged(["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root), mirror], log)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/systemd/system/oomkilld-tests.service").write_text(TEST_UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "oomkilld-tests.service").symlink_to("/etc/systemd/system/oomkilld-tests.service")
    (root / "var/log/journal").mkdir(exist_ok=True)
    (root / "etc/hostname").write_text("guest\n")
    shutil.rmtree(root / "var/cache/apt/archives")
    # Every machine in use has it; otherwise packaging/install would wait for it at each boot.
    run_logged(["chroot", str(root), "apt-cache", "gencaches"], log)
    # The initial RAM disk contains what QEMU's virtio disk needs, not every driver.
    (root / "etc/initramfs-tools/modules").write_text("virtio_pci\nvirtio_blk\next4\n")
    (root / "etc/initramfs-tools/conf.d/modules").write_text("MODULES=list\n")
    for name, names in kernel_packages.items():
        tree = work / f"kernel-{name}"
        archive.unpack(names, tree)
        kernels.add_kernel(tree, root, work / name, log)
        shutil.rmtree(tree)
    run_logged(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(work / "disk"), recipe.disk_size], log)
    shutil.rmtree(root)
