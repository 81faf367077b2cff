# SPDX-License-Identifier: Apache-2.0
"""Configurations that are refused, each with what is said of it: one table for all that reads the configuration."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from oomkilld.redaction import EXPECTED

DROP_IN = "etc/oomkilld/oomkilld.toml.d/10.toml"


class Bad(NamedTuple):
    """``content``: of the drop-in. ``said``: behind its path and a colon, with the number of the line."""

    name: str
    content: str | bytes
    said: str

    def put(self, root: Path) -> Path:
        """The drop-in, where it is in force."""
        path = root / DROP_IN
        put(path, self.content)
        return path


class Closed(NamedTuple):
    """``make``: given the drop-in, where a file in force is. ``said``: with {root} for the directory above."""

    name: str
    make: Callable[[Path], None]
    said: str

    def put(self, root: Path) -> Path:
        """Made."""
        path = root / DROP_IN
        put(path, VALID)
        self.make(path)
        return path


VALID = '[entry]\noutcome = "all"\n'


def put(path: Path, content: str | bytes) -> None:
    """So that only root can write to it, whatever the umask."""
    umask = os.umask(0o022)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.umask(umask)


STATEMENT = 'a table such as [log], an option such as level = "info", or a comment (#)'
LINE_END = "the end of the line after a table or an option (a text stands in quotes)"
VALUE = "a text in quotes, a number, true, false or a list"
QUOTES = "the quotes that end a text"
ESCAPE = "behind each \\ in a text what makes an escape, as in \\n or \\u00e9 (not in single quotes)"
CONTROL = "no control character (in a text, \\u001b stands for one)"
ONCE = "expected each table and option once"
OPTIONS = "expected one of priority, meminfo, statistics, outcome, reduce_from, cmdline, redact"
TABLES = "expected one of capture, entry, log"
LEVELS = "expected 'auto', 'kprobe', 'fentry', 'tracepoint' or 'kmsg'"
PRIORITIES = "expected 'emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info' or 'debug'"
LOG_LEVELS = "expected 'err', 'warning', 'info' or 'debug'"
RING = "expected a power of two from 4KiB to 64MiB, such as '4MiB', or 4194304 without quotes"
KILLS = "expected a whole number from 1 to 1000, or 0 for never, without quotes"
ROWS = "expected 'common', 'all' or a list of /proc/meminfo keys"
ROW = "expected a key as in /proc/meminfo, such as 'MemFree' or 'Active(anon)'"
PATTERNS = "expected a list of at most 200 patterns such as ['default', 'password *']"
PATTERN = f"expected {EXPECTED}"
NUL = "\\x00"
MORE = (
    "\n".join(f"{line}: log.x{line - 2}: unknown key, expected one of level" for line in range(2, 22))
    + "\n 30 more errors"
)

CONTENTS = [
    Bad("a text without quotes", "[log]\nlevel = info\n", f"2: found 'o' in 'level = info', expected {LINE_END}"),
    Bad(
        "a text without its end",
        '[log]\nlevel = "info\n',
        f"2: found the end of the line after 'level = \"info', expected {QUOTES}",
    ),
    Bad(
        "a text without its end on the last line",
        '[log]\nlevel = "info',
        f"2: found the end of the file, expected {QUOTES}",
    ),
    Bad(
        "a text of several lines without an end",
        '[log]\nlevel = """info\n\n[entry]\n',
        "5: found the end of the file, expected the quotes that end a text, for what begins on line 2",
    ),
    Bad(
        "quotes of the typographic kind",
        "[log]\nlevel = \u201cinfo\u201d\n",
        f"2: found '\u201cinfo\u201d' in 'level = \u201cinfo\u201d', expected {VALUE}",
    ),
    Bad(
        "a value that is missing", "[log]\nlevel =\n", f"2: found the end of the line after 'level =', expected {VALUE}"
    ),
    Bad(
        "an option without a value",
        "[log]\nlevel\n",
        "2: found the end of the line after 'level', expected '=' after the name of an option",
    ),
    Bad(
        "a colon for =",
        '[log]\nlevel: "info"\n',
        "2: found ': \"info\"' in 'level: \"info\"', expected '=' after the name of an option",
    ),
    Bad("an option without a name", '[log]\n= "info"\n', f"2: found '= \"info\"', expected {STATEMENT}"),
    Bad(
        "two options on a line",
        '[log]\nlevel = "info" level = "err"\n',
        f'2: found \'level = "err"\' in \'level = "info" level = "err"\', expected {LINE_END}',
    ),
    Bad(
        "something behind a value",
        '[log]\nlevel = "info";\n',
        f"2: found ';' in 'level = \"info\";', expected {LINE_END}",
    ),
    Bad(
        "a comment of another language",
        "// about the log\n[log]\n",
        f"1: found '// about the log', expected {STATEMENT}",
    ),
    Bad(
        "a table without its end",
        '[log\nlevel = "info"\n',
        "1: found the end of the line after '[log', expected ']' after the name of a table",
    ),
    Bad("a table without a name", "[]\n", f"1: found ']' in '[]', expected {STATEMENT}"),
    Bad("a name that ends in a dot", "[log.]\n", f"1: found ']' in '[log.]', expected {STATEMENT}"),
    Bad(
        "a list without its end",
        '[entry]\nredact = ["default",\n  "pin *"\n\n[log]\nlevel = "info"\n',
        "5: found '[log]', expected ',' or ']' in a list",
    ),
    Bad(
        "a list without commas",
        '[entry]\nredact = ["default" "pin *"]\n',
        "2: found '\"pin *\"]' in 'redact = [\"default\" \"pin *\"]', expected ',' or ']' in a list",
    ),
    Bad(
        "a table in braces without its end",
        'log = { level = "info"\n',
        "1: found the end of the line after 'log = { level = \"info\"', expected ',' or '}' in a table",
    ),
    Bad(
        "an escape that there is not",
        '[entry]\nredact = ["C:\\path *"]\n',
        f"2: found 'redact = [\"C:\\\\path *\"]', expected {ESCAPE}",
    ),
    Bad(
        "an escape of digits that are none",
        '[log]\nlevel = "\\u00zz"\n',
        f"2: found 'level = \"\\\\u00zz\"', expected {ESCAPE}",
    ),
    Bad(
        "an escape of half a character",
        '[log]\nlevel = "\\ud800"\n',
        f"2: found 'level = \"\\\\ud800\"', expected {ESCAPE}",
    ),
    Bad(
        "a control character in a text",
        '[log]\nlevel = "in\x1bfo"\n',
        f"2: found '\\x1bfo\"' in 'level = \"in\\x1bfo\"', expected {CONTROL}",
    ),
    Bad("a control character in a comment", "# \x07\n[log]\n", f"1: found '\\x07' in '# \\x07', expected {CONTROL}"),
    Bad(
        "NUL in a text",
        b'[log]\nlevel = "info\x00"\n',
        f"2: found '\\x00\"' in 'level = \"info\\x00\"', expected {CONTROL}",
    ),
    Bad("NUL between the lines", b"[log]\n\0\n", f"2: found '\\x00', expected {STATEMENT}"),
    Bad("a file of NULs", b"\0" * 4096, f"1: found '{NUL * 14}\\x…, expected {STATEMENT}"),
    Bad(
        "a line that ends in CR alone",
        b'[log]\rlevel = "info"\r',
        f"1: found 'level = \"info\"' in '[log]\\rlevel = \"info\"', expected {LINE_END}",
    ),
    Bad("the words of an ini file", "[log]\nlevel = yes\n", f"2: found 'yes' in 'level = yes', expected {VALUE}"),
    Bad("JSON", '{"log": {"level": "info"}}\n', f'1: found \'{{"log": {{"level": "info"}}}}\', expected {STATEMENT}'),
    Bad("YAML", "log:\n  level: info\n", "1: found ':' in 'log:', expected '=' after the name of an option"),
    Bad(
        "what a merge has left",
        '[log]\n<<<<<<< ours\nlevel = "info"\n=======\n',
        f"2: found '<<<<<<< ours', expected {STATEMENT}",
    ),
    Bad(
        "True as Python has it",
        "[entry]\nreduce_from = True\n",
        f"2: found 'True' in 'reduce_from = True', expected {VALUE}",
    ),
    Bad(
        "a number with a leading zero",
        "[entry]\nreduce_from = 010\n",
        f"2: found '10' in 'reduce_from = 010', expected {LINE_END}",
    ),
    Bad(
        "a number with a unit",
        "[entry]\nreduce_from = 10kills\n",
        f"2: found 'kills' in 'reduce_from = 10kills', expected {LINE_END}",
    ),
    Bad(
        "Arabic digits",
        "[entry]\nreduce_from = \u0661\u0660\u0660\n",
        f"2: found '\u0661\u0660\u0660' in 'reduce_from = \u0661\u0660\u0660', expected {VALUE}",
    ),
    Bad(
        "fullwidth digits",
        "[entry]\nreduce_from = \uff11\uff10\uff10\n",
        f"2: found '\uff11\uff10\uff10' in 'reduce_from = \uff11\uff10\uff10', expected {VALUE}",
    ),
    Bad(
        "a day that there is not",
        "[entry]\nreduce_from = 2026-02-30\n",
        "2: found '2026-02-30' in 'reduce_from = 2026-02-30', expected a date that there is",
    ),
    Bad(
        "a number of 5000 digits",
        f"[log]\n\n[entry]\nreduce_from = {'9' * 5000}\n",
        "4: found a number of thousands of digits, expected one that an option can have",
    ),
    Bad(
        "a number of 5000 digits in a list",
        f'[entry]\nmeminfo = [\n  "MemFree",\n  {"9" * 5000},\n]\n',
        "2: found a number of thousands of digits, expected one that an option can have",
    ),
    Bad(
        "30000 lists in each other",
        f"a = {'[' * 30000}\n",
        " found values nested too deeply, expected tables of options",
    ),
    Bad(
        "an option twice",
        '[log]\nlevel = "info"\n# again\nlevel = "err"\n',
        f"4: found 'log.level' a second time, first on line 2, {ONCE}",
    ),
    Bad(
        "an option twice, once in quotes",
        '[log]\nlevel = "info"\n"level" = "err"',
        f"3: found 'log.level' a second time, first on line 2, {ONCE}",
    ),
    Bad(
        "a table twice",
        '[log]\n\n[entry]\n\n[log]\nlevel = "err"\n',
        f"5: found 'log' a second time, first on line 1, {ONCE}",
    ),
    Bad(
        "a table in dots and in brackets",
        'log.level = "err"\n[log]\nlevel = "err"\n',
        f"2: found 'log' a second time, first on line 1, {ONCE}",
    ),
    Bad(
        "a table in braces and in brackets",
        'log = { level = "err" }\n\n[log]\n',
        f"3: found 'log' a second time, first on line 1, {ONCE}",
    ),
    Bad(
        "a table in braces and in dots",
        'log = { level = "err" }\nlog.colour = 1\n',
        f"2: found 'log' a second time, first on line 1, {ONCE}",
    ),
    Bad(
        "an option twice in braces",
        'log = { level = "err", level = "info" }\n',
        f"1: found an option a second time, {ONCE}",
    ),
    Bad(
        "an option twice in dots",
        'entry.outcome = "all"\nentry.priority = "err"\nentry.outcome = "stuck"\n',
        f"3: found 'entry.outcome' a second time, first on line 1, {ONCE}",
    ),
    Bad(
        "a byte order mark",
        b'\xef\xbb\xbf[log]\nlevel = "info"\n',
        "1: found a byte order mark, expected UTF-8 text without one",
    ),
    Bad(
        "UTF-16",
        '[log]\nlevel = "info"\n'.encode("utf-16"),
        "1: found byte 0xff, expected UTF-8 text",
    ),
    Bad("Latin-1", b'[log]\n# f\xfcr alle\nlevel = "info"\n', "2: found byte 0xfc, expected UTF-8 text"),
    Bad("gzip", b"\x1f\x8b\x08\x00\x00\x00", "1: found byte 0x8b, expected UTF-8 text"),
    Bad("ELF", b"\x7fELF\2\1\1\0", f"1: found '\\x7fELF\\x02\\x01\\x01\\x00', expected {STATEMENT}"),
    Bad(
        "more than a configuration takes",
        "#" * 100_000,
        " found more than 65536 bytes, expected a configuration file of at most that",
    ),
    Bad(
        "a table that there is not",
        '[captur]\nlevel = "auto"\n',
        f"1: captur: unknown key (did you mean 'capture'?), {TABLES}",
    ),
    Bad("a table of tables", '[[log]]\nlevel = "err"\n', "1: log: found a list of 1, expected a table, [log]"),
    Bad("a table in a table", "[log.level]\n", f"1: log.level: found a table, {LOG_LEVELS}"),
    Bad("a table that is none", "\nlog = 3\n", "2: log: found 3, expected a table, [log]"),
    Bad("a table that is a text", 'log = "info"\n', "1: log: found 'info', expected a table, [log]"),
    Bad(
        "an option that there is not",
        '[capture]\n# more\nring_sise = "4MiB"\n',
        "3: capture.ring_sise: unknown key (did you mean 'ring_size'?), expected one of level, ring_size",
    ),
    Bad("an option in capitals", '[Log]\nlevel = "err"\n', f"1: Log: unknown key (did you mean 'log'?), {TABLES}"),
    Bad(
        "an option with a hyphen",
        "[entry]\nreduce-from = 3\n",
        f"2: entry.reduce-from: unknown key (did you mean 'reduce_from'?), {OPTIONS}",
    ),
    Bad(
        "an option of another table",
        '[log]\npriority = "err"\n',
        "2: log.priority: unknown key (it belongs into [entry]), expected one of level",
    ),
    Bad("an option of no table", 'priority = "err"\n', f"1: priority: unknown key (it belongs into [entry]), {TABLES}"),
    Bad(
        "an option of no table that two have",
        'level = "err"\n',
        f"1: level: unknown key (it belongs into [capture] or [log]), {TABLES}",
    ),
    Bad("an option without a name at all", '[log]\n"" = 3\n', "2: log.'': unknown key, expected one of level"),
    Bad(
        "a name of control characters",
        '[log]\n"\\u001b[2J" = 3\n',
        "2: log.'\\x1b[2J': unknown key, expected one of level",
    ),
    Bad(
        "a name of many characters",
        f"[log]\n{'x' * 5000} = 3\n",
        f"2: log.{'x' * 75}…: unknown key, expected one of level",
    ),
    Bad("a name of many parts", f"log.level{'.x' * 300} = 3\n", f"1: log.level: found a table, {LOG_LEVELS}"),
    Bad("more errors than anybody reads", "[log]\n" + "".join(f"x{i} = 1\n" for i in range(50)), MORE),
    Bad("a level that there is not", '[capture]\nlevel = "magic"\n', f"2: capture.level: found 'magic', {LEVELS}"),
    Bad("a level in capitals", '[capture]\nlevel = "KPROBE"\n', f"2: capture.level: found 'KPROBE', {LEVELS}"),
    Bad("a level with a blank", '[log]\nlevel = "info "\n', f"2: log.level: found 'info ', {LOG_LEVELS}"),
    Bad("a level that is empty", '[log]\nlevel = ""\n', f"2: log.level: found '', {LOG_LEVELS}"),
    Bad("a level with NUL", '[log]\nlevel = "info\\u0000"\n', f"2: log.level: found 'info\\x00', {LOG_LEVELS}"),
    Bad("a level as a number", "[log]\nlevel = 6\n", f"2: log.level: found 6, {LOG_LEVELS}"),
    Bad("a level as a list", '[log]\nlevel = ["info"]\n', f"2: log.level: found a list of 1, {LOG_LEVELS}"),
    Bad("a level as a table", '[log]\nlevel = { name = "info" }\n', f"2: log.level: found a table, {LOG_LEVELS}"),
    Bad("a level as a boolean", "[log]\nlevel = true\n", f"2: log.level: found true, {LOG_LEVELS}"),
    Bad(
        "a level as a day",
        "[log]\nlevel = 2026-11-29\n",
        f"2: log.level: found 2026-11-29, a date or time, {LOG_LEVELS}",
    ),
    Bad(
        "a level as a time", "[log]\nlevel = 07:32:00\n", f"2: log.level: found 07:32:00, a date or time, {LOG_LEVELS}"
    ),
    Bad(
        "a level of Cyrillic letters",
        '[capture]\nlevel = "\u0430uto"\n',
        f"2: capture.level: found '\u0430uto', {LEVELS}",
    ),
    Bad(
        "a level that rewrites the line",
        '[log]\nlevel = "\\u001b[2K\\u202einfo"\n',
        f"2: log.level: found '\\x1b[2K\\u202einfo', {LOG_LEVELS}",
    ),
    Bad(
        "a level of many characters",
        f'[log]\nlevel = "{"x" * 500}"\n',
        f"2: log.level: found '{'x' * 78}…, {LOG_LEVELS}",
    ),
    Bad(
        "a ring that is no power of two",
        '[capture]\nring_size = "3MiB"\n',
        f"2: capture.ring_size: found '3MiB', {RING}",
    ),
    Bad("a ring too large", '[capture]\nring_size = "128MiB"\n', f"2: capture.ring_size: found '128MiB', {RING}"),
    Bad("a ring too small", '[capture]\nring_size = "2KiB"\n', f"2: capture.ring_size: found '2KiB', {RING}"),
    Bad(
        "a ring too large, as a number",
        "[capture]\nring_size = 134217728\n",
        f"2: capture.ring_size: found 134217728, {RING}",
    ),
    Bad(
        "a ring with NUL", '[capture]\nring_size = "4MiB\\u0000"\n', f"2: capture.ring_size: found '4MiB\\x00', {RING}"
    ),
    Bad(
        "a ring with a line end", '[capture]\nring_size = "4MiB\\n"\n', f"2: capture.ring_size: found '4MiB\\n', {RING}"
    ),
    Bad(
        "a ring in Arabic digits",
        '[capture]\nring_size = "\u0664MiB"\n',
        f"2: capture.ring_size: found '\u0664MiB', {RING}",
    ),
    Bad(
        "a ring in fullwidth digits",
        '[capture]\nring_size = "\uff14MiB"\n',
        f"2: capture.ring_size: found '\uff14MiB', {RING}",
    ),
    Bad("a ring without a number", '[capture]\nring_size = "many"\n', f"2: capture.ring_size: found 'many', {RING}"),
    Bad("a ring in decimal units", '[capture]\nring_size = "4MB"\n', f"2: capture.ring_size: found '4MB', {RING}"),
    Bad("a ring with a sign", '[capture]\nring_size = "+4MiB"\n', f"2: capture.ring_size: found '+4MiB', {RING}"),
    Bad(
        "a ring that is less than nothing",
        "[capture]\nring_size = -4194304\n",
        f"2: capture.ring_size: found -4194304, {RING}",
    ),
    Bad("a ring of a fraction", '[capture]\nring_size = "0.5MiB"\n', f"2: capture.ring_size: found '0.5MiB', {RING}"),
    Bad("a ring as a fraction", "[capture]\nring_size = 4194304.0\n", f"2: capture.ring_size: found 4194304.0, {RING}"),
    Bad("a ring as a boolean", "[capture]\nring_size = true\n", f"2: capture.ring_size: found true, {RING}"),
    Bad(
        "a ring as a time",
        "[capture]\nring_size = 2026-11-29T12:00:00Z\n",
        f"2: capture.ring_size: found 2026-11-29T12:00:00+00:00, a date or time, {RING}",
    ),
    Bad(
        "a ring of 1000 hexadecimal digits",
        f"[capture]\nring_size = 0x{'f' * 1000}\n",
        f"2: capture.ring_size: found a number of hundreds of digits, {RING}",
    ),
    Bad(
        "a ring of 5000 hexadecimal digits",
        f"[capture]\nring_size = 0x{'f' * 5000}\n",
        f"2: capture.ring_size: found a number of hundreds of digits, {RING}",
    ),
    Bad("a flood of less than nothing", "[entry]\nreduce_from = -1\n", f"2: entry.reduce_from: found -1, {KILLS}"),
    Bad("a flood too large", "[entry]\nreduce_from = 1001\n", f"2: entry.reduce_from: found 1001, {KILLS}"),
    Bad(
        "a flood of 64 bits",
        "[entry]\nreduce_from = 18446744073709551616\n",
        f"2: entry.reduce_from: found 18446744073709551616, {KILLS}",
    ),
    Bad(
        "a flood of 5000 hexadecimal digits",
        f"[entry]\nreduce_from = 0x{'f' * 5000}\n",
        f"2: entry.reduce_from: found a number of hundreds of digits, {KILLS}",
    ),
    Bad("a flood as a fraction", "[entry]\nreduce_from = 9.5\n", f"2: entry.reduce_from: found 9.5, {KILLS}"),
    Bad("a flood without an end", "[entry]\nreduce_from = inf\n", f"2: entry.reduce_from: found inf, {KILLS}"),
    Bad("a flood that is no number", "[entry]\nreduce_from = nan\n", f"2: entry.reduce_from: found nan, {KILLS}"),
    Bad("a flood as a boolean", "[entry]\nreduce_from = true\n", f"2: entry.reduce_from: found true, {KILLS}"),
    Bad("a flood as a text", '[entry]\nreduce_from = "never"\n', f"2: entry.reduce_from: found 'never', {KILLS}"),
    Bad(
        "a flood as a day",
        "[entry]\nreduce_from = 1979-05-27\n",
        f"2: entry.reduce_from: found 1979-05-27, a date or time, {KILLS}",
    ),
    Bad("rows by a word that there is not", '[entry]\nmeminfo = "some"\n', f"2: entry.meminfo: found 'some', {ROWS}"),
    Bad("rows as a number", "[entry]\nmeminfo = 7\n", f"2: entry.meminfo: found 7, {ROWS}"),
    Bad("rows as a boolean", "[entry]\nmeminfo = false\n", f"2: entry.meminfo: found false, {ROWS}"),
    Bad(
        "a row with a blank",
        '[entry]\nmeminfo = [\n  "MemFree",  # first\n  "Mem Total",\n]\n',
        f"4: entry.meminfo.1: found 'Mem Total', {ROW}",
    ),
    Bad(
        "a row with a line end", '[entry]\nmeminfo = ["MemFree\\n"]\n', f"2: entry.meminfo.0: found 'MemFree\\n', {ROW}"
    ),
    Bad("a row that is empty", '[entry]\nmeminfo = [""]\n', f"2: entry.meminfo.0: found '', {ROW}"),
    Bad("a row as a number", '[entry]\nmeminfo = ["MemFree", 3]\n', f"2: entry.meminfo.1: found 3, {ROW}"),
    Bad("a row as a list", '[entry]\nmeminfo = [["MemFree"]]\n', f"2: entry.meminfo.0: found a list of 1, {ROW}"),
    Bad(
        "rows of statistics by name",
        '[entry]\nstatistics = ["anon"]\n',
        "2: entry.statistics: found a list of 1, expected 'common' or 'all'",
    ),
    Bad(
        "an outcome that there is not",
        '[entry]\noutcome = "none"\n',
        "2: entry.outcome: found 'none', expected 'stuck' or 'all'",
    ),
    Bad("a priority as a number", "[entry]\npriority = 2\n", f"2: entry.priority: found 2, {PRIORITIES}"),
    Bad(
        "a priority by another name", '[entry]\npriority = "error"\n', f"2: entry.priority: found 'error', {PRIORITIES}"
    ),
    Bad(
        "command lines as a boolean",
        "[entry]\ncmdline = true\n",
        "2: entry.cmdline: found true, expected 'off', 'first-argument' or 'full'",
    ),
    Bad("patterns as a text", '[entry]\nredact = "password *"\n', f"2: entry.redact: found 'password *', {PATTERNS}"),
    Bad("patterns as a table", '[entry.redact]\npassword = "*"\n', f"1: entry.redact: found a table, {PATTERNS}"),
    Bad(
        "a pattern without *",
        '[entry]\nredact = [\n  "default",\n\n  "password",\n]\n',
        f"5: entry.redact.1: found 'password', {PATTERN}: no *: it would hide nothing",
    ),
    Bad(
        "a pattern that would hide everything",
        '[entry]\nredact = ["*"]\n',
        f"2: entry.redact.0: found '*', {PATTERN}: nothing but * and spaces: it would hide everything",
    ),
    Bad(
        "a pattern of many characters",
        f'[entry]\nredact = ["{"x" * 101}*"]\n',
        f"2: entry.redact.0: found '{'x' * 78}…, {PATTERN}: more than 100 characters",
    ),
    Bad("a pattern as a number", "[entry]\nredact = [7]\n", f"2: entry.redact.0: found 7, {PATTERN}"),
    Bad(
        "more patterns than are taken",
        "[entry]\nredact = [" + '"a *", ' * 201 + "]\n",
        f"2: entry.redact: found a list of 201, {PATTERNS}",
    ),
]


def _mode(mode: int, above: int = 0) -> Callable[[Path], None]:
    """Of the drop-in, or of the directory so many above it."""
    return lambda path: (path, *path.parents)[above].chmod(mode)


def _owner(above: int = 0) -> Callable[[Path], None]:
    return lambda path: os.chown((path, *path.parents)[above], 4242, -1)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def link(
    target: str, *others: str, linked: str = VALID, then: Callable[[Path], object] = lambda _path: None
) -> Callable[[Path], None]:
    """The drop-in leads to ``target``, which leads to the next, and the last is a file of that text.

    Absolute are paths below the root. ``then`` is done with that file.
    """

    def replace(path: Path) -> None:
        path.unlink()
        place = path
        for leads_to in (target, *others):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(leads_to)
            absolute = leads_to.startswith("/")
            place = Path(os.path.normpath(path.parents[3] / leads_to[1:] if absolute else place.parent / leads_to))
        put(place, linked)
        then(place)

    return replace


def _link_of_the_directory(target: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        elsewhere = path.parents[3] / target.lstrip("/")
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
        path.parent.rename(elsewhere)
        path.parent.symlink_to(target)

    return replace


def _instead_of_the_directory(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        path.parent.rmdir()
        make(path.parent)

    return replace


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        # The path of a socket is short.
        here = os.open(path.parent, os.O_PATH)
        listening.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


FILE, DIRECTORY = f"{{root}}/{DROP_IN}", "{root}/etc/oomkilld/oomkilld.toml.d"
READABLE = "expected one by which root can read it without CAP_DAC_OVERRIDE: `chmod u+rX"
CLOSED_TO_OTHERS = "expected one by which only root can write to it: `chmod go-w"
BELOW = "expected one to a file below {root}/etc/oomkilld, {root}/usr or {root}/opt"

# Only root can make these.
OF_OTHERS = [
    Closed(
        "a file of another",
        _owner(),
        f"{FILE}: found user 4242 as the owner of {FILE}, expected root: `chown root {FILE}`",
    ),
    Closed(
        "a directory of another",
        _owner(1),
        f"{DIRECTORY}: found user 4242 as the owner of {DIRECTORY}, expected root: `chown root {DIRECTORY}`",
    ),
    Closed(
        "a device",
        instead(lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))),
        f"{FILE}: found a device, expected a regular file",
    ),
]
CLOSED = [
    Closed("a file that nobody may read", _mode(0o000), f"{FILE}: found mode 0000 of {FILE}, {READABLE} {FILE}`"),
    Closed("a file that only others may read", _mode(0o044), f"{FILE}: found mode 0044 of {FILE}, {READABLE} {FILE}`"),
    Closed("a file that may only be written", _mode(0o200), f"{FILE}: found mode 0200 of {FILE}, {READABLE} {FILE}`"),
    Closed("a file that all may write", _mode(0o666), f"{FILE}: found mode 0666 of {FILE}, {CLOSED_TO_OTHERS} {FILE}`"),
    Closed(
        "a file that a group may write", _mode(0o664), f"{FILE}: found mode 0664 of {FILE}, {CLOSED_TO_OTHERS} {FILE}`"
    ),
    Closed(
        "a directory that may not be listed",
        _mode(0o300, 1),
        f"{DIRECTORY}: found mode 0300 of {DIRECTORY}, {READABLE} {DIRECTORY}`",
    ),
    Closed(
        "a directory that may not be entered",
        _mode(0o600, 1),
        f"{DIRECTORY}: found mode 0600 of {DIRECTORY}, {READABLE} {DIRECTORY}`",
    ),
    Closed(
        "a directory where all may add files",
        _mode(0o777, 1),
        f"{DIRECTORY}: found mode 0777 of {DIRECTORY}, {CLOSED_TO_OTHERS} {DIRECTORY}`",
    ),
    Closed(
        "a directory like /tmp",
        _mode(0o1777, 1),
        f"{DIRECTORY}: found mode 1777 of {DIRECTORY}, {CLOSED_TO_OTHERS} {DIRECTORY}`",
    ),
    Closed(
        "a directory above it where all may add files",
        _mode(0o775, 2),
        f"{{root}}/etc/oomkilld: found mode 0775 of {{root}}/etc/oomkilld, {CLOSED_TO_OTHERS} {{root}}/etc/oomkilld`",
    ),
    Closed(
        "a link to a home directory",
        link("/home/me/10.toml"),
        f"{FILE}: found a link to {{root}}/home/me/10.toml, {BELOW}",
    ),
    Closed("a link out by ..", link("../../../srv/10.toml"), f"{FILE}: found a link to {{root}}/srv/10.toml, {BELOW}"),
    Closed(
        "a link to where tests make files",
        link("/tmp/10.toml"),
        f"{FILE}: found a link to {{root}}/tmp/10.toml, {BELOW}",
    ),
    Closed(
        "a link to another configuration",
        link("/etc/ssh/10.toml"),
        f"{FILE}: found a link to {{root}}/etc/ssh/10.toml, {BELOW}",
    ),
    Closed(
        "a link to another directory of that beginning",
        link("/etc/oomkilld2/10.toml"),
        f"{FILE}: found a link to {{root}}/etc/oomkilld2/10.toml, {BELOW}",
    ),
    Closed(
        "a link by way of a home directory",
        link("/root/10.toml", "/opt/10.toml"),
        f"{FILE}: found a link to {{root}}/root/10.toml, {BELOW}",
    ),
    Closed(
        "a link that leads nowhere",
        instead(lambda path: path.symlink_to("20.conf")),
        f"{FILE}: found a link to {DIRECTORY}/20.conf, where nothing is, expected a file",
    ),
    Closed(
        "a link to itself",
        instead(lambda path: path.symlink_to(path.name)),
        f"{FILE}: found links that lead in a circle at {FILE}, expected a file",
    ),
    Closed(
        "a link to what all may write",
        link("/opt/10.conf", then=_mode(0o666)),
        f"{FILE}: found mode 0666 of {{root}}/opt/10.conf, {CLOSED_TO_OTHERS} {{root}}/opt/10.conf`",
    ),
    Closed(
        "a link to where all may write",
        link("/opt/10.conf", then=_mode(0o777, 1)),
        f"{FILE}: found mode 0777 of {{root}}/opt, {CLOSED_TO_OTHERS} {{root}}/opt`",
    ),
    Closed(
        "a link to what is wrong",
        link("/opt/10.conf", linked="[log]\nlevel = 6\n"),
        f"{FILE}:2: log.level: found 6, {LOG_LEVELS}",
    ),
    Closed("a link to a device", link("/dev/zero"), f"{FILE}: found a link to {{root}}/dev/zero, {BELOW}"),
    Closed(
        "a directory that is a link to a home directory",
        _link_of_the_directory("/home/me"),
        f"{DIRECTORY}: found a link to {{root}}/home/me, {BELOW}",
    ),
    Closed(
        "a directory that is a link to nothing",
        _instead_of_the_directory(lambda path: path.symlink_to("x")),
        f"{DIRECTORY}: found a link to {{root}}/etc/oomkilld/x, where nothing is, expected a file",
    ),
    Closed(
        "a directory that is a file",
        _instead_of_the_directory(lambda path: put(path, VALID)),
        f"{DIRECTORY}: cannot be read: Not a directory, expected a directory, or nothing there",
    ),
    Closed(
        "a directory that is a FIFO",
        _instead_of_the_directory(os.mkfifo),
        f"{DIRECTORY}: cannot be read: Not a directory, expected a directory, or nothing there",
    ),
    Closed("a FIFO", instead(os.mkfifo), f"{FILE}: found a FIFO, expected a regular file"),
    Closed(
        "a link to a FIFO",
        link("/opt/10.conf", then=instead(os.mkfifo)),
        f"{FILE}: found a FIFO, expected a regular file",
    ),
    Closed("a socket", instead(_socket), f"{FILE}: found a socket, expected a regular file"),
    Closed(
        "a directory", instead(lambda path: path.mkdir(0o755)), f"{FILE}: found a directory, expected a regular file"
    ),
    Closed(
        "a file of a TiB",
        _sparse,
        f"{FILE}: found more than 65536 bytes, expected a configuration file of at most that",
    ),
    Closed(
        "a name that rewrites the line",
        instead(lambda path: put(path.with_name("\x1b[2K.toml"), "[logs]")),
        f"{DIRECTORY}/\\x1b[2K.toml:1: logs: unknown key (did you mean 'log'?), {TABLES}",
    ),
    Closed(
        "a name of bytes that are no text",
        instead(lambda path: put(path.with_name("\udcff.toml"), "[logs]")),
        f"{DIRECTORY}/\\udcff.toml:1: logs: unknown key (did you mean 'log'?), {TABLES}",
    ),
]
