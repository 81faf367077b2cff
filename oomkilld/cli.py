# SPDX-License-Identifier: Apache-2.0
"""The commands: check the configuration, show it, print the help or the version."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

from oomkilld import __version__, limits
from oomkilld.config.files import shown
from oomkilld.errors import WrongArguments
from oomkilld.stderr import WARNING, put, say

EXIT_STATUSES = """\
exit statuses:
  0   success, or stopped as requested
  1   the service failed while it ran, or restarts at the capture level below; or a command failed to write its output
  2   wrong arguments
  69  no capture level is available on this system, or something else that the service needs is missing
  70  the probe failed unexpectedly: please report it
  71  out of memory, files or disk space, or a limit is too low: systemd retries
  75  another oomkilld was still running after a minute: systemd retries
  77  a privilege is missing
  78  --check-config, --show-config: the configuration is invalid; the service itself runs on, see oomkilld.toml(5)
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command and return the exit status. Raises OomkilldError."""
    parser = _parser()
    if {"", "--check-config="} & set(arguments):
        parser.error("found an empty argument, expected an option or the name of a file")
    options = parser.parse_args(arguments)
    if options.version or options.help:
        put(f"oomkilld {__version__}\n" if options.version else parser.format_help())
        return 0
    limits.check()
    if options.show_config:
        from oomkilld.config import settings

        put(settings.render(settings.load()))
        return 0
    if options.check_config is None:
        parser.error("found no option")
    return _check_config(options.check_config)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongArguments(shown(message), "see `oomkilld --help`; without arguments, oomkilld runs as the service")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="oomkilld",
        description="Record every OOM kill of the kernel as one structured journal entry. Without an option, run as "
        "the service that `systemctl start oomkilld` starts.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,  # argparse ignores errors when it prints help itself
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("-h", "--help", action="store_true", help="print this help and exit")
    action.add_argument("--version", action="store_true", help="print the version and exit")
    action.add_argument(
        "--check-config",
        nargs="?",
        const=True,
        metavar="FILE",
        help="check FILE, or all files in force, print every error and exit",
    )
    action.add_argument(
        "--show-config",
        action="store_true",
        help="print the settings that the files give, each with its origin, and exit",
    )
    return parser


def _check_config(file: str | Literal[True]) -> int:
    """``file``: one file, or True for all files in force."""
    from oomkilld.config import files as configfiles
    from oomkilld.config import settings

    loaded = settings.load() if file is True else settings.load_file(Path(file))
    if file is not True and configfiles.is_passed_over(Path(file)):
        say(
            WARNING,
            f"{shown(file)}: the service does not read this file: it reads oomkilld.toml, and in oomkilld.toml.d each "
            "*.toml whose name does not begin with a dot; a file in /etc/oomkilld replaces its namesakes",
        )
    for warning in settings.rows_not_there(loaded):
        say(WARNING, warning)
    return 0
