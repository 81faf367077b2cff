# SPDX-License-Identifier: Apache-2.0
"""The program ``oomkillctl``: finds the verb, and runs the module that has its name."""

import signal
import sys

from oomkilld import __version__
from oomkilld.ctl import arguments, options
from oomkilld.ctl.say import PROGRAM
from oomkilld.ending import status_of
from oomkilld.errors import OomkilldError
from oomkilld.stderr import put


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status."""
    # As other programs of a pipeline, end in silence when nobody reads on, and without Python's traceback on Ctrl-C.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    words = sys.argv[1:] if arguments is None else arguments
    return status_of(lambda: _run(words), _unforeseen, PROGRAM)


def _run(words: list[str]) -> int:
    parser = arguments.parser()
    parsed = arguments.parse(parser, words)
    if parsed.help or parsed.version:
        put(f"{PROGRAM} {__version__}\n" if parsed.version else parser.format_help())
        return 0
    from importlib import import_module

    verb = import_module(f"oomkilld.ctl.{options.VERBS[parsed.verb].module}")
    status: int = verb.run(parsed)
    return status


def _unforeseen(error: Exception) -> OomkilldError | None:
    """Shown with Python's traceback, unless a library is missing."""
    if isinstance(error, ImportError) and (error.name or "").startswith("systemd"):
        return OomkilldError(f"Failed to import a library: {error}", "install the package python3-systemd")
    return None
