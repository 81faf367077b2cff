# SPDX-License-Identifier: Apache-2.0
"""Reads the command line. Options may stand anywhere, as for journalctl and coredumpctl."""

import argparse
import os
from collections.abc import Sequence

from oomkilld.ctl.columns import filled
from oomkilld.ctl.failures import STATUSES
from oomkilld.ctl.options import DEFAULT_VERB, GROUPS, OPTIONS, READING, SEE, VERBS, shown
from oomkilld.errors import WrongArguments
from oomkilld.lighttyping import Any, NoReturn

_VALUE_FLAGS = frozenset(flag for option in OPTIONS if option.takes_value for flag in option.flags)
_BY_FLAG = {flag: option for option in OPTIONS for flag in option.flags}
_BOOT_FLAGS = ("-b", "--boot")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_EXCLUSIVE = (("directory", "file", "root"), ("lines", "newest"), ("field", "json", "oneline"), ("bare", "json"))


MATCHES = """\
MATCH is one of these. Two of one kind: either may match. Of different kinds: both must match.
  FIELD=VALUE          a field of the entry, see oomkilld.journal-fields(7)
  8 to 64 hex digits   the beginning of a kill's, a decision's or a container's id
  digits               the victim's process id
  NAME.service         a unit (.slice, .scope, …): the victim's, or whose limit it was
  a uid with dashes    a pod
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
        return [*filled(text.split(), width)]


class _Parser(argparse.ArgumentParser):
    """``typed``: by the name of an option's value, how the option was written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.typed: dict[str, str] = {}

    def error(self, message: str) -> NoReturn:
        argument, colon, rest = message.partition(": ")
        written = [flag for flag in argument.removeprefix("argument ").split("/") if flag in self.typed.values()]
        raise WrongArguments(shown(f"{written[0]}: {rest}" if colon and written else message), SEE)


def parser() -> _Parser:
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
    for title, group in GROUPS.items():
        titled = made.add_argument_group(title)
        for option in group:
            titled.add_argument(*option.flags, **option.settings)
    return made


def parse(made: _Parser, words: Sequence[str]) -> argparse.Namespace:
    """The options, with ``verb``, ``matches``, and ``typed`` as in _Parser. Raises WrongArguments."""
    found, others = _split(words)
    made.typed = _typed(found)
    options = made.parse_args(found)
    options.typed = made.typed
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


def _typed(words: Sequence[str]) -> dict[str, str]:
    typed = {}
    for word in words:
        flags = [word.partition("=")[0]] if word.startswith("--") else [f"-{letter}" for letter in word[1:]]
        for flag in flags:
            option = _BY_FLAG.get(flag)
            if option is None:
                raise WrongArguments(shown(f"no option {flag}{_meant(flag)}"), SEE)
            typed[option.name] = flag
            if flag in _VALUE_FLAGS or flag in _BOOT_FLAGS:
                break
    return typed


def _meant(flag: str) -> str:
    from oomkilld.ctl.spelling import nearest

    meant = nearest(flag, (each for each in _BY_FLAG if each.startswith("--"))) if flag.startswith("--") else None
    return f"; did you mean {meant}?" if meant else ""


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
    given: dict[str, str] = options.typed
    for flag in given.values():
        option = _BY_FLAG[flag]
        if options.verb not in option.verbs:
            said = f"{flag} has no meaning for {options.verb}"
            raise WrongArguments(said, f"it is for {', '.join(option.verbs)}")
    for names in _EXCLUSIVE:
        if len(both := [given[name] for name in names if name in given]) > 1:
            raise WrongArguments(f"{' and '.join(both)} exclude each other", SEE)
    if options.matches and options.verb not in READING:
        raise WrongArguments(f"{options.verb} takes no MATCH, found '{shown(options.matches[0])}'", SEE)
