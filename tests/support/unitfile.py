# SPDX-License-Identifier: Apache-2.0
"""Lines of the unit, for drop-ins that change one of several of a kind."""

from pathlib import Path

UNIT = Path(__file__).parents[2] / "packaging/oomkilld.service"


def binds_but_kmsg() -> list[str]:
    """What is bound, anew, but for the kernel's log: an empty assignment takes away all."""
    lines = UNIT.read_text().splitlines()
    return ["BindPaths=", *(line for line in lines if line.startswith("Bind") and "/dev/kmsg" not in line)]


def words(name: str) -> list[str]:
    """All that is assigned to that."""
    lines = UNIT.read_text().splitlines()
    return [word for line in lines if line.startswith(f"{name}=") for word in line.partition("=")[2].split()]
