# SPDX-License-Identifier: Apache-2.0
"""Where the generated headers lie while a probe is compiled, and how they go away again."""

from contextlib import suppress
from pathlib import Path

from oomkilld.service.notefile import Directory

_NAME = "headers"


def path(directory: Directory) -> Path:
    """Below the runtime ``directory``."""
    return Path(directory, _NAME)


def remove(directory: Directory) -> None:
    """Whatever is there, a link without what it leads to. The lock must be held. Raises OSError."""
    tree = path(directory)
    try:
        with suppress(FileNotFoundError):
            tree.unlink()
    except IsADirectoryError:
        import shutil  # only where there is something to do

        shutil.rmtree(tree)
