# SPDX-License-Identifier: Apache-2.0
"""The directory of the generated headers, which exists only while a probe is compiled."""

from contextlib import suppress
from pathlib import Path

from oomkilld.service.notefile import Directory

_NAME = "headers"


def path(directory: Directory) -> Path:
    """The header tree below the runtime ``directory``."""
    return Path(directory, _NAME)


def remove(directory: Directory) -> None:
    """Remove the tree, or a file or link in its place, but not the target. The lock must be held. Raises OSError."""
    tree = path(directory)
    try:
        with suppress(FileNotFoundError):
            tree.unlink()
    except IsADirectoryError:
        import shutil  # rarely needed

        shutil.rmtree(tree)
