# SPDX-License-Identifier: Apache-2.0
"""What the program does when it is given arguments: check and show the configuration, say what it can do."""

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
  0   ended as asked
  1   the service failed while it ran, or starts again at the capture level below; or the output was not written
  2   wrong arguments
  69  this system offers no way to see OOM kills, or lacks what the service cannot do without
  70  the probe should work here and does not: please report it
  71  no memory, files or disk left while starting, or a limit too low: systemd tries again
  75  another oomkilld records already, for a minute: systemd tries again
  77  a privilege is missing
  78  --check-config, --show-config: the configuration is invalid; the service itself goes on, see oomkilld.toml(5)
"""


def run(arguments: Sequence[str]) -> int:
    """The exit status. Raises OomkilldError."""
    parser = _parser()
    if {"", "--check-config="} & set(arguments):
        parser.error("found an empty argument, expected an option or the name of a file")
    options = parser.parse_args(arguments)
    if options.version or options.help:
        put(f"oomkilld {__version__}\n" if options.version else parser.format_help())
        return 0
    limits.check()
    if options.show_config:
        return _show_config()
    if options.check_config is None:
        parser.error("found no option")
    return _check_config(options.check_config)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongArguments(shown(message), "see `oomkilld --help`; without any argument it is the service")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="oomkilld",
        description="Record every OOM kill of the kernel as one structured journal entry. Without an option: "
        "the service, as started by `systemctl start oomkilld`.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,  # what argparse itself writes, it writes whether it can or not
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("-h", "--help", action="store_true", help="print this and end")
    action.add_argument("--version", action="store_true", help="print the version and end")
    action.add_argument(
        "--check-config",
        nargs="?",
        const=True,
        metavar="FILE",
        help="check FILE, or all files in force, print every error and end",
    )
    action.add_argument(
        "--show-config",
        action="store_true",
        help="print the settings that the files give, each with its origin, and end",
    )
    return parser


def _check_config(file: str | Literal[True]) -> int:
    """``file``: True: all in force."""
    from oomkilld.config import files as configfiles
    from oomkilld.config import settings

    loaded = settings.load() if file is True else settings.load_file(Path(file))
    if file is not True and configfiles.is_passed_over(Path(file)):
        say(
            WARNING,
            f"{shown(file)}: the service does not read this file: its name does not end in .toml, or begins "
            "with a dot, or one of the same name in /etc/oomkilld takes its place",
        )
    for warning in settings.rows_not_there(loaded):
        say(WARNING, warning)
    return 0


def _show_config() -> int:
    from oomkilld.config import settings

    put(settings.render(settings.load()))
    return 0
