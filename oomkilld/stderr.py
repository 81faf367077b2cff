# SPDX-License-Identifier: Apache-2.0
"""Writes log lines to stderr and a command's output to stdout."""

import os

from oomkilld.errors import OutputFailed

_STDOUT, _STDERR = 1, 2
ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6


def say(priority: int, text: str, program: str = "oomkilld") -> None:
    """Write each line of ``text`` to stderr; for the journal with its priority, sd-daemon(3).

    Errors are ignored: the stream breaks when journald stops.
    """
    mark = f"<{priority}>" if stderr_is_journal() else f"{program}: "
    for line in text.splitlines():
        try:  # noqa: SIM105 # contextlib takes as long to import as all that a command's --help needs of this project
            # Not sys.stderr: it retries a failed write at exit, and that changes the exit status.
            os.write(_STDERR, f"{mark}{line}\n".encode(errors="backslashreplace"))
        except OSError:
            pass


def put(text: str, to: int = _STDOUT) -> None:
    """Write a command's output to stdout, or to its pager. Raises OutputFailed."""
    # Not sys.stdout, for the same reason.
    content = memoryview(text.encode(errors="backslashreplace"))
    try:
        while content:
            content = content[os.write(to, content) :]
    except OSError as error:
        hint = "write it to a file on a disk with free space, or pipe it to a program that reads to the end"
        raise OutputFailed(f"Failed to write the output: {error.strerror}", hint) from None


def stderr_is_journal() -> bool:
    """Whether stderr is the journal's stream. $JOURNAL_STREAM alone does not say so: a terminal may inherit it."""
    try:
        stream = os.fstat(_STDERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
