# SPDX-License-Identifier: Apache-2.0
"""Lines of the unit, for drop-ins that change one of several assignments."""

from pathlib import Path

UNIT = Path(__file__).parents[2] / "packaging/oomkilld.service"


def binds_but_kmsg() -> list[str]:
    """All bind mounts again, except the kernel log: an empty assignment removes all of them."""
    lines = UNIT.read_text().splitlines()
    return ["BindPaths=", *(line for line in lines if line.startswith("Bind") and "/dev/kmsg" not in line)]


def words(name: str) -> list[str]:
    """All words assigned to ``name``."""
    lines = UNIT.read_text().splitlines()
    return [word for line in lines if line.startswith(f"{name}=") for word in line.partition("=")[2].split()]
