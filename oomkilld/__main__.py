# SPDX-License-Identifier: Apache-2.0
"""The program ``oomkilld``: a command where it is given arguments, else the service."""

import os
import signal
import sys
from contextlib import closing
from typing import NoReturn

from oomkilld.console import ERR, NOTICE, say
from oomkilld.errors import NO_ROOM, CaptureUnavailable, NoRoom, OomkilldError


def main(arguments: list[str] | None = None) -> int:
    """Exit status; the service does not return from here, it becomes the resident stage."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words:
            from oomkilld import commands

            return commands.run(words)
        _serve()
    except OomkilldError as error:
        return _fail(error)
    except ImportError as error:
        hint = "install the packages python3-pydantic (2 or newer; or pydantic with pip) and python3-systemd"
        return _fail(CaptureUnavailable(f"a library cannot be imported: {error}", hint))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return _fail(NoRoom(f"no room to start: {error}", "free memory, files or disk; it is tried again by itself"))


def _fail(error: OomkilldError) -> int:
    say(ERR, error.message)
    if error.hint:
        say(NOTICE, error.hint)
    return error.exit_status


def _serve() -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # Addresses of the kernel are in what it writes while it arms.
    os.umask(0o077)
    from oomkilld import levelnotes, store
    from oomkilld.arm import headertree
    from oomkilld.arm.lock import take_lock

    try:
        kept = store.take(os.environ)
        # A second instance must not come so far as to load the compiler.
        lock = take_lock(levelnotes.RUNTIME_DIRECTORY)
        headertree.remove(levelnotes.RUNTIME_DIRECTORY)  # of a start that was killed
        settings = None
        if kept:
            from oomkilld.arm import resume

            settings = resume.run(kept, lock)
        from oomkilld.arm.compiler import Compiler

        # Before everything else is imported: loading bcc takes the longest.
        with closing(Compiler()) as compiler:
            from oomkilld.arm import stage

            stage.run(compiler, kept, lock, settings)
    except _Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
        raise


class _Ended(BaseException):
    """A signal while arming: what was begun is put away first."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _end(number: int, _frame: object) -> NoReturn:
    raise _Ended(number)


if __name__ == "__main__":
    sys.exit(main())
