# SPDX-License-Identifier: Apache-2.0
"""The layer vm: boots guests, two at a time; each boot runs the tests of its own directory, see ``plan``."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.support import pace
from tests.vm import arm64, kernels, table
from tests.vm.image import Image, base_images
from tests.vm.machine import ARM64, X86, BootResult, Machine

# Two guests together take 1.3 to 1.5 times as long as one: at most three quarters of the time of one after the other.
AT_A_TIME = 2
MINUTES, FULL_MINUTES = 45.0, 90.0  # for a boot, where two guests run
USUAL_MINUTES = {
    "first_boot": 15.0,
    "second_boot": 2.0,
    "kernel/usual": 5.0,
    "kernel/minutes": 3.0,
    "kernel": 25.0,
    "lockdown": 2.0,
    "restart": 7.0,
    "upgrade": 4.0,
    "sizes": 4.0,
}
PASSED, NOTHING_CHOSEN = 0, 5  # pytest's exit statuses
# More words for the kernel's command line, by boot and by kernel. Since Linux 7.1 watchdog_check_skew waits for the
# other CPU with interrupts off; early in a boot its deadline is in jiffies, which stand still then. With emulated CPUs
# on a busy machine, 2 of 137 boots ended there.
BOOT_WORDS = {"lockdown": ("lockdown=confidentiality",)}
KERNEL_WORDS = {"newest": ("tsc=nowatchdog",)}


# The names for --kernel of tests/run.
KERNELS = (*kernels.SUITES, *arm64.KERNELS)
# Guests in which the tests of restarts run, too: one for each type of processor.
RESTARTED = (kernels.OWN, next(iter(arm64.KERNELS)))
# Machines of other sizes, with the kernel that the guest's userland comes with: memory in MiB, and CPUs.
SIZES = ((256, 1), (8192, 8))
# The newest kernel here that has version 1 of control groups; systemd 257 mounts it only if both words are given.
VERSION_1 = ("6.1", ("systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"))

# The tests in kernel/ that one kernel may fail where another passes; with --full also the others, at the kernel's best
# level. Minutes of memory shortage are tested on one kernel.
EACH_KERNEL = ("-m", "each_kernel")
EACH_KERNEL_IN_FULL = ("-m", "each_kernel or not lesser_level", "--ignore=tests/vm/guest/kernel/minutes")
EACH_KERNEL_SHARE = 0.5


class Guest(NamedTuple):
    """A machine with one of the kernels, and what each of its boots runs.

    ``chosen``: pytest's arguments for that; ``words``: more for the kernel's command line.
    """

    kernel: str
    boots: tuple[str, ...]
    memory_mib: int
    chosen: tuple[str, ...] = ()
    cpus: int = 2
    words: tuple[str, ...] = ()

    def title(self, boot: str) -> str:
        """What tells it apart in the output: in ``sizes``, as QEMU's words."""
        size = [f"-smp {self.cpus} -m {self.memory_mib}"] if boot == "sizes" else []
        return " ".join([self.kernel, boot, *size, *self.words])


def plan(chosen: Sequence[str], *, full: bool) -> Iterator[Guest]:
    """All tests on the guest's own kernel, and on each other those that depend on it; with ``full`` at each level.

    The guest's own kernel comes first: it matters most if time runs out.
    """
    for kernel in sorted(chosen, key=lambda name: name != kernels.OWN):
        if kernel == kernels.OWN:
            yield Guest(kernel, ("first_boot", "second_boot"), 2048)
        usual = ("kernel/usual", "kernel/minutes") if kernel == kernels.OWN else ("kernel/usual",)
        few = EACH_KERNEL_IN_FULL if full else EACH_KERNEL
        yield Guest(kernel, ("kernel",) if full else usual, 512, () if kernel == kernels.OWN else few)
        if full or kernel == kernels.OWN:
            yield Guest(kernel, ("lockdown",), 512)
        if full and kernel in RESTARTED:
            yield Guest(kernel, ("restart",), 1024)
        if full and kernel == kernels.OWN:
            yield Guest(kernel, ("upgrade",), 1024)
            for memory_mib, cpus in SIZES:
                yield Guest(kernel, ("sizes",), memory_mib, cpus=cpus)
        if full and kernel == VERSION_1[0]:
            yield Guest(kernel, ("sizes",), 512, words=VERSION_1[1])


def images_of(chosen: Collection[str], cache: Path, mirror: str) -> dict[str, Image]:
    """The guest for each of these kernels, by its name; what is missing is built now."""
    images: dict[str, Image] = {}
    if not kernels.SUITES.keys().isdisjoint(chosen):
        images |= base_images(cache, mirror)
    if not arm64.KERNELS.keys().isdisjoint(chosen):
        images |= arm64.images(cache, mirror)
    return images


class _Guests:
    """Boots guests, ``AT_A_TIME`` of them; all end when the run ends."""

    def __init__(self, images: Mapping[str, Image], options: argparse.Namespace) -> None:
        self._images = images
        self._options = options
        self._slowness = [pace.slowness()]
        self._environment = {pace.VARIABLE: f"{self._slowness[0]:.1f}"}
        if options.full:
            self._environment["OOMKILLD_TEST_FULL"] = "1"
        self._machines: list[Machine] = []
        self._ending = False

    def all(self, guests: Sequence[Guest]) -> list[dict[str, BootResult]]:
        """For each guest, in order: how its boots ended, by name; empty if there was not enough time."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            try:
                return list(pool.map(self._run, guests))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._ending = True
                for machine in self._machines:
                    machine.end()
                raise

    def _run(self, guest: Guest) -> dict[str, BootResult]:
        minutes = sum(USUAL_MINUTES[boot] for boot in guest.boots) * (EACH_KERNEL_SHARE if guest.chosen else 1)
        # A measurement beside a guest would measure that guest, too: the duration of the last guest shows the machine's
        # speed.
        if not pace.ends_in_time(minutes, self._options.until, max(self._slowness[0], self._slowness[-1])):
            return {}
        started = time.monotonic()
        results = {}
        with tempfile.TemporaryDirectory(dir=self._options.cache, prefix="run-") as work:
            name = f"vm {guest.title(guest.boots[0].partition('/')[0])}"
            processor = ARM64 if guest.kernel in arm64.KERNELS else X86
            image, size = self._images[guest.kernel], guest.memory_mib
            machine = Machine(image, Path(work), name, size, cpus=guest.cpus, processor=processor, ten_times=True)
            self._machines.append(machine)
            for boot in guest.boots:
                if self._ending:
                    break
                results[guest.title(boot)] = self._boot(machine, guest, boot)
        self._slowness.append((time.monotonic() - started) / 60 / minutes)
        return results

    def _boot(self, machine: Machine, guest: Guest, boot: str) -> BootResult:
        most = FULL_MINUTES if self._options.full else MINUTES
        limit = min(most * self._slowness[0], (self._options.until - time.time()) / 60)
        arguments = [*guest.chosen, *self._options.pytest_arguments]
        words = (*guest.words, *KERNEL_WORDS.get(guest.kernel, ()), *BOOT_WORDS.get(boot, ()))
        return machine.boot(boot, arguments, self._environment, limit, words)


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: every test of every boot passed."""
    parser = argparse.ArgumentParser(prog="tests/run vm")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970")
    parser.add_argument("--kernel", action="append", choices=KERNELS)
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args(words)
    # Exit normally on SIGTERM, so that no guest is left running.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    chosen = options.kernel or (KERNELS if options.full else list(kernels.SUITES))
    images = images_of(chosen, options.cache, options.mirror)
    guests = list(plan(chosen, full=options.full))
    results = _Guests(images, options).all(guests)
    statuses = {name: result.status for each in results for name, result in each.items()}
    cells = [cell for each in results for result in each.values() for cell in result.cells]
    left_out = [guest.title(" ".join(guest.boots)) for guest, each in zip(guests, results, strict=True) if not each]
    print(f"seen on each kernel:\n{table.render(cells)}")
    if left_out:
        print(f"LEFT OUT, because this machine is too slow to end them in time: {', '.join(left_out)}")
    if set(statuses.values()) <= {NOTHING_CHOSEN} and not left_out:
        print("no test was chosen")
        return 1
    failed = [boot for boot, status in statuses.items() if status not in (PASSED, NOTHING_CHOSEN)]
    if failed:
        print(f"failed in the guest: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
