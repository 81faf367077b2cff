# SPDX-License-Identifier: Apache-2.0
"""Hides secrets in a command line, by patterns, in time that grows only linearly with its length.

A pattern (patterns.fault() checks it) is text with ``*``, which stands for any text within one argument. What the last
``*`` stands for is hidden: up to the last occurrence of the text after it, or to the end of the argument. Right after
``//`` it must not contain ``:``, and reaches at most to the next ``/``. ``-`` also matches ``_``.

A space, allowed only before the first ``*``, matches what separates a name from its value: ``=``, ``:``, a quote, a
backslash, a bracket, a blank, the end of an argument, ``--`` as an argument, the URL encodings of some of these, and
any number of them. At the beginning it matches anything but a letter or a digit. ``~`` before it matches the rest of a
name, if ``=`` follows, or ``:`` and another separator, and if the name does not end in one of patterns.HARMLESS_ENDS.

``PROGRAM ** PATTERN`` is for arguments after that program's name, and matches at the beginning of one. There, the space
after an option of one letter also matches nothing. Case matters only in such an option, and in a pattern with capitals.

There are no regular expressions: they retry from each place, so a hostile text makes them slow. Here, each text before
the last ``*`` is searched once per argument, for its first occurrence. Any other match of the pattern in that argument
lies within: it does not begin before or end after the hidden text.
"""

from collections.abc import Sequence

from oomkilld.config.patterns import GOES_ON, HARMLESS_ENDS, OF_PROGRAM
from oomkilld.lighttyping import NamedTuple

MARK = b"***"

_SEPARATORS = b"=:\"'`\\[]\0\t\n\r"
_SOFT = bytes.maketrans(_SEPARATORS + b"_", b" " * len(_SEPARATORS) + b"-")
_HARD = bytes.maketrans(b"_", b"-")
# A blank and other separators, as URLs encode them.
_ENCODED = [b"%" + digits for code in (b"20", b"22", b"27", b"3a", b"3d") for digits in {code, code.upper()}]
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALPHANUMERIC = frozenset(_LETTERS + b"0123456789")
_NOT_OF_A_NAME = bytes(code for code in range(256) if code not in _ALPHANUMERIC and code not in b"-_.")
_NAMES = bytes.maketrans(_NOT_OF_A_NAME, b" " * len(_NOT_OF_A_NAME))
_MAX_NAME = 64
_ENDS = tuple(end.encode() for end in HARMLESS_ENDS)


class _Pattern(NamedTuple):
    """``first`` and ``between`` precede the hidden text, ``behind`` follows it; empty: hide to the argument's end."""

    case_matters: bool
    program: bytes  # empty: any program
    soft: bool  # ``first`` contains a space
    begins: bool  # no letter or digit may precede ``first``
    separated: bool  # separators may follow ``first``
    goes_on: bool  # the name may go on after ``first``
    first: bytes
    between: tuple[bytes, ...]
    behind: bytes


class _Views(NamedTuple):
    """The text as patterns see it, byte for byte. ``soft``: spaces for separators; ``names``: for all but names."""

    raw: bytes
    hard: bytes
    soft: bytes
    names: bytes


class Redactor:
    """Hides what ``patterns`` match."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_compile(pattern) for pattern in patterns]

    def redact(self, text: bytes) -> bytes:
        """``text``: arguments, each followed by a NUL. If the last one has no NUL, it may have been cut."""
        views = {True: _views(text, text), False: _views(text, text.lower())}
        insensitive = views[False].soft
        hidden = sorted(span for each in self._patterns for span in _spans(each, views[each.case_matters], insensitive))
        pieces: list[bytes] = []
        at = 0
        for start, end in hidden:
            if end <= at:
                continue
            # Overlapping spans are one secret, or look like one: they get one mark.
            if start > at or not pieces:
                pieces += [text[at:start], MARK]
            at = end
        return b"".join([*pieces, text[at:]])


def _compile(pattern: str) -> _Pattern:
    program, _stars, arguments = pattern.rpartition(OF_PROGRAM)
    name, _star, _rest = arguments.partition("*")
    option = bool(program) and len(name.rstrip()) == 2 and name.startswith("-")
    case_matters = option or arguments != arguments.lower()
    goes_on = name.endswith(GOES_ON)
    text = arguments.replace(GOES_ON, "", 1) if goes_on else arguments
    first, *between, behind = (text if case_matters else text.lower()).encode().translate(_HARD).split(b"*")
    separated, begins = first.endswith(b" "), bool(program) or first.startswith(b" ")
    first = first.strip(b" ") if option or goes_on else first.lstrip(b" ")
    soft = b" " in first
    return _Pattern(
        case_matters=case_matters,
        program=program.lower().encode().translate(_SOFT),
        soft=soft,
        begins=begins,
        separated=separated,
        goes_on=goes_on,
        first=first.translate(_SOFT) if soft else first,
        between=tuple(between),
        behind=behind,
    )


def _views(raw: bytes, text: bytes) -> _Views:
    soft = text.replace(b"\0--\0", b"\0" * 4)
    for code in _ENCODED:
        soft = soft.replace(code, b" " * len(code))
    return _Views(raw, text.translate(_HARD), soft.translate(_SOFT), text.translate(_NAMES))


def _spans(pattern: _Pattern, views: _Views, insensitive: bytes) -> list[tuple[int, int]]:
    """What the pattern hides, as (start, end): at most one span for each argument that ``first`` ends in."""
    spans: list[tuple[int, int]] = []
    where = views.soft if pattern.soft else views.hard
    at = where.find(pattern.first, _behind_program(pattern.program, insensitive))
    while at >= 0:
        next_at = at + 1
        start = _start(pattern, views, at)
        if start is not None:
            end = views.raw.find(b"\0", start)
            ended = end >= 0
            end = end if ended else len(views.raw)
            if hidden := _hidden(pattern, views.hard, start, end, ended=ended):
                spans.append(hidden)
            if hidden or not _of_authority(pattern):
                # Continue with the next occurrence that ends in another argument.
                next_at = max(next_at, end + 1 - len(pattern.first))
        at = where.find(pattern.first, next_at)
    return spans


def _behind_program(program: bytes, text: bytes) -> int:
    """Where the program's arguments begin; at the end of the text: it has none. ``text``: soft, in lower case."""
    if not program:
        return 0
    at = text.find(program)
    while at >= 0:
        end = at + len(program)
        if not (_is_alphanumeric(text, at - 1) or _is_alphanumeric(text, end)):
            return end
        at = text.find(program, at + 1)
    return len(text)


def _start(pattern: _Pattern, views: _Views, at: int) -> int | None:
    """Where the text after ``first`` begins, which was found at ``at``. None: the pattern does not fit here."""
    start = at + len(pattern.first)
    if pattern.program and at and views.soft[at - 1 : at] != b" ":
        return None
    if pattern.begins and _is_alphanumeric(views.raw, at - 1):
        return None
    if pattern.goes_on:
        return _behind_name(views, start)
    return _after_separators(views.soft, start) if pattern.separated else start


def _behind_name(views: _Views, at: int) -> int | None:
    """Where the value of a name begins that goes on at ``at``. None: the name ends there, or its value is no secret."""
    end = views.names.find(b" ", at, at + _MAX_NAME)
    end = end if end >= 0 else min(len(views.raw), at + _MAX_NAME)
    more = views.hard[at:end]
    before, first = views.raw[at - 1 : at], views.raw[at : at + 1]
    goes_on = more[:1] == b"-" or first.isdigit() or (before.islower() and first.isupper())
    if not goes_on or more.lower().endswith(_ENDS):
        return None
    start = _after_separators(views.soft, end)
    separators = views.raw[end:start]
    # Otherwise it may be a host with a port, or an image with a version.
    given = b"=" in separators or b"%3" in separators or (b":" in separators and len(separators) > 1)
    return start if given else None


def _of_authority(pattern: _Pattern) -> bool:
    """Whether the pattern hides the user in a URL."""
    return pattern.first.endswith(b"//") and not pattern.between


def _hidden(pattern: _Pattern, text: bytes, start: int, end: int, *, ended: bool) -> tuple[int, int] | None:
    for part in pattern.between:
        found = text.find(part, start, end)
        if found < 0:
            return None
        start = found + len(part)
    if _of_authority(pattern):
        slash = text.find(b"/", start, end)
        stop = text.rfind(pattern.behind, start, end if slash < 0 else slash)
        # If a password follows, the user is no secret.
        return (start, stop) if stop > start and text.find(b":", start, stop) < 0 else None
    stop = text.rfind(pattern.behind, start, end) if pattern.behind else end
    if not ended:
        stop = end  # what follows may have been cut off
    return (start, stop) if stop > start else None


def _is_alphanumeric(text: bytes, at: int) -> bool:
    return 0 <= at < len(text) and text[at] in _ALPHANUMERIC


def _after_separators(soft: bytes, at: int) -> int:
    while soft[at : at + 1] == b" ":
        at += 1
    return at
