# SPDX-License-Identifier: Apache-2.0
"""Finds the line of a key or value in a TOML file, and explains the syntax errors of a file.

tomllib reports the place of a syntax error, but not the places of values. A complete statement is valid TOML by itself
and an incomplete one is not, so tomllib itself finds where each statement begins. Loaded only to report an error.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# The last line of a statement of several lines contains one of these.
_CLOSERS = ("]", "}", '"""', "'''")
# The most characters to parse again in search of a line; beyond that, errors are reported without a line.
_MAX_CHARACTERS = 1 << 18
_SHOWN_CHARACTERS = 60
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_AN_OPTION = 'a table such as [log], an option such as level = "info", or a comment (#)'
_QUOTES = "the quotes that end a string"
_ESCAPE = "a valid escape after each \\ in a string, such as \\n or \\u00e9 (not in single quotes)"
# The beginning of tomllib's message -> what was expected, in order of precedence.
_EXPECTED = {
    "Expected '=' after a key": "'=' after the name of an option",
    "Expected newline or end of document": "the end of the line after a table or an option (strings need quotes)",
    "Expected ']": "']' after the name of a table",
    "Unclosed array": "',' or ']' in a list",
    "Unclosed inline table": "',' or '}' in a table",
    "Unterminated string": _QUOTES,
    "Expected \"'": _QUOTES,
    "Expected '\"": _QUOTES,
    "Unescaped": _ESCAPE,
    "Invalid hex value": _ESCAPE,
    "Escaped character": _ESCAPE,
    "Illegal character": "no control character (in a string, write \\u001b)",
    "Found invalid character": "no control character (in a string, write \\u001b)",
    "Invalid date or datetime": "an existing date",
    "Invalid value": "a string in quotes, a number, true, false or a list",
    "Invalid statement": _AN_OPTION,
    "Invalid initial character": _AN_OPTION,
}
# For these, the reported position is after the error.
_SAID_BEHIND_IT = ("Unescaped", "Invalid hex value", "Escaped character")
_REPEATED = ("Cannot declare", "Cannot overwrite", "Cannot mutate", "Cannot redefine", "Duplicate inline table key")

Path = tuple[str, ...]


class _Statement(NamedTuple):
    """``table``: the table that it opens or belongs to; ``options``: the options that it sets there.

    ``options`` is None if the statement cannot be parsed: it has a number with too many digits, or no end.
    """

    first: int
    last: int
    table: Path
    options: Mapping[str, Any] | None


def explain(text: str, error: ValueError) -> tuple[int | None, str]:
    """The line, and a text with what was found and expected there. ``error``: from tomllib."""
    lines = _lines(text)
    said = _POSITION.search(str(error))
    if said is None:
        return _unreadable(lines), "found a number of thousands of digits, expected a valid value of the option"
    number, column = (int(said[1]), int(said[2])) if said[1] else (len(lines), len(lines[-1]) + 1)
    what = str(error)[: said.start()]
    if what.startswith(_REPEATED):
        return _repeated(lines, number)
    begin, expected = next(
        ((begin, words) for begin, words in _EXPECTED.items() if what.startswith(begin)), ("", "TOML")
    )
    line = lines[number - 1]
    rest = line[column - 1 :].strip()
    if begin in _SAID_BEHIND_IT or (rest and rest == line.strip()):
        return number, f"found {_short(line.strip())}, expected {expected}"
    if rest:
        return number, f"found {_short(rest)} in {_short(line.strip())}, expected {expected}"
    if number < len(lines):
        expected = _QUOTES if begin == "Illegal character" else expected
        return number, f"found the end of the line after {_short(line.strip())}, expected {expected}"
    begun = _unreadable(lines)
    of = f", to close what begins on line {begun}" if begun not in (None, number) else ""
    return number, f"found the end of the file, expected {expected}{of}"


def line_of(text: str, wanted: Sequence[str | int]) -> int | None:
    """The line of a table, of an option, or of an element of its list. None: it was not found."""
    lines = _lines(text)
    keys = tuple(key for key in wanted if isinstance(key, str))
    statement = _find(lines, keys)
    if statement is None:
        return None
    if len(keys) == len(wanted):
        return statement.first
    return _line_of_element(lines, statement, keys[len(statement.table) :], int(wanted[len(keys)]))


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def _statements(lines: Sequence[str]) -> Iterator[_Statement]:
    """Split into statements, without comments and blank lines."""
    table: Path = ()
    begun, left = 0, _MAX_CHARACTERS
    for end, line in enumerate(lines, start=1):
        if end > begun + 1 and not any(closer in line for closer in _CLOSERS):
            continue
        body = "\n".join(lines[begun:end])
        left -= len(body)
        if left < 0:
            return
        options: dict[str, Any] | None = None
        try:
            options = tomllib.loads(body)
        except tomllib.TOMLDecodeError:
            continue
        except (ValueError, RecursionError):
            pass
        first, begun = begun + 1, end
        if body.lstrip().startswith("[") and options:
            table, options = _name(options), {}
        elif options == {}:
            continue
        yield _Statement(first, end, table, options)
    if begun < len(lines):
        yield _Statement(begun + 1, len(lines), table, None)


def _unreadable(lines: Sequence[str]) -> int | None:
    return next((each.first for each in _statements(lines) if each.options is None), None)


def _name(tables: object) -> Path:
    """The key path of the only element, as deep as each level has only one."""
    keys = []
    while isinstance(tables, list | dict) and len(tables) == 1:
        if isinstance(tables, list):
            (tables,) = tables
        else:
            ((key, tables),) = tables.items()
            keys.append(key)
    return tuple(keys)


def _find(lines: Sequence[str], wanted: Path) -> _Statement | None:
    for statement in _statements(lines):
        table, options = statement.table, statement.options
        opens = options == {} and table[: len(wanted)] == wanted
        if opens or (wanted[: len(table)] == table and options and _value(options, wanted[len(table) :]) is not None):
            return statement
    return None


def _value(options: object, wanted: Path) -> object:
    for key in wanted:
        if not isinstance(options, dict) or key not in options:
            return None
        options = options[key]
    return options


def _line_of_element(lines: Sequence[str], statement: _Statement, wanted: Path, index: int) -> int:
    left = _MAX_CHARACTERS
    for end in range(statement.first, statement.last):
        body = "\n".join((*lines[statement.first - 1 : end], "]"))
        left -= len(body)
        if left < 0:
            break
        try:
            elements = _value(tomllib.loads(body), wanted)
        except ValueError:
            continue
        if isinstance(elements, list) and len(elements) > index:
            return end
    return statement.first if left < 0 else statement.last


def _repeated(lines: Sequence[str], number: int) -> tuple[int, str]:
    """The line, and a text about the table or option that is repeated there."""
    expected = "expected each table and option once"
    again = next((each for each in _statements(lines) if each.first <= number <= each.last), None)
    if again is None or again.options is None:  # in a table in braces
        return number, f"found an option a second time, {expected}"
    name = (*again.table, *_name(again.options))
    earlier = lines[: again.first - 1]
    names = (name[:length] for length in range(len(name), 0, -1))
    name, before = next(((each, at.first) for each in names if (at := _find(earlier, each))), (name, None))
    where = f", first on line {before}" if before else ""
    return again.first, f"found {_short('.'.join(name))} a second time{where}, {expected}"


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"
