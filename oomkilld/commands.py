# SPDX-License-Identifier: Apache-2.0
"""What the program does when it is given arguments: check and show the configuration, say what it can do."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from oomkilld import __version__
from oomkilld.console import WARNING, say

EXIT_STATUSES = """\
exit statuses:
  0   ended as asked
  1   the service failed while it ran, or starts again at the capture level below
  2   wrong arguments
  69  this system offers no way to see OOM kills
  70  the probe should work here and does not: please report it
  71  no memory or no files left while starting: systemd tries again
  75  another oomkilld records already, for a minute: systemd tries again
  77  a privilege is missing
  78  --check-config, --show-config: the configuration is invalid; the service goes on with the last valid settings
"""


def run(arguments: Sequence[str]) -> int:
    """The exit status. Raises OomkilldError."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.show_config:
        return _show_config()
    if options.check_config is None:
        parser.error("nothing to do: without any argument it is the service")
    return _check_config(options.check_config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oomkilld",
        description="Record every OOM kill of the kernel as one structured journal entry. Without an option: "
        "the service, as started by `systemctl start oomkilld`.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"oomkilld {__version__}")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check-config",
        nargs="?",
        const="",
        metavar="FILE",
        help="check FILE, or all files in force, print every error and end",
    )
    action.add_argument(
        "--show-config", action="store_true", help="print the settings in force, each with its origin, and end"
    )
    return parser


def _check_config(file: str) -> int:
    from oomkilld import settings

    loaded = settings.load_file(Path(file)) if file else settings.load()
    for warning in settings.rows_not_there(loaded):
        say(WARNING, warning)
    return 0


def _show_config() -> int:
    from oomkilld import settings

    sys.stdout.write(settings.render(settings.load()))
    return 0
