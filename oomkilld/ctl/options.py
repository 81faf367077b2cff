# SPDX-License-Identifier: Apache-2.0
"""The command line: the verbs, and the options, which may stand anywhere, as for journalctl and coredumpctl."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from oomkilld.ctl.failures import STATUSES
from oomkilld.errors import WrongArguments
from oomkilld.lighttyping import Any, NoReturn

SEE = "see `oomkillctl --help`"


def _shown(text: str) -> str:
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
_READING = ("list", "info", "follow", "stats")
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
        raise argparse.ArgumentTypeError(f"found '{_shown(text)}', expected a number or 'all'")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    """Instead of argparse's choices, whose message differs between versions of Python."""

    def chosen(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"found '{_shown(text)}', expected one of {', '.join(words)}")
        return text

    return chosen


_WHEN = ("auto", "always", "never")
WHICH = (
    _value("-S", "--since", verbs=_READING, metavar="TIME", text="killed at TIME or later, see systemd.time(7)"),
    _value("-U", "--until", verbs=_LISTS, metavar="TIME", text="killed at TIME or earlier"),
    Option(
        ("-b", "--boot"),
        _LISTS,
        {
            "nargs": "?",
            "const": "0",
            "metavar": "BOOT",
            "help": "in this boot; BOOT: an id, -1 for the boot before, 1 for the oldest one",
        },
    ),
    _value("-n", "--lines", verbs=("list", "info", "follow"), metavar="N", text="the newest N", type=_count),
    Option(("-1",), ("list", "info"), {"dest": "newest", "action": "store_true", "help": "the newest one"}),
    _flag("-r", "--reverse", verbs=("list", "info"), text="the newest first"),
    _values("-u", "--unit", verbs=_READING, metavar="UNIT", text="of this unit: the victim's, or whose limit it was"),
    _values("--user-unit", verbs=_READING, metavar="UNIT", text="the same for a unit of a user"),
    _values("--slice", verbs=_READING, metavar="SLICE", text="the same for a slice"),
    _values("--container", verbs=_READING, metavar="ID", text="the same for a container: its name, or its id's begin"),
    _values("--pod", verbs=_READING, metavar="POD", text="the same for a pod: its name or uid"),
    _value(
        "--event",
        verbs=("list", "info", "follow"),
        metavar="EVENT,…",
        text="kinds of entries: kill, spared, unkillable, stuck, gone, missed, level or all; default: kill,missed",
    ),
    _values("--source", verbs=_READING, metavar="LEVEL", text="recorded at this capture level"),
    _values("--host", verbs=_READING, metavar="NAME", text="of this machine, in journals of several"),
)
WHERE = (
    _value("-D", "--directory", verbs=_READING, metavar="DIR", text="read the journal files in DIR"),
    _values("--file", verbs=_READING, metavar="GLOB", text="read these journal files"),
    _value("--root", verbs=_READING, metavar="DIR", text="read the journal of the system below DIR"),
    _flag("-m", "--merge", verbs=_READING, text="read all journals here, also those received from other machines"),
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
        verbs=_READING,
        metavar="FORM",
        text="print JSON: short (one object a line), pretty (an array) or off",
        type=_one_of("short", "pretty", "off"),
    ),
    Option(("-j",), _READING, {"dest": "json", "action": "store_const", "const": "short", "help": "--json=short"}),
    _flag("-a", "--full", verbs=_READING, text="do not cut names to the width of the terminal"),
    _flag("--utc", verbs=_READING, text="times in UTC"),
    _flag("--no-legend", verbs=("list", "follow", "stats"), text="neither the header nor the line at the end"),
    _flag("--no-pager", verbs=_EVERY, text="do not start a pager"),
    _value(
        "--color", verbs=_EVERY, metavar="WHEN", text="auto, always or never", type=_one_of("auto", "always", "never")
    ),
    _flag("-q", "--quiet", verbs=_EVERY, text="no notices"),
    _flag("-h", "--help", verbs=_EVERY, text="print this help and exit"),
    _flag("--version", verbs=_EVERY, text="print the version and exit"),
)
_GROUPS = {"which kills": WHICH, "which journal": WHERE, "how": HOW}
_OPTIONS = WHICH + WHERE + HOW
_VALUE_FLAGS = frozenset(flag for option in _OPTIONS if option.takes_value for flag in option.flags)
_BOOT_FLAGS = ("-b", "--boot")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_EXCLUSIVE = (("directory", "file", "root"), ("lines", "newest"), ("field", "json", "oneline"), ("bare", "json"))


MATCHES = """\
MATCH is one of these; several of one kind: any of them, of different kinds: all of them
  FIELD=VALUE          a field of the entry, see oomkilld.journal-fields(7)
  8 to 64 hex digits   the beginning of a kill's, a decision's or a container's id
  digits               the victim's process id
  NAME.service         a unit (.slice, .scope, …): the victim's, or whose limit it was
  an uid with dashes   a pod
  otherwise            the name of the victim's process or pod; of a path the last part
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As argparse's own, but without what that imports to find the width and to break lines."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size(1).columns
        except OSError:
            columns = 0
        super().__init__(prog, width=(columns or 80) - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = [""]
        for word in text.split():
            if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
                lines.append(word)
            else:
                lines[-1] += f" {word}" if lines[-1] else word
        return lines


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongArguments(_shown(message), SEE)


def parser() -> argparse.ArgumentParser:
    """The parser of all options; parse() finds the verb and the matches."""
    verbs = "".join(f"  {name:<9} {verb.text}\n" for name, verb in VERBS.items())
    made = _Parser(
        prog="oomkillctl",
        usage="oomkillctl [OPTION…] [VERB] [MATCH…]",
        description="Show the OOM kills that oomkilld has recorded in the journal.\n\nverbs:\n" + verbs,
        epilog=MATCHES + "\n" + STATUSES,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,  # argparse ignores errors when it prints help itself
    )
    for title, group in _GROUPS.items():
        titled = made.add_argument_group(title)
        for option in group:
            titled.add_argument(*option.flags, **option.settings)
    return made


def parse(made: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options, with ``verb`` and ``matches``. Raises WrongArguments."""
    found, others = _split(words)
    options = made.parse_args(found)
    options.verb = others.pop(0) if others and others[0] in VERBS else DEFAULT_VERB
    options.matches = others
    if not (options.help or options.version):
        _refuse(options)
    return options


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options, each with its value in one word, and the other words.

    argparse itself refuses a value that begins with a dash, such as ``-S -2h``.
    """
    options: list[str] = []
    others: list[str] = []
    left = [*reversed(words)]
    while left:
        word = left.pop()
        if word == "--":
            others.extend(reversed(left))
            break
        if not word.startswith("-") or word == "-":
            others.append(word)
        elif left and (_wants_value(word) or (word in _BOOT_FLAGS and _is_boot(left[-1]))):
            options.append(word + ("=" if word.startswith("--") else "") + left.pop())
        else:
            options.append(word)
    return options, others


def _is_boot(word: str) -> bool:
    """An id, or a number, which may have a sign."""
    number = word[1:] if word[:1] in ("+", "-") else word
    is_number = number.isascii() and number.isdigit() and len(number) <= 6
    return is_number or (len(word) == 32 and _HEX_DIGITS.issuperset(word))


def _wants_value(word: str) -> bool:
    """Whether the next word is its value: ``--since``, ``-S``, or ``-rS`` for ``-r -S``."""
    if word.startswith("--"):
        return word in _VALUE_FLAGS
    flags = [f"-{letter}" for letter in word[1:]]
    return flags[-1] in _VALUE_FLAGS and not any(flag in _VALUE_FLAGS or flag == "-b" for flag in flags[:-1])


def _refuse(options: argparse.Namespace) -> None:
    given = {each.name: each.flags[-1] for each in _OPTIONS if getattr(options, each.name) not in (None, False, [])}
    for option in _OPTIONS:
        if option.name in given and options.verb not in option.verbs:
            said = f"{given[option.name]} has no meaning for {options.verb}"
            raise WrongArguments(said, f"it is for {', '.join(option.verbs)}")
    for names in _EXCLUSIVE:
        if len(both := [given[name] for name in names if name in given]) > 1:
            raise WrongArguments(f"{' and '.join(both)} exclude each other", SEE)
    if options.matches and options.verb not in _READING:
        raise WrongArguments(f"{options.verb} takes no MATCH, found '{_shown(options.matches[0])}'", SEE)
