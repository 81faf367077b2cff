# SPDX-License-Identifier: Apache-2.0
"""Boots the guest under QEMU, with the checkout on a second disk, and lets it run its tests."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.vm import table
from tests.vm.image import CHECKOUT, Image

# Deadline for units and for the device that starts the tests; the default of 90 s is too short on a slow machine.
_PATIENCE = "systemd.default_device_timeout_sec=15min systemd.default_timeout_start_sec=15min"
_KERNEL_WORDS = f"root=/dev/vda rw panic=-1 {_PATIENCE}"
# What the boot "upgrade" installs first: a program with other rooms, and other layouts of the ledger and of sent ids.
UPGRADE, BEFORE = "upgrade", "a6895b6"
_EXIT_MARK = "guest tests ended with status "
# The program's promised deadlines, ten times longer in a guest of the layer vm: with emulated CPUs, and beside another
# guest, a process may get no time for longer than a promise allows.
_PROMISES = (
    ("oomkilld/record/enrich/memcgusage.py", "\nMAX_MILLISECONDS = "),
    ("oomkilld/record/deliver/confirm.py", "\nDEADLINE_NS = "),
    ("oomkilld/record/cmdline/reader.py", "\nDEADLINE_NS = "),
    ("oomkilld/record/enrich/sample.py", "\nMAX_SAMPLE_DELAY_NS = "),
    ("oomkilld/record/loglines.py", "\nWAIT_NS = "),
    ("oomkilld/record/loglines.py", "\nCATCH_UP_NS = "),
    ("oomkilld/record/loglines.py", "\nFIRST_CATCH_UP_NS = "),
)


class Processor(NamedTuple):
    """What differs for a guest with such a processor: its emulator, its console, and the compiler of its programs."""

    qemu: tuple[str, ...]
    console: str
    compiler: str


X86 = Processor(("qemu-system-x86_64",), "ttyS0", "gcc")
ARM64 = Processor(("qemu-system-aarch64", "-M", "virt"), "ttyAMA0", "aarch64-linux-gnu-gcc")


class BootResult(NamedTuple):
    """The result of one boot's tests: pytest's exit status, and their cells for the table of kernels."""

    status: int
    cells: list[table.Cell]


class Machine:
    """A guest with a disk of its own in ``work``, an empty directory; the disk survives reboots.

    ``name`` precedes each line that it prints. ``ten_times``: the program in it has ten times longer deadlines, because
    it is emulated.
    """

    def __init__(
        self,
        image: Image,
        work: Path,
        name: str = "vm",
        memory_mib: int = 2048,
        *,
        cpus: int = 2,
        processor: Processor = X86,
        ten_times: bool = False,
    ) -> None:
        self._image = image
        self._work = work
        self._name = name
        self._memory_mib = memory_mib
        self._cpus = cpus
        self._processor = processor
        self._ten_times = ten_times
        self._disk = work / "disk"
        self._qemu: subprocess.Popen[str] | None = None
        self._ended = False
        subprocess.run(["cp", "--sparse=always", image.disk, self._disk], check=True)

    def boot(
        self,
        tests: str,
        pytest_arguments: Sequence[str],
        environment: Mapping[str, str],
        minutes: float,
        kernel_words: Sequence[str] = (),
    ) -> BootResult:
        """Run ``tests``, a directory or file of tests/vm/guest, from boot to shutdown.

        ``kernel_words``: more for the kernel's command line.
        """
        disk = self._tests_disk(pytest_arguments, environment, with_before=tests == UPGRADE)
        console = self._work / f"console-{tests.replace('/', '-')}.log"
        self._qemu = qemu = subprocess.Popen(
            self._command(disk, console, [f"oomkilld.tests={tests}", *kernel_words]),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
        timer = threading.Timer(minutes * 60, qemu.kill)
        timer.start()
        if self._ended:
            qemu.kill()
        status = None
        cells = []
        assert qemu.stdout is not None
        try:
            for line in qemu.stdout:
                if line.startswith(_EXIT_MARK):
                    status = int(line.removeprefix(_EXIT_MARK))
                elif cell := table.parse(line):
                    cells.append(cell)
                else:
                    sys.stdout.write(f"[{self._name}] {line}")
                    sys.stdout.flush()
            qemu.wait()
        finally:
            timer.cancel()
            qemu.kill()
        if status is None:
            print(f"the guest ended without a result (limit {minutes} min); the end of its console:")
            print("\n".join(console.read_text(errors="replace").splitlines()[-40:]))
            status = 1
        return BootResult(status, cells)

    def end(self) -> None:
        """End the guest for good; ``boot`` returns, in whichever thread it runs."""
        self._ended = True
        if self._qemu is not None:
            self._qemu.kill()

    def file(self, path: Path) -> str:
        """A file of the guest's disk, read between boots; empty if it is missing."""
        command = ["debugfs", "-R", f"cat {path}", str(self._disk)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _command(self, disk: Path, console: Path, kernel_words: Sequence[str]) -> list[str]:
        append = " ".join([f"console={self._processor.console}", _KERNEL_WORDS, *kernel_words])
        return [
            *(*self._processor.qemu, "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-m", str(self._memory_mib), "-smp", str(self._cpus), *self._nodes()),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{console}"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", append),
            *("-drive", f"file={self._disk},format=raw,if=virtio,cache=unsafe"),
            *("-drive", f"file={disk},format=raw,if=virtio,readonly=on"),
            *("-drive", f"file={self._freezable()},format=raw,if=virtio"),
            *("-device", "virtio-serial", "-chardev", "file,id=report,path=/dev/stdout"),
            *("-device", "virtserialport,chardev=report,name=oomkilld.tests"),
        ]

    def _freezable(self) -> Path:
        """A small file system that a test may freeze, /dev/vdc."""
        disk = self._work / "freezable.img"
        disk.unlink(missing_ok=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", disk, "16M"], check=True, stdout=subprocess.DEVNULL)
        return disk

    def _nodes(self) -> list[str]:
        """Two NUMA nodes, with all CPUs in the first: limits to one node are causes of their own for a kill."""
        second = self._memory_mib // 4
        sizes = (self._memory_mib - second, second)
        cpus = (f",cpus=0-{self._cpus - 1}", "")
        return [
            word
            for node, (size, cpu) in enumerate(zip(sizes, cpus, strict=True))
            for word in (
                *("-object", f"memory-backend-ram,id=node{node},size={size}M"),
                *("-numa", f"node,nodeid={node},memdev=node{node}{cpu}"),
            )
        ]

    def _tests_disk(
        self, pytest_arguments: Sequence[str], environment: Mapping[str, str], *, with_before: bool
    ) -> Path:
        tree = self._work / "tests"
        if tree.exists():
            shutil.rmtree(tree)
        tree.mkdir()
        copy_checkout(tree / "checkout")
        if self._ten_times:
            give_ten_times_as_long(tree / "checkout")
        if with_before:
            checkout_of(BEFORE, tree / "before")
        build_hog(tree / "hog", self._processor.compiler)
        (tree / "pytest-arguments").write_text("".join(f"{argument}\n" for argument in pytest_arguments))
        (tree / "environment").write_text("".join(f"export {name}={value}\n" for name, value in environment.items()))
        disk = self._work / "tests.img"
        disk.unlink(missing_ok=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, disk, "32M"], check=True, stdout=subprocess.DEVNULL)
        return disk


def copy_checkout(target: Path) -> None:
    """The files that git tracks or would track, in their current state, without caches and builds."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listing.stdout.split("\0"):
        if name and (CHECKOUT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, target / name)


def checkout_of(commit: str, target: Path) -> None:
    """The files of an earlier commit, which the checkout's history must have."""
    target.mkdir()
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT), "archive", commit]
    archive = subprocess.run(git, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", target], input=archive, check=True)


def give_ten_times_as_long(checkout: Path) -> None:
    """Change a copy of the checkout: each of _PROMISES."""
    for name, promise in _PROMISES:
        text = (checkout / name).read_text()
        assert promise in text, f"{name}: no line that begins with {promise.strip()!r}"
        (checkout / name).write_text(text.replace(promise, f"{promise}10 * "))


def build_hog(target: Path, compiler: str = X86.compiler) -> None:
    """The program for processes to be killed, linked statically so that it runs anywhere."""
    source = CHECKOUT / "tests/support/hog.c"
    flags = ["-static", "-O1", "-Wall", "-Werror", "-pthread"]
    subprocess.run([compiler, *flags, "-o", target, source], check=True)
