# SPDX-License-Identifier: Apache-2.0
"""What the arming stage and the command line say, on stderr."""

import os
import sys

ERR, WARNING, NOTICE = 3, 4, 5


def say(priority: int, text: str) -> None:
    """Each line of ``text``; for the journal with its priority, sd-daemon(3)."""
    mark = f"<{priority}>" if "JOURNAL_STREAM" in os.environ else "oomkilld: "
    for line in text.splitlines():
        print(f"{mark}{line}", file=sys.stderr)
