# SPDX-License-Identifier: Apache-2.0
"""The program ``oomkilld``: a command where it is given arguments, else the service."""

import sys
from typing import NoReturn

from oomkilld.console import ERR, NOTICE, say
from oomkilld.errors import OomkilldError


def main(arguments: list[str] | None = None) -> int:
    """Exit status; the service does not return from here, it becomes the resident stage."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words:
            from oomkilld import commands

            return commands.run(words)
        _serve()
    except OomkilldError as error:
        say(ERR, error.message)
        if error.hint:
            say(NOTICE, error.hint)
        return error.exit_status


def _serve() -> NoReturn:
    from oomkilld.arm.compiler import Compiler

    # Before everything else is imported: loading bcc takes the longest.
    compiler = Compiler()
    try:
        from oomkilld.arm import stage

        stage.run(compiler)
    finally:
        compiler.close()


if __name__ == "__main__":
    sys.exit(main())
