# SPDX-License-Identifier: Apache-2.0
"""The program ``oomkilld``: with arguments it runs a command, without any the service."""

import os
import signal
import sys
from contextlib import closing

from oomkilld import errors
from oomkilld.ending import status_of
from oomkilld.lighttyping import NoReturn


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status. The service does not return: it becomes the resident stage."""
    words = sys.argv[1:] if arguments is None else arguments
    return status_of(lambda: _run(words), errors.of_start)


def resident() -> int:
    """Run the resident stage, which handover.py starts, and return the exit status."""
    return status_of(_record, errors.no_room)


def _run(words: list[str]) -> int:
    _open_standard_files()
    if not words:
        _serve()
    from oomkilld import cli

    return cli.run(words)


def _record() -> int:
    try:
        from oomkilld.record.main import main
    except ImportError as error:
        raise errors.of_start(error) or error from error

    main()
    return 0


def _open_standard_files() -> None:
    """Open the standard files that are closed: otherwise the next open file would get one of their numbers.

    They are opened for reading, so a write to them fails as before.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDONLY)
            os.set_inheritable(fd, True)


def _serve() -> NoReturn:
    from oomkilld import limits

    limits.check()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    os.chdir("/")  # bcc asks for the current directory, and the one at the start may be gone
    os.umask(0o077)  # as the unit's
    from oomkilld.arm import headertree
    from oomkilld.arm.lock import take_lock
    from oomkilld.service import fdstore, rundir

    try:
        kept = fdstore.take(os.environ)
        try:
            # A second instance must stop here, before it loads the compiler.
            lock = take_lock(rundir.RUNTIME_DIRECTORY)
            headertree.remove(rundir.RUNTIME_DIRECTORY)  # left by a start that was killed
        except OSError as error:
            hint = "expected a directory that root can write to: move anything else away, or mount it writable"
            raise errors.unusable(error, rundir.RUNTIME_DIRECTORY, hint) from None
        settings = None
        if kept:
            from oomkilld.arm import adopt

            settings = adopt.run(kept, lock)
        state = rundir.state_directory()
        if state and os.path.lexists(os.path.join(state, rundir.PROGRAM)):
            from oomkilld.arm import restore

            settings = restore.run(state, kept, lock, settings)
        from oomkilld.arm.compiler import Compiler

        # Start the compiler before any other import: loading bcc takes the longest.
        with closing(Compiler()) as compiler:
            from oomkilld.arm import main as arming

            arming.run(compiler, kept, lock, settings)
    except _Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
        raise


class _Ended(BaseException):
    """A signal that arrived while arming. The stage cleans up before the process ends."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _end(number: int, _frame: object) -> NoReturn:
    raise _Ended(number)


if __name__ == "__main__":
    sys.exit(main())
