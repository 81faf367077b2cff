# SPDX-License-Identifier: Apache-2.0
"""The layer vm: boots the guest twice, each time with the tests of its own directory."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.vm.image import base_image
from tests.vm.machine import Machine

BOOTS = ("first_boot", "second_boot")
MINUTES = 25.0


def main() -> int:
    """Exit status 0 when every test of every boot passed."""
    parser = argparse.ArgumentParser(prog="tests/run vm")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args()
    image = base_image(options.cache, options.mirror)
    environment = {"OOMKILLD_TEST_FULL": "1"} if options.full else {}
    with tempfile.TemporaryDirectory(dir=options.cache, prefix="run-") as work:
        machine = Machine(image, Path(work))
        failed = [boot for boot in BOOTS if machine.boot(boot, options.pytest_arguments, environment, MINUTES)]
    if failed:
        print(f"failed in the guest: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
