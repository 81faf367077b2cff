# SPDX-License-Identifier: Apache-2.0
"""What is said on stderr, and what is put on stdout."""

import os
from contextlib import suppress

from oomkilld.errors import OutputFailed

_STDOUT, _STDERR = 1, 2
ERR, WARNING, NOTICE = 3, 4, 5


def say(priority: int, text: str) -> None:
    """Each line of ``text``; for the journal with its priority, sd-daemon(3).

    Nobody may be there to read it any more: the stream of a journald that was stopped is broken.
    """
    mark = f"<{priority}>" if stderr_is_journal() else "oomkilld: "
    for line in text.splitlines():
        with suppress(OSError):
            # Not sys.stderr: what that could not write it tries again at the end, and the exit status is another then.
            os.write(_STDERR, f"{mark}{line}\n".encode(errors="backslashreplace"))


def put(text: str) -> None:
    """What was asked for. Raises OutputFailed."""
    # Not sys.stdout, for the same reason.
    content = memoryview(text.encode(errors="backslashreplace"))
    try:
        while content:
            content = content[os.write(_STDOUT, content) :]
    except OSError as error:
        hint = "send it to a file on a disk with room, or to a program that reads to the end"
        raise OutputFailed(f"the output cannot be written: {error.strerror}", hint) from None


def stderr_is_journal() -> bool:
    """By systemd.exec(5): the variable alone may be inherited by a terminal."""
    try:
        stream = os.fstat(_STDERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
