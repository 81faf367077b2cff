# SPDX-License-Identifier: Apache-2.0
"""The verbs and options of the command line."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from oomkilld.lighttyping import Any

SEE = "see `oomkillctl --help`"


def shown(text: str) -> str:
    """A word of the command line, safe for a terminal."""
    # Imported only for errors: its tables take as long as the parser, and --help needs none.
    from oomkilld.text import harmless

    return harmless(text)


# These are no named tuples: to make such a class takes as long as all options together.
class Verb:
    """``module``: in this package; it has ``run(options) -> int``, which returns the exit status."""

    def __init__(self, module: str, text: str) -> None:
        self.module = module
        self.text = text


_ALL_VERBS = {
    "list": Verb("listing", "list kills, one per line, the newest last (the default)"),
    "info": Verb("info", "show everything about the newest kill, or about all that match"),
    "follow": Verb("follow", "list kills as they happen"),
    "stats": Verb("stats", "count kills, by unit or as --by says"),
    "check": Verb("check", "check whether this machine's kills are recorded"),
    "selftest": Verb("selftest", "let the kernel kill one process of its own, confined to 30 MiB, and await its entry"),
    "schema": Verb("jsonschema", "print the JSON Schema of an entry"),
}
_HERE = os.path.dirname(__file__)
VERBS = {name: verb for name, verb in _ALL_VERBS.items() if os.path.exists(f"{_HERE}/{verb.module}.py")}
DEFAULT_VERB = "list"
ALL = sys.maxsize  # the value of ``-n all``

_EVERY = tuple(_ALL_VERBS)
READING = ("list", "info", "follow", "stats")
_LISTS = ("list", "info", "stats")


class Option:
    """``verbs``: for which it has a meaning. ``settings``: for argparse."""

    def __init__(self, flags: tuple[str, ...], verbs: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.flags = flags
        self.verbs = verbs
        self.settings = settings

    @property
    def name(self) -> str:
        """Of its value in the namespace, as argparse names it."""
        return str(self.settings.get("dest", self.flags[-1].lstrip("-").replace("-", "_")))

    @property
    def takes_value(self) -> bool:
        """Whether the next word is its value, whatever that looks like."""
        return self.settings.get("action", "store") in ("store", "append") and "nargs" not in self.settings


def _flag(*flags: str, verbs: Sequence[str], text: str) -> Option:
    return Option(flags, verbs, {"action": "store_true", "help": text})


def _value(*flags: str, verbs: Sequence[str], metavar: str, text: str, **more: object) -> Option:
    return Option(flags, verbs, {"metavar": metavar, "help": text, **more})


def _values(*flags: str, verbs: Sequence[str], metavar: str, text: str) -> Option:
    return _value(*flags, verbs=verbs, metavar=metavar, text=f"{text}; may be given again", action="append", default=[])


def _count(text: str) -> int:
    """The value of -n; not given, it is None."""
    if text == "all":
        return ALL
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"found '{shown(text)}', expected a number or 'all'")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    """Instead of argparse's choices, whose message differs between versions of Python."""

    def chosen(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"found '{shown(text)}', expected one of {', '.join(words)}")
        return text

    return chosen


_WHEN = ("auto", "always", "never")
WHICH = (
    _value("-S", "--since", verbs=READING, metavar="TIME", text="killed at TIME or later, see systemd.time(7)"),
    _value("-U", "--until", verbs=_LISTS, metavar="TIME", text="killed at TIME or earlier"),
    Option(
        ("-b", "--boot"),
        _LISTS,
        {
            "nargs": "?",
            "const": "",
            "metavar": "BOOT",
            "help": "in this boot; BOOT: an id, -1 for the boot before, 1 for the oldest one",
        },
    ),
    _value("-n", "--lines", verbs=("list", "info", "follow"), metavar="N", text="the newest N", type=_count),
    Option(("-1",), ("list", "info"), {"dest": "newest", "action": "store_true", "help": "the newest one"}),
    _flag("-r", "--reverse", verbs=("list", "info"), text="the newest first"),
    _values("-u", "--unit", verbs=READING, metavar="UNIT", text="of this unit: the victim's, or whose limit it was"),
    _values("--user-unit", verbs=READING, metavar="UNIT", text="the same for a unit of a user"),
    _values("--slice", verbs=READING, metavar="SLICE", text="the same for a slice"),
    _values(
        "--container",
        verbs=READING,
        metavar="ID",
        text="the same for a container: its name, or the beginning of its id",
    ),
    _values("--pod", verbs=READING, metavar="POD", text="the same for a pod: its name or uid"),
    _value(
        "--event",
        verbs=("list", "info", "follow"),
        metavar="EVENT,…",
        text="kinds: kill, spared, unkillable, stuck, gone, missed, level, history or all; default: kill,missed",
    ),
    _values("--source", verbs=READING, metavar="LEVEL", text="recorded at this capture level"),
    _values("--host", verbs=READING, metavar="NAME", text="kills of the machine NAME: the name in the column HOST"),
)
WHERE = (
    _value("-D", "--directory", verbs=READING, metavar="DIR", text="read the journal files in DIR"),
    _values("--file", verbs=READING, metavar="GLOB", text="read these journal files"),
    _value("--root", verbs=READING, metavar="DIR", text="read the journal of the system below DIR"),
    _flag("-m", "--merge", verbs=READING, text="read all journals here, also those received from other machines"),
)
HOW = (
    _flag("--all-members", verbs=("list",), text="a line for each process of a group kill"),
    _flag("--oneline", verbs=("list", "follow"), text="lines as BCC's oomkill prints them"),
    _value(
        "-F", "--field", verbs=("list", "info"), metavar="FIELD", text="print the values of FIELD instead, each once"
    ),
    _value(
        "--by",
        verbs=("stats",),
        metavar="WHAT",
        text="unit, container, pod, comm, slice, host, day, hour, domain or source",
    ),
    _flag("--bare", verbs=("stats",), text="one line, for a message at login; none if there is nothing to report"),
    _flag(
        "--plugin",
        verbs=("check",),
        text="one line and status 0 to 3, as monitoring plug-ins have them",
    ),
    _value(
        "--json",
        verbs=READING,
        metavar="FORM",
        text="print JSON: short (one object a line), pretty (an array) or off",
        type=_one_of("short", "pretty", "off"),
    ),
    Option(("-j",), READING, {"dest": "json", "action": "store_const", "const": "short", "help": "--json=short"}),
    _flag(
        "-a",
        "--full",
        verbs=READING,
        text="do not cut names to the width of the terminal; info: also exact bytes, meminfo, vmstat and ids",
    ),
    _flag(
        "--utc", verbs=READING, text="print times in UTC; times that you give stay local, unless UTC stands behind them"
    ),
    _flag("--no-legend", verbs=("list", "follow", "stats"), text="neither the header nor the line at the end"),
    _flag("--no-pager", verbs=_EVERY, text="do not start a pager"),
    _value(
        "--color", verbs=_EVERY, metavar="WHEN", text="auto, always or never", type=_one_of("auto", "always", "never")
    ),
    _flag("-q", "--quiet", verbs=_EVERY, text="no notices"),
    _flag("-h", "--help", verbs=_EVERY, text="print this help and exit"),
    _flag("--version", verbs=_EVERY, text="print the version and exit"),
)
GROUPS = {"which kills": WHICH, "which journal": WHERE, "how": HOW}
OPTIONS = WHICH + WHERE + HOW
