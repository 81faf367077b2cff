# SPDX-License-Identifier: Apache-2.0
"""What is said on stderr."""

import os
import sys
from contextlib import suppress

ERR, WARNING, NOTICE = 3, 4, 5


def say(priority: int, text: str) -> None:
    """Each line of ``text``; for the journal with its priority, sd-daemon(3).

    Nobody may be there to read it any more: the stream of a journald that was stopped is broken.
    """
    mark = f"<{priority}>" if stderr_is_journal() else "oomkilld: "
    for line in text.splitlines():
        with suppress(OSError):
            print(f"{mark}{line}", file=sys.stderr)


def stderr_is_journal() -> bool:
    """By systemd.exec(5): the variable alone may be inherited by a terminal."""
    try:
        stream = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
