# SPDX-License-Identifier: Apache-2.0
"""The layer vm: boots guests, each boot with the tests of its own directory; see ``plan``."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support import pace
from tests.vm import kernels, table
from tests.vm.image import base_images
from tests.vm.machine import Machine

MINUTES = 25.0
USUAL_MINUTES = {
    "first_boot": 6.0,
    "second_boot": 2.0,
    "kernel/least": 3.0,
    "kernel": 9.0,
    "lockdown": 3.0,
    "restart": 6.0,
}
PASSED, NOTHING_CHOSEN = 0, 5  # pytest's exit statuses
# More words on the kernel's command line, for the boots that need them.
KERNEL_WORDS = {"lockdown": ("lockdown=confidentiality",)}


class Guest(NamedTuple):
    """A machine with one of the kernels, and what it runs at each of its boots."""

    kernel: str
    boots: tuple[str, ...]
    memory_mib: int


def plan(chosen: Sequence[str], *, full: bool) -> Iterator[Guest]:
    """Everything on the kernel of the guest's own suite, on each other the least; with ``full`` the whole matrix.

    The own one first: should the time not suffice, it is what tells most.
    """
    for kernel in sorted(chosen, key=lambda name: name != kernels.OWN):
        if kernel == kernels.OWN:
            yield Guest(kernel, ("first_boot", "second_boot"), 2048)
        yield Guest(kernel, ("kernel",) if full else ("kernel/least",), 512)
        if full or kernel == kernels.OWN:
            yield Guest(kernel, ("lockdown",), 512)
        if full and kernel == kernels.OWN:
            yield Guest(kernel, ("restart",), 1024)


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0 when every test of every boot passed."""
    parser = argparse.ArgumentParser(prog="tests/run vm")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970")
    parser.add_argument("--kernel", action="append", choices=kernels.SUITES)
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args(words)
    # As an exit: no guest is left running.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    images = base_images(options.cache, options.mirror)
    slowness = pace.slowness()
    environment = {pace.VARIABLE: f"{slowness:.1f}", **({"OOMKILLD_TEST_FULL": "1"} if options.full else {})}
    statuses: dict[str, int] = {}
    cells: list[table.Cell] = []
    left_out = []
    for guest in plan(options.kernel or list(kernels.SUITES), full=options.full):
        minutes = sum(USUAL_MINUTES[boot] for boot in guest.boots)
        if not pace.ends_in_time(minutes, options.until):
            left_out.append(f"{guest.kernel} {' '.join(guest.boots)}")
            continue
        with tempfile.TemporaryDirectory(dir=options.cache, prefix="run-") as work:
            machine = Machine(images[guest.kernel], Path(work), f"vm {guest.kernel}", guest.memory_mib)
            for boot in guest.boots:
                limit = min(MINUTES * slowness, (options.until - time.time()) / 60)
                result = machine.boot(boot, options.pytest_arguments, environment, limit, KERNEL_WORDS.get(boot, ()))
                statuses[f"{guest.kernel} {boot}"] = result.status
                cells += result.cells
    print(f"seen on each kernel:\n{table.render(cells)}")
    if left_out:
        print(f"LEFT OUT, for on this machine they would not end in time now: {', '.join(left_out)}")
    if set(statuses.values()) <= {NOTHING_CHOSEN} and not left_out:
        print("no test was chosen")
        return 1
    failed = [boot for boot, status in statuses.items() if status not in (PASSED, NOTHING_CHOSEN)]
    if failed:
        print(f"failed in the guest: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
