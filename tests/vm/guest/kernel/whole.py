# SPDX-License-Identifier: Apache-2.0
"""What takes all the memory that the machine has."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm.guest.kills import MIB

SWAP = Path("/var/swap")
# Above everything else on the machine: only these are killed.
HOG = ("adjust=1000", "uid=65534", "name=host eater")
# For one of them to take all, on an emulated machine that fetches its programs from disk again and again meanwhile.
KILLED_WITHIN = 240.0


@contextmanager
def swap() -> Iterator[None]:
    """Some: it counts as capacity."""
    with SWAP.open("wb") as file:
        file.write(bytes(64 * MIB))
    SWAP.chmod(0o600)
    subprocess.run(["mkswap", "-q", SWAP], check=True)
    subprocess.run(["swapon", SWAP], check=True)
    try:
        yield
    finally:
        subprocess.run(["swapoff", SWAP], check=True)
        SWAP.unlink()
