# SPDX-License-Identifier: Apache-2.0
"""The guest once more for processors of type arm64: made on this machine, whose programs it runs through QEMU.

It is kept in the cache like the other guest, which image.py builds.
"""

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.vm import image
from tests.vm.command import run_logged
from tests.vm.image import Image

# Kernels of the suite that the userland comes from, by the names for --kernel of tests/run.
KERNELS = {"arm64": "linux-image-cloud-arm64", "arm64-16k": "linux-image-arm64-16k"}
# Beside the other guest's packages; packaging/install would fetch it.
_PACKAGES = (*image.SYSTEM_PACKAGES, *image.PROJECT_PACKAGES, "libatomic1", *KERNELS.values())
_MASKED = (*image.MASKED, "serial-getty@ttyAMA0.service")
_DISK_SIZE = "3G"
_EMULATOR = "qemu-aarch64"
# How the kernel knows a program for this processor, see binfmt-misc.rst: the beginning of its file, and which bits of
# that count. F: it opens the emulator now, outside the guest's root.
_BEGINNING = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
_BITS = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
_FORMAT = f":oomkilld-tests-arm64:M::{_BEGINNING}:{_BITS}:%s:F"


def images(cache: Path, mirror: str) -> dict[str, Image]:
    """The guest for each of ``KERNELS``; built now if it is missing. ``mirror``: the address of a Debian mirror."""
    with (cache / "image-arm64.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building it
        target = cache / f"image-arm64-{_fingerprint(mirror, cache)}"
        if not target.exists():
            print(f"building the guest ({image.SUITE}, arm64) in {target}, once; takes many minutes", flush=True)
            work = cache / f"{target.name}.part"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            _build(work, mirror)
            work.rename(target)
    return {name: Image(target / "disk", target / name / "vmlinuz", target / name / "initrd") for name in KERNELS}


def _debootstrap(*words: str | Path) -> list[str]:
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    return [*command, *map(str, words)]


def _fingerprint(mirror: str, cache: Path) -> str:
    """The name of a kernel's package says its version."""
    with tempfile.TemporaryDirectory(dir=cache, prefix="packages-") as work:
        command = _debootstrap("--print-debs", image.SUITE, f"{work}/root", mirror)
        names = run_logged(command, cache / "image-arm64.log")
    kernels = sorted(name for name in names.split() if name.startswith("linux-image-"))
    parts = [Path(__file__).read_text(), Path(image.__file__).read_text(), *kernels]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _build(work: Path, mirror: str) -> None:
    root = work / "root"
    log = work / "log"
    run_logged(_debootstrap("--foreign", image.SUITE, root, mirror), log)
    _shorten_lists(root)
    # The initial RAM disk contains what QEMU's virtio disk needs, not every driver.
    _write(root / "etc/initramfs-tools/conf.d/modules", "MODULES=list\n")
    _write(root / "usr/share/initramfs-tools/modules.d/guest", "virtio_pci\nvirtio_blk\next4\n")
    with _runs_arm64(root):
        # It mounts /proc and /sys there: nobody else sees them, and they go with it however it ends.
        run_logged(["unshare", "--mount", "chroot", str(root), "/debootstrap/debootstrap", "--second-stage"], log)
        shutil.rmtree(root / "var/cache/apt/archives")
        # Every machine in use has it; otherwise packaging/install would wait for it at each boot.
        run_logged(["chroot", str(root), "apt-cache", "gencaches"], log)
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    _write(root / "etc/systemd/system/oomkilld-tests.service", image.TEST_UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "oomkilld-tests.service").symlink_to("/etc/systemd/system/oomkilld-tests.service")
    (root / "var/log/journal").mkdir(exist_ok=True)
    _write(root / "etc/hostname", "guest\n")
    for name, package in KERNELS.items():
        flavour = package.removeprefix("linux-image-")
        (kernel,) = root.glob(f"boot/vmlinuz-*-{flavour}")
        (work / name).mkdir()
        shutil.move(kernel, work / name / "vmlinuz")
        shutil.move(str(kernel).replace("vmlinuz", "initrd.img"), work / name / "initrd")
    run_logged(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(work / "disk"), _DISK_SIZE], log)
    shutil.rmtree(root)


def _shorten_lists(root: Path) -> None:
    """Keep only the guest's packages in apt's lists.

    The second stage reads them through several times, with emulated programs: that would take most of its time.
    """
    packages = {file.name.partition("_")[0] for file in (root / "var/cache/apt/archives").glob("*.deb")}
    for path in (root / "var/lib/apt/lists").glob("*_Packages"):
        stanzas = path.read_text().strip().split("\n\n")
        kept = [text for text in stanzas if text.removeprefix("Package: ").partition("\n")[0] in packages]
        path.write_text("\n\n".join(kept) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@contextmanager
def _runs_arm64(root: Path) -> Iterator[None]:
    """This machine runs the programs of ``root``; if it did not before, it does not afterwards either."""
    if _runs(root):
        yield
        return
    emulator = shutil.which(_EMULATOR)
    assert emulator is not None, f"{_EMULATOR} is missing; tests/run installs it"
    with tempfile.TemporaryDirectory() as mounted:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", mounted], check=True)
        try:
            (Path(mounted) / "register").write_text(_FORMAT % emulator)
            try:
                yield
            finally:
                (Path(mounted) / "oomkilld-tests-arm64").write_text("-1")
        finally:
            subprocess.run(["umount", mounted], check=True)


def _runs(root: Path) -> bool:
    command: Sequence[str | Path] = ["chroot", root, "/bin/true"]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
