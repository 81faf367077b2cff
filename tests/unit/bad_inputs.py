# SPDX-License-Identifier: Apache-2.0
"""Bad inputs, as one table: each input, the exit status and the exact words that the program answers.

An input is a configuration below a root directory, or a line of bash: a command line, and surroundings in which the
program cannot work as intended.
"""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

DROP_IN = "etc/oomkilld/oomkilld.toml.d/10.toml"
VALID = '[entry]\noutcome = "all"\n'
FILE, DIRECTORY = f"{{root}}/{DROP_IN}", "{root}/etc/oomkilld/oomkilld.toml.d"


class Bad(NamedTuple):
    """A row.

    ``make``: changes the configuration, which is a valid drop-in before; None: no configuration. ``script``: runs with
    mounts of its own (an empty /run, no kernel log) as root without any capability: if nothing else is wrong, the
    service ends because a privilege is missing. $BASE: the address space that the interpreter itself takes, in KiB.
    ``said``: the lines on standard error, without "oomkilld: "; {root}: where the configuration is; {number}: digits
    that depend on the interpreter. ``advice``: the last line. ``printed``: how standard output begins.
    """

    name: str
    script: str
    status: int
    said: str
    advice: str = ""
    printed: str = ""
    make: Callable[[Path], object] | None = None

    def put(self, root: Path) -> Path:
        """Write the drop-in where the program reads it; return its path."""
        path = root / DROP_IN
        put(path, VALID)
        if self.make is not None:
            self.make(path)
        return path

    def lines(self, root: Path | str) -> list[str]:
        """The lines of ``said``."""
        return self.said.replace("{root}", str(root)).splitlines()


def put(path: Path, content: str | bytes) -> None:
    """Write a file that only root can write to, whatever the umask."""
    umask = os.umask(0o022)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.umask(umask)


CORRECT = "correct the errors above"
UNTIL_THEN = (
    f"{CORRECT}; until then, a service that is restarted uses the last valid settings, without command lines, or the "
    "defaults"
)


def made(name: str, make: Callable[[Path], object], said: str) -> Bad:
    """A file or directory with the wrong owner, mode, kind or place."""
    return Bad(name, "oomkilld --check-config", 78, said, UNTIL_THEN, make=make)


def content(name: str, text: str | bytes, said: str) -> Bad:
    """A drop-in with this text. ``said``: follows its path and a colon, and begins with the line number."""
    lines = "\n".join(f"{FILE}:{line}" for line in said.splitlines())
    return made(name, lambda path: put(path, text), lines)


STATEMENT = 'a table such as [log], an option such as level = "info", or a comment (#)'
LINE_END = "the end of the line after a table or an option (strings need quotes)"
VALUE = "a string in quotes, a number, true, false or a list"
QUOTES = "the quotes that end a string"
ESCAPE = "a valid escape after each \\ in a string, such as \\n or \\u00e9 (not in single quotes)"
CONTROL = "no control character (in a string, write \\u001b)"
ONCE = "expected each table and option once"
OPTIONS = "expected one of priority, meminfo, statistics, outcome, reduce_from, cmdline, redact"
TABLES = "expected one of capture, entry, recorder, log"
LEVELS = "expected 'auto', 'kprobe', 'fentry', 'tracepoint' or 'kmsg'"
PRIORITIES = "expected 'emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info' or 'debug'"
LOG_LEVELS = "expected 'err', 'warning' or 'info'"
RING = "expected a power of two from 4KiB to 64MiB, such as '4MiB', or 4194304 without quotes"
KILLS = "expected a whole number from 1 to 1000, or 0 for never, without quotes"
ENABLED = "expected true or false, without quotes"
CGROUPS = "expected a whole number from 1 to 256, without quotes"
ROWS = "expected 'common', 'all' or a list of /proc/meminfo keys"
ROW = "expected a key as in /proc/meminfo, such as 'MemFree' or 'Active(anon)'"
PATTERNS = "expected a list of at most 200 patterns such as ['default', 'password *']"
PATTERN = (
    "expected a pattern such as 'password *', 'mysql ** -p*' or '://*:*@' (the last * is hidden; a space, only before "
    "the first *, separates a name from its value; the name of a program stands before **), or 'default'"
)
NUL = "\\x00"
MORE = (
    "\n".join(f"{line}: log.x{line - 2}: unknown key, expected one of level" for line in range(2, 22))
    + "\n 30 more errors"
)

CONTENTS = [
    content("a text without quotes", "[log]\nlevel = info\n", f"2: found 'o' in 'level = info', expected {LINE_END}"),
    content(
        "a text without its end",
        '[log]\nlevel = "info\n',
        f"2: found the end of the line after 'level = \"info', expected {QUOTES}",
    ),
    content(
        "a text without its end on the last line",
        '[log]\nlevel = "info',
        f"2: found the end of the file, expected {QUOTES}",
    ),
    content(
        "a text of several lines without an end",
        '[log]\nlevel = """info\n\n[entry]\n',
        "5: found the end of the file, expected the quotes that end a string, to close what begins on line 2",
    ),
    content(
        "quotes of the typographic kind",
        "[log]\nlevel = \u201cinfo\u201d\n",
        f"2: found '\u201cinfo\u201d' in 'level = \u201cinfo\u201d', expected {VALUE}",
    ),
    content(
        "a value that is missing", "[log]\nlevel =\n", f"2: found the end of the line after 'level =', expected {VALUE}"
    ),
    content(
        "an option without a value",
        "[log]\nlevel\n",
        "2: found the end of the line after 'level', expected '=' after the name of an option",
    ),
    content(
        "a colon for =",
        '[log]\nlevel: "info"\n',
        "2: found ': \"info\"' in 'level: \"info\"', expected '=' after the name of an option",
    ),
    content("an option without a name", '[log]\n= "info"\n', f"2: found '= \"info\"', expected {STATEMENT}"),
    content(
        "two options on a line",
        '[log]\nlevel = "info" level = "err"\n',
        f'2: found \'level = "err"\' in \'level = "info" level = "err"\', expected {LINE_END}',
    ),
    content(
        "something behind a value",
        '[log]\nlevel = "info";\n',
        f"2: found ';' in 'level = \"info\";', expected {LINE_END}",
    ),
    content(
        "a comment of another language",
        "// about the log\n[log]\n",
        f"1: found '// about the log', expected {STATEMENT}",
    ),
    content(
        "a table without its end",
        '[log\nlevel = "info"\n',
        "1: found the end of the line after '[log', expected ']' after the name of a table",
    ),
    content("a table without a name", "[]\n", f"1: found ']' in '[]', expected {STATEMENT}"),
    content("a name that ends in a dot", "[log.]\n", f"1: found ']' in '[log.]', expected {STATEMENT}"),
    content(
        "a list without its end",
        '[entry]\nredact = ["default",\n  "pin *"\n\n[log]\nlevel = "info"\n',
        "5: found '[log]', expected ',' or ']' in a list",
    ),
    content(
        "a list without commas",
        '[entry]\nredact = ["default" "pin *"]\n',
        "2: found '\"pin *\"]' in 'redact = [\"default\" \"pin *\"]', expected ',' or ']' in a list",
    ),
    content(
        "a table in braces without its end",
        'log = { level = "info"\n',
        "1: found the end of the line after 'log = { level = \"info\"', expected ',' or '}' in a table",
    ),
    content(
        "an escape that does not exist",
        '[entry]\nredact = ["C:\\path *"]\n',
        f"2: found 'redact = [\"C:\\\\path *\"]', expected {ESCAPE}",
    ),
    content(
        "an escape with invalid digits",
        '[log]\nlevel = "\\u00zz"\n',
        f"2: found 'level = \"\\\\u00zz\"', expected {ESCAPE}",
    ),
    content(
        "an escape of half a character",
        '[log]\nlevel = "\\ud800"\n',
        f"2: found 'level = \"\\\\ud800\"', expected {ESCAPE}",
    ),
    content(
        "a control character in a text",
        '[log]\nlevel = "in\x1bfo"\n',
        f"2: found '\\x1bfo\"' in 'level = \"in\\x1bfo\"', expected {CONTROL}",
    ),
    content(
        "a control character in a comment", "# \x07\n[log]\n", f"1: found '\\x07' in '# \\x07', expected {CONTROL}"
    ),
    content(
        "NUL in a text",
        b'[log]\nlevel = "info\x00"\n',
        f"2: found '\\x00\"' in 'level = \"info\\x00\"', expected {CONTROL}",
    ),
    content("NUL between the lines", b"[log]\n\0\n", f"2: found '\\x00', expected {STATEMENT}"),
    content("a file of NULs", b"\0" * 4096, f"1: found '{NUL * 14}\\x…, expected {STATEMENT}"),
    content(
        "a line that ends in CR alone",
        b'[log]\rlevel = "info"\r',
        f"1: found 'level = \"info\"' in '[log]\\rlevel = \"info\"', expected {LINE_END}",
    ),
    content("the words of an ini file", "[log]\nlevel = yes\n", f"2: found 'yes' in 'level = yes', expected {VALUE}"),
    content(
        "JSON", '{"log": {"level": "info"}}\n', f'1: found \'{{"log": {{"level": "info"}}}}\', expected {STATEMENT}'
    ),
    content("YAML", "log:\n  level: info\n", "1: found ':' in 'log:', expected '=' after the name of an option"),
    content(
        "the conflict markers of a merge",
        '[log]\n<<<<<<< ours\nlevel = "info"\n=======\n',
        f"2: found '<<<<<<< ours', expected {STATEMENT}",
    ),
    content(
        "True as Python has it",
        "[entry]\nreduce_from = True\n",
        f"2: found 'True' in 'reduce_from = True', expected {VALUE}",
    ),
    content(
        "a number with a leading zero",
        "[entry]\nreduce_from = 010\n",
        f"2: found '10' in 'reduce_from = 010', expected {LINE_END}",
    ),
    content(
        "a number with a unit",
        "[entry]\nreduce_from = 10kills\n",
        f"2: found 'kills' in 'reduce_from = 10kills', expected {LINE_END}",
    ),
    content(
        "Arabic digits",
        "[entry]\nreduce_from = \u0661\u0660\u0660\n",
        f"2: found '\u0661\u0660\u0660' in 'reduce_from = \u0661\u0660\u0660', expected {VALUE}",
    ),
    content(
        "fullwidth digits",
        "[entry]\nreduce_from = \uff11\uff10\uff10\n",
        f"2: found '\uff11\uff10\uff10' in 'reduce_from = \uff11\uff10\uff10', expected {VALUE}",
    ),
    content(
        "a day that does not exist",
        "[entry]\nreduce_from = 2026-02-30\n",
        "2: found '2026-02-30' in 'reduce_from = 2026-02-30', expected an existing date",
    ),
    content(
        "a number of 5000 digits",
        f"[log]\n\n[entry]\nreduce_from = {'9' * 5000}\n",
        "4: found a number of thousands of digits, expected a valid value of the option",
    ),
    content(
        "a number of 5000 digits in a list",
        f'[entry]\nmeminfo = [\n  "MemFree",\n  {"9" * 5000},\n]\n',
        "2: found a number of thousands of digits, expected a valid value of the option",
    ),
    content(
        "30000 lists in each other",
        f"a = {'[' * 30000}\n",
        " found values nested too deeply, expected tables of options",
    ),
    content(
        "an option twice",
        '[log]\nlevel = "info"\n# again\nlevel = "err"\n',
        f"4: found 'log.level' a second time, first on line 2, {ONCE}",
    ),
    content(
        "an option twice, once in quotes",
        '[log]\nlevel = "info"\n"level" = "err"',
        f"3: found 'log.level' a second time, first on line 2, {ONCE}",
    ),
    content(
        "a table twice",
        '[log]\n\n[entry]\n\n[log]\nlevel = "err"\n',
        f"5: found 'log' a second time, first on line 1, {ONCE}",
    ),
    content(
        "a table in dots and in brackets",
        'log.level = "err"\n[log]\nlevel = "err"\n',
        f"2: found 'log' a second time, first on line 1, {ONCE}",
    ),
    content(
        "a table in braces and in brackets",
        'log = { level = "err" }\n\n[log]\n',
        f"3: found 'log' a second time, first on line 1, {ONCE}",
    ),
    content(
        "a table in braces and in dots",
        'log = { level = "err" }\nlog.colour = 1\n',
        f"2: found 'log' a second time, first on line 1, {ONCE}",
    ),
    content(
        "an option twice in braces",
        'log = { level = "err", level = "info" }\n',
        f"1: found an option a second time, {ONCE}",
    ),
    content(
        "an option twice in dots",
        'entry.outcome = "all"\nentry.priority = "err"\nentry.outcome = "stuck"\n',
        f"3: found 'entry.outcome' a second time, first on line 1, {ONCE}",
    ),
    content(
        "a byte order mark",
        b'\xef\xbb\xbf[log]\nlevel = "info"\n',
        "1: found a byte order mark, expected UTF-8 text without one",
    ),
    content(
        "UTF-16",
        '[log]\nlevel = "info"\n'.encode("utf-16"),
        "1: found byte 0xff, expected UTF-8 text",
    ),
    content("Latin-1", b'[log]\n# f\xfcr alle\nlevel = "info"\n', "2: found byte 0xfc, expected UTF-8 text"),
    content("gzip", b"\x1f\x8b\x08\x00\x00\x00", "1: found byte 0x8b, expected UTF-8 text"),
    content("ELF", b"\x7fELF\2\1\1\0", f"1: found '\\x7fELF\\x02\\x01\\x01\\x00', expected {STATEMENT}"),
    content(
        "more than a configuration takes",
        "#" * 100_000,
        " found more than 65536 bytes, expected a configuration file of at most that",
    ),
    content(
        "a table that there is not",
        '[captur]\nlevel = "auto"\n',
        f"1: captur: unknown key (did you mean 'capture'?), {TABLES}",
    ),
    content("a table of tables", '[[log]]\nlevel = "err"\n', "1: log: found a list of 1, expected a table, [log]"),
    content("a table in a table", "[log.level]\n", f"1: log.level: found a table, {LOG_LEVELS}"),
    content("a table that is none", "\nlog = 3\n", "2: log: found 3, expected a table, [log]"),
    content("a table that is a text", 'log = "info"\n', "1: log: found 'info', expected a table, [log]"),
    content(
        "an option that there is not",
        '[capture]\n# more\nring_sise = "4MiB"\n',
        "3: capture.ring_sise: unknown key (did you mean 'ring_size'?), expected one of level, ring_size",
    ),
    content("an option in capitals", '[Log]\nlevel = "err"\n', f"1: Log: unknown key (did you mean 'log'?), {TABLES}"),
    content(
        "an option with a hyphen",
        "[entry]\nreduce-from = 3\n",
        f"2: entry.reduce-from: unknown key (did you mean 'reduce_from'?), {OPTIONS}",
    ),
    content(
        "an option of another table",
        '[log]\npriority = "err"\n',
        "2: log.priority: unknown key (it belongs in [entry]), expected one of level",
    ),
    content(
        "an option of no table", 'priority = "err"\n', f"1: priority: unknown key (it belongs in [entry]), {TABLES}"
    ),
    content(
        "an option of no table that two have",
        'level = "err"\n',
        f"1: level: unknown key (it belongs in [capture] or [log]), {TABLES}",
    ),
    content("an option without a name at all", '[log]\n"" = 3\n', "2: log.'': unknown key, expected one of level"),
    content(
        "a name of control characters",
        '[log]\n"\\u001b[2J" = 3\n',
        "2: log.'\\x1b[2J': unknown key, expected one of level",
    ),
    content(
        "a name of many characters",
        f"[log]\n{'x' * 5000} = 3\n",
        f"2: log.{'x' * 75}…: unknown key, expected one of level",
    ),
    content("a name of many parts", f"log.level{'.x' * 300} = 3\n", f"1: log.level: found a table, {LOG_LEVELS}"),
    content("more errors than anybody reads", "[log]\n" + "".join(f"x{i} = 1\n" for i in range(50)), MORE),
    content("a level that there is not", '[capture]\nlevel = "magic"\n', f"2: capture.level: found 'magic', {LEVELS}"),
    content("a level in capitals", '[capture]\nlevel = "KPROBE"\n', f"2: capture.level: found 'KPROBE', {LEVELS}"),
    content("a level with a blank", '[log]\nlevel = "info "\n', f"2: log.level: found 'info ', {LOG_LEVELS}"),
    content("a level that has no lines", '[log]\nlevel = "debug"\n', f"2: log.level: found 'debug', {LOG_LEVELS}"),
    content("a level that is empty", '[log]\nlevel = ""\n', f"2: log.level: found '', {LOG_LEVELS}"),
    content("a level with NUL", '[log]\nlevel = "info\\u0000"\n', f"2: log.level: found 'info\\x00', {LOG_LEVELS}"),
    content("a level as a number", "[log]\nlevel = 6\n", f"2: log.level: found 6, {LOG_LEVELS}"),
    content("a level as a list", '[log]\nlevel = ["info"]\n', f"2: log.level: found a list of 1, {LOG_LEVELS}"),
    content("a level as a table", '[log]\nlevel = { name = "info" }\n', f"2: log.level: found a table, {LOG_LEVELS}"),
    content("a level as a boolean", "[log]\nlevel = true\n", f"2: log.level: found true, {LOG_LEVELS}"),
    content(
        "a level as a day",
        "[log]\nlevel = 2026-11-29\n",
        f"2: log.level: found 2026-11-29, a date or time, {LOG_LEVELS}",
    ),
    content(
        "a level as a time", "[log]\nlevel = 07:32:00\n", f"2: log.level: found 07:32:00, a date or time, {LOG_LEVELS}"
    ),
    content(
        "a level of Cyrillic letters",
        '[capture]\nlevel = "\u0430uto"\n',
        f"2: capture.level: found '\u0430uto', {LEVELS}",
    ),
    content(
        "a level that rewrites the line",
        '[log]\nlevel = "\\u001b[2K\\u202einfo"\n',
        f"2: log.level: found '\\x1b[2K\\u202einfo', {LOG_LEVELS}",
    ),
    content(
        "a level of many characters",
        f'[log]\nlevel = "{"x" * 500}"\n',
        f"2: log.level: found '{'x' * 78}…, {LOG_LEVELS}",
    ),
    content(
        "a ring that is no power of two",
        '[capture]\nring_size = "3MiB"\n',
        f"2: capture.ring_size: found '3MiB', {RING}",
    ),
    content("a ring too large", '[capture]\nring_size = "128MiB"\n', f"2: capture.ring_size: found '128MiB', {RING}"),
    content("a ring too small", '[capture]\nring_size = "2KiB"\n', f"2: capture.ring_size: found '2KiB', {RING}"),
    content(
        "a ring too large, as a number",
        "[capture]\nring_size = 134217728\n",
        f"2: capture.ring_size: found 134217728, {RING}",
    ),
    content(
        "a ring with NUL", '[capture]\nring_size = "4MiB\\u0000"\n', f"2: capture.ring_size: found '4MiB\\x00', {RING}"
    ),
    content(
        "a ring with a line end", '[capture]\nring_size = "4MiB\\n"\n', f"2: capture.ring_size: found '4MiB\\n', {RING}"
    ),
    content(
        "a ring in Arabic digits",
        '[capture]\nring_size = "\u0664MiB"\n',
        f"2: capture.ring_size: found '\u0664MiB', {RING}",
    ),
    content(
        "a ring in fullwidth digits",
        '[capture]\nring_size = "\uff14MiB"\n',
        f"2: capture.ring_size: found '\uff14MiB', {RING}",
    ),
    content(
        "a ring without a number", '[capture]\nring_size = "many"\n', f"2: capture.ring_size: found 'many', {RING}"
    ),
    content("a ring in decimal units", '[capture]\nring_size = "4MB"\n', f"2: capture.ring_size: found '4MB', {RING}"),
    content("a ring with a sign", '[capture]\nring_size = "+4MiB"\n', f"2: capture.ring_size: found '+4MiB', {RING}"),
    content(
        "a ring that is less than nothing",
        "[capture]\nring_size = -4194304\n",
        f"2: capture.ring_size: found -4194304, {RING}",
    ),
    content(
        "a ring of a fraction", '[capture]\nring_size = "0.5MiB"\n', f"2: capture.ring_size: found '0.5MiB', {RING}"
    ),
    content(
        "a ring as a fraction", "[capture]\nring_size = 4194304.0\n", f"2: capture.ring_size: found 4194304.0, {RING}"
    ),
    content("a ring as a boolean", "[capture]\nring_size = true\n", f"2: capture.ring_size: found true, {RING}"),
    content(
        "a ring as a time",
        "[capture]\nring_size = 2026-11-29T12:00:00Z\n",
        f"2: capture.ring_size: found 2026-11-29T12:00:00+00:00, a date or time, {RING}",
    ),
    content(
        "a ring of 1000 hexadecimal digits",
        f"[capture]\nring_size = 0x{'f' * 1000}\n",
        f"2: capture.ring_size: found a number of hundreds of digits, {RING}",
    ),
    content(
        "a ring of 5000 hexadecimal digits",
        f"[capture]\nring_size = 0x{'f' * 5000}\n",
        f"2: capture.ring_size: found a number of hundreds of digits, {RING}",
    ),
    content("a flood of less than nothing", "[entry]\nreduce_from = -1\n", f"2: entry.reduce_from: found -1, {KILLS}"),
    content("a flood too large", "[entry]\nreduce_from = 1001\n", f"2: entry.reduce_from: found 1001, {KILLS}"),
    content(
        "a flood of 64 bits",
        "[entry]\nreduce_from = 18446744073709551616\n",
        f"2: entry.reduce_from: found 18446744073709551616, {KILLS}",
    ),
    content(
        "a flood of 5000 hexadecimal digits",
        f"[entry]\nreduce_from = 0x{'f' * 5000}\n",
        f"2: entry.reduce_from: found a number of hundreds of digits, {KILLS}",
    ),
    content("a flood as a fraction", "[entry]\nreduce_from = 9.5\n", f"2: entry.reduce_from: found 9.5, {KILLS}"),
    content("a flood without an end", "[entry]\nreduce_from = inf\n", f"2: entry.reduce_from: found inf, {KILLS}"),
    content("a flood that is no number", "[entry]\nreduce_from = nan\n", f"2: entry.reduce_from: found nan, {KILLS}"),
    content("a flood as a boolean", "[entry]\nreduce_from = true\n", f"2: entry.reduce_from: found true, {KILLS}"),
    content("a flood as a text", '[entry]\nreduce_from = "never"\n', f"2: entry.reduce_from: found 'never', {KILLS}"),
    content(
        "a flood as a day",
        "[entry]\nreduce_from = 1979-05-27\n",
        f"2: entry.reduce_from: found 1979-05-27, a date or time, {KILLS}",
    ),
    content(
        "rows by a word that there is not", '[entry]\nmeminfo = "some"\n', f"2: entry.meminfo: found 'some', {ROWS}"
    ),
    content("rows as a number", "[entry]\nmeminfo = 7\n", f"2: entry.meminfo: found 7, {ROWS}"),
    content("rows as a boolean", "[entry]\nmeminfo = false\n", f"2: entry.meminfo: found false, {ROWS}"),
    content(
        "a row with a blank",
        '[entry]\nmeminfo = [\n  "MemFree",  # first\n  "Mem Total",\n]\n',
        f"4: entry.meminfo.1: found 'Mem Total', {ROW}",
    ),
    content(
        "a row with a line end", '[entry]\nmeminfo = ["MemFree\\n"]\n', f"2: entry.meminfo.0: found 'MemFree\\n', {ROW}"
    ),
    content("a row that is empty", '[entry]\nmeminfo = [""]\n', f"2: entry.meminfo.0: found '', {ROW}"),
    content("a row as a number", '[entry]\nmeminfo = ["MemFree", 3]\n', f"2: entry.meminfo.1: found 3, {ROW}"),
    content("a row as a list", '[entry]\nmeminfo = [["MemFree"]]\n', f"2: entry.meminfo.0: found a list of 1, {ROW}"),
    content(
        "rows of statistics by name",
        '[entry]\nstatistics = ["anon"]\n',
        "2: entry.statistics: found a list of 1, expected 'common' or 'all'",
    ),
    content(
        "an outcome that there is not",
        '[entry]\noutcome = "none"\n',
        "2: entry.outcome: found 'none', expected 'stuck' or 'all'",
    ),
    content("a recorder by a word", '[recorder]\nenabled = "yes"\n', f"2: recorder.enabled: found 'yes', {ENABLED}"),
    content("a recorder by a number", "[recorder]\nenabled = 1\n", f"2: recorder.enabled: found 1, {ENABLED}"),
    content("a recorder of no cgroups", "[recorder]\ncgroups = 0\n", f"2: recorder.cgroups: found 0, {CGROUPS}"),
    content("a recorder of too many", "[recorder]\ncgroups = 257\n", f"2: recorder.cgroups: found 257, {CGROUPS}"),
    content("a recorder of all", '[recorder]\ncgroups = "all"\n', f"2: recorder.cgroups: found 'all', {CGROUPS}"),
    content("a recorder of some", "[recorder]\ncgroups = true\n", f"2: recorder.cgroups: found true, {CGROUPS}"),
    content("a priority as a number", "[entry]\npriority = 2\n", f"2: entry.priority: found 2, {PRIORITIES}"),
    content(
        "a priority by another name", '[entry]\npriority = "error"\n', f"2: entry.priority: found 'error', {PRIORITIES}"
    ),
    content(
        "command lines as a boolean",
        "[entry]\ncmdline = true\n",
        "2: entry.cmdline: found true, expected 'off', 'first-argument' or 'full'",
    ),
    content(
        "patterns as a text", '[entry]\nredact = "password *"\n', f"2: entry.redact: found 'password *', {PATTERNS}"
    ),
    content("patterns as a table", '[entry.redact]\npassword = "*"\n', f"1: entry.redact: found a table, {PATTERNS}"),
    content(
        "a pattern without *",
        '[entry]\nredact = [\n  "default",\n\n  "password",\n]\n',
        f"5: entry.redact.1: found 'password', {PATTERN}: no *: it would hide nothing",
    ),
    content(
        "a pattern that would hide everything",
        '[entry]\nredact = ["*"]\n',
        f"2: entry.redact.0: found '*', {PATTERN}: nothing but * and spaces: it would hide everything",
    ),
    content(
        "a pattern of many characters",
        f'[entry]\nredact = ["{"x" * 101}*"]\n',
        f"2: entry.redact.0: found '{'x' * 78}…, {PATTERN}: more than 100 characters",
    ),
    content("a pattern as a number", "[entry]\nredact = [7]\n", f"2: entry.redact.0: found 7, {PATTERN}"),
    content(
        "more patterns than are taken",
        "[entry]\nredact = [" + '"a *", ' * 201 + "]\n",
        f"2: entry.redact: found a list of 201, {PATTERNS}",
    ),
]


def _mode(mode: int, above: int = 0) -> Callable[[Path], None]:
    """The drop-in, or its parent directory, ``above`` levels up."""
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
    """The drop-in links to ``target``, which links to the next; the last is a file with that text.

    Absolute paths are below the root. ``then`` is applied to that last file.
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
        # The path of a socket must be short.
        here = os.open(path.parent, os.O_PATH)
        listening.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


READABLE = "expected a mode by which root can read it without CAP_DAC_OVERRIDE: `chmod u+rX"
CLOSED_TO_OTHERS = "expected a mode by which only root can write to it: `chmod go-w"
BELOW = "expected one to a file below {root}/etc/oomkilld, {root}/usr or {root}/opt"

# Only root can make these.
OF_OTHERS = [
    made(
        "a file of another",
        _owner(),
        f"{FILE}: found user 4242 as the owner of {FILE}, expected root: `chown root {FILE}`",
    ),
    made(
        "a directory of another",
        _owner(1),
        f"{DIRECTORY}: found user 4242 as the owner of {DIRECTORY}, expected root: `chown root {DIRECTORY}`",
    ),
    made(
        "a device",
        instead(lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))),
        f"{FILE}: found a device, expected a regular file",
    ),
]
CLOSED = [
    made("a file that nobody may read", _mode(0o000), f"{FILE}: found mode 0000 of {FILE}, {READABLE} {FILE}`"),
    made("a file that only others may read", _mode(0o044), f"{FILE}: found mode 0044 of {FILE}, {READABLE} {FILE}`"),
    made("a file that may only be written", _mode(0o200), f"{FILE}: found mode 0200 of {FILE}, {READABLE} {FILE}`"),
    made("a file that all may write", _mode(0o666), f"{FILE}: found mode 0666 of {FILE}, {CLOSED_TO_OTHERS} {FILE}`"),
    made(
        "a file that a group may write", _mode(0o664), f"{FILE}: found mode 0664 of {FILE}, {CLOSED_TO_OTHERS} {FILE}`"
    ),
    made(
        "a directory that may not be listed",
        _mode(0o300, 1),
        f"{DIRECTORY}: found mode 0300 of {DIRECTORY}, {READABLE} {DIRECTORY}`",
    ),
    made(
        "a directory that may not be entered",
        _mode(0o600, 1),
        f"{DIRECTORY}: found mode 0600 of {DIRECTORY}, {READABLE} {DIRECTORY}`",
    ),
    made(
        "a directory where all may add files",
        _mode(0o777, 1),
        f"{DIRECTORY}: found mode 0777 of {DIRECTORY}, {CLOSED_TO_OTHERS} {DIRECTORY}`",
    ),
    made(
        "a directory like /tmp",
        _mode(0o1777, 1),
        f"{DIRECTORY}: found mode 1777 of {DIRECTORY}, {CLOSED_TO_OTHERS} {DIRECTORY}`",
    ),
    made(
        "a directory above it where all may add files",
        _mode(0o775, 2),
        f"{{root}}/etc/oomkilld: found mode 0775 of {{root}}/etc/oomkilld, {CLOSED_TO_OTHERS} {{root}}/etc/oomkilld`",
    ),
    made(
        "a link to a home directory",
        link("/home/me/10.toml"),
        f"{FILE}: found a link to {{root}}/home/me/10.toml, {BELOW}",
    ),
    made("a link out by ..", link("../../../srv/10.toml"), f"{FILE}: found a link to {{root}}/srv/10.toml, {BELOW}"),
    made(
        "a link to a file in /tmp",
        link("/tmp/10.toml"),
        f"{FILE}: found a link to {{root}}/tmp/10.toml, {BELOW}",
    ),
    made(
        "a link to another configuration",
        link("/etc/ssh/10.toml"),
        f"{FILE}: found a link to {{root}}/etc/ssh/10.toml, {BELOW}",
    ),
    made(
        "a link to another directory of that beginning",
        link("/etc/oomkilld2/10.toml"),
        f"{FILE}: found a link to {{root}}/etc/oomkilld2/10.toml, {BELOW}",
    ),
    made(
        "a link by way of a home directory",
        link("/root/10.toml", "/opt/10.toml"),
        f"{FILE}: found a link to {{root}}/root/10.toml, {BELOW}",
    ),
    made(
        "a link that leads nowhere",
        instead(lambda path: path.symlink_to("20.conf")),
        f"{FILE}: found a link to {DIRECTORY}/20.conf, which does not exist, expected a file",
    ),
    made(
        "a link to itself",
        instead(lambda path: path.symlink_to(path.name)),
        f"{FILE}: found a loop of links at {FILE}, expected a file",
    ),
    made(
        "a link to a file that all may write",
        link("/opt/10.conf", then=_mode(0o666)),
        f"{FILE}: found mode 0666 of {{root}}/opt/10.conf, {CLOSED_TO_OTHERS} {{root}}/opt/10.conf`",
    ),
    made(
        "a link into a directory where all may write",
        link("/opt/10.conf", then=_mode(0o777, 1)),
        f"{FILE}: found mode 0777 of {{root}}/opt, {CLOSED_TO_OTHERS} {{root}}/opt`",
    ),
    made(
        "a link to an invalid file",
        link("/opt/10.conf", linked="[log]\nlevel = 6\n"),
        f"{FILE}:2: log.level: found 6, {LOG_LEVELS}",
    ),
    made("a link to a device", link("/dev/zero"), f"{FILE}: found a link to {{root}}/dev/zero, {BELOW}"),
    made(
        "a directory that is a link to a home directory",
        _link_of_the_directory("/home/me"),
        f"{DIRECTORY}: found a link to {{root}}/home/me, {BELOW}",
    ),
    made(
        "a directory that is a link to nothing",
        _instead_of_the_directory(lambda path: path.symlink_to("x")),
        f"{DIRECTORY}: found a link to {{root}}/etc/oomkilld/x, which does not exist, expected a file",
    ),
    made(
        "a directory that is a file",
        _instead_of_the_directory(lambda path: put(path, VALID)),
        f"{DIRECTORY}: cannot be read: Not a directory, expected a directory, or nothing there",
    ),
    made(
        "a directory that is a FIFO",
        _instead_of_the_directory(os.mkfifo),
        f"{DIRECTORY}: cannot be read: Not a directory, expected a directory, or nothing there",
    ),
    made("a FIFO", instead(os.mkfifo), f"{FILE}: found a FIFO, expected a regular file"),
    made(
        "a link to a FIFO",
        link("/opt/10.conf", then=instead(os.mkfifo)),
        f"{FILE}: found a FIFO, expected a regular file",
    ),
    made("a socket", instead(_socket), f"{FILE}: found a socket, expected a regular file"),
    made("a directory", instead(lambda path: path.mkdir(0o755)), f"{FILE}: found a directory, expected a regular file"),
    made(
        "a file of a TiB",
        _sparse,
        f"{FILE}: found more than 65536 bytes, expected a configuration file of at most that",
    ),
    made(
        "a name that rewrites the line",
        instead(lambda path: put(path.with_name("\x1b[2K.toml"), "[logs]")),
        f"{DIRECTORY}/\\x1b[2K.toml:1: logs: unknown key (did you mean 'log'?), {TABLES}",
    ),
    made(
        "a name that is no text",
        instead(lambda path: put(path.with_name("\udcff.toml"), "[logs]")),
        f"{DIRECTORY}/\\udcff.toml:1: logs: unknown key (did you mean 'log'?), {TABLES}",
    ),
]


def command(script: str, status: int, said: str, advice: str = "", *, printed: str = "") -> Bad:
    """Surroundings, and a command line that runs in them."""
    return Bad(script, script, status, said, advice, printed)


def usage(said: str) -> tuple[int, str, str]:
    return 2, said, "see `oomkilld --help`; without arguments, oomkilld runs as the service"


def not_written(why: str) -> tuple[int, str, str]:
    advice = "write it to a file on a disk with free space, or pipe it to a program that reads to the end"
    return 1, f"Failed to write the output: {why}", advice


def limited(found: str, least: int, of_unit: str, by_hand: str) -> tuple[int, str, str]:
    advice = f"raise it (Limit{of_unit}= of the unit, ulimit -{by_hand} in a shell)"
    return 71, f"found a limit of {found}, expected at least {least}", advice


def run_unusable(why: str) -> tuple[int, str, str]:
    advice = "expected a directory that root can write to: move anything else away, or mount it writable"
    return 69, f"/run/oomkilld cannot be used: {why}", advice


def no_privilege(*files: int) -> tuple[int, str, str]:
    """How the service ends if nothing else is wrong; why depends on the kernel. ``files``: not handed over."""
    warnings = [f"Failed to take over file {file} of systemd's: Bad file descriptor, attaching anew" for file in files]
    advice = "kmsg: make the machine's /dev/kmsg visible to the service, as the unit does; in a container, as a device"
    return 77, "\n".join([*warnings, "no capture level works on this system"]), advice


NO_PRIVILEGE = no_privilege()
IS_NO_DIRECTORY = run_unusable("Not a directory")
IS_READ_ONLY = run_unusable("Read-only file system")
IS_BUSY = run_unusable("Device or resource busy")
IS_FULL = (
    71,
    "/run/oomkilld cannot be used: No space left on device",
    "free space in /run (`df -h /run`, `df -i /run`); systemd restarts the service",
)
NOT_MOUNTED = "mount /proc, /sys and /dev as usual, and do not hide them from the service"
# Nobody reads what is written to file 5.
BROKEN_PIPE = "mkfifo /run/pipe; exec 4<>/run/pipe 5>/run/pipe 4<&-"
GONE = "mkdir /run/gone; cd /run/gone; rmdir /run/gone"
LISTEN = "export LISTEN_PID=$$"

COMMAND_LINES = [
    command("oomkilld --bogus", *usage("unrecognized arguments: --bogus")),
    command("oomkilld start", *usage("unrecognized arguments: start")),
    command("oomkilld ''", *usage("found an empty argument, expected an option or the name of a file")),
    command("oomkilld --check-config ''", *usage("found an empty argument, expected an option or the name of a file")),
    command("oomkilld --check-config=", *usage("found an empty argument, expected an option or the name of a file")),
    command("oomkilld -x", *usage("unrecognized arguments: -x")),
    command("oomkilld --ver", *usage("unrecognized arguments: --ver")),
    command("oomkilld --version=3", *usage("argument --version: ignored explicit argument '3'")),
    command("oomkilld --show-config=x", *usage("argument --show-config: ignored explicit argument 'x'")),
    command("oomkilld --version more", *usage("unrecognized arguments: more")),
    command("oomkilld --check-config a b", *usage("unrecognized arguments: b")),
    command(
        "oomkilld --check-config --show-config",
        *usage("argument --show-config: not allowed with argument --check-config"),
    ),
    command("oomkilld --help --version", *usage("argument --version: not allowed with argument -h/--help")),
    command(r"oomkilld $'\xff\xfe'", *usage(r"unrecognized arguments: \udcff\udcfe")),
    command(r"oomkilld $'a\e[2Jb'", *usage(r"unrecognized arguments: a\x1b[2Jb")),
    command(r"oomkilld $'a\nb'", *usage(r"unrecognized arguments: a\nb")),
    command(r"oomkilld $'\xe2\x80\xaeb'", *usage(r"unrecognized arguments: \u202eb")),
    command("oomkilld $(printf %0100000d 0)", *usage(f"unrecognized arguments: {'0' * 100_000}")),
    command("oomkilld $(seq 5000)", *usage(f"unrecognized arguments: {' '.join(map(str, range(1, 5001)))}")),
]
FILES = [
    command("oomkilld --show-config >&-", *not_written("Bad file descriptor")),
    command("oomkilld --version >&-", *not_written("Bad file descriptor")),
    command("oomkilld --version 1</dev/null", *not_written("Bad file descriptor")),
    command("oomkilld --show-config <&- >&-", *not_written("Bad file descriptor")),
    command("oomkilld --show-config >/dev/full", *not_written("No space left on device")),
    command("oomkilld --help >/dev/full", *not_written("No space left on device")),
    command("oomkilld --version >/dev/full", *not_written("No space left on device")),
    command(f"{BROKEN_PIPE}; oomkilld --show-config >&5", *not_written("Broken pipe")),
    command(f"{BROKEN_PIPE}; oomkilld --help >&5", *not_written("Broken pipe")),
    command("oomkilld --show-config <&- >&- 2>&-", 1, ""),
    command("oomkilld --show-config >/dev/full 2>/dev/full", 1, ""),
    command("oomkilld --check-config <&- >&- 2>&-", 0, ""),
    command("oomkilld --bogus 2>&-", 2, ""),
    command("oomkilld --bogus 2>/dev/full", 2, ""),
    command(f"{BROKEN_PIPE}; oomkilld --bogus 2>&5", 2, ""),
    command("oomkilld <&-", *NO_PRIVILEGE),
    command("oomkilld >&-", *NO_PRIVILEGE),
    command("oomkilld 2>&-", 77, ""),
    command("oomkilld 2>/dev/full", 77, ""),
    command("oomkilld <&- >&- 2>&-", 77, ""),
]
VARIABLES = [
    command(f"{LISTEN} LISTEN_FDS=2 LISTEN_FDNAMES=ring.x:arming.x; oomkilld", *no_privilege(3, 4)),
    command(f"{LISTEN} LISTEN_FDS=2 LISTEN_FDNAMES=ring.x:arming.x; oomkilld 4</dev/null", *no_privilege(3)),
    command(f"{LISTEN} LISTEN_FDS=1 LISTEN_FDNAMES=arming.x; oomkilld 3</", *NO_PRIVILEGE),
    command(f"{LISTEN} LISTEN_FDS=1 LISTEN_FDNAMES=; oomkilld", *NO_PRIVILEGE),
    command(f"{LISTEN} LISTEN_FDS=1; oomkilld", *NO_PRIVILEGE),
    command(f"{LISTEN}; oomkilld", *NO_PRIVILEGE),
    command(f"{LISTEN} LISTEN_FDS=none LISTEN_FDNAMES=::::; oomkilld", *no_privilege(3, 4, 5, 6, 7)),
    command("export LISTEN_PID=none LISTEN_FDS=1 LISTEN_FDNAMES=ring.x; oomkilld", *NO_PRIVILEGE),
    command("NOTIFY_SOCKET=/run/none oomkilld", *NO_PRIVILEGE),
    command("NOTIFY_SOCKET=$(printf /%0200d 0) oomkilld", *NO_PRIVILEGE),
    command("NOTIFY_SOCKET=relative oomkilld", *NO_PRIVILEGE),
    command("NOTIFY_SOCKET=@ oomkilld", *NO_PRIVILEGE),
    command("WATCHDOG_USEC=² WATCHDOG_PID=$$ oomkilld", *NO_PRIVILEGE),
    command("WATCHDOG_USEC=$(printf 9%05000d 0) oomkilld", *NO_PRIVILEGE),
    command("JOURNAL_STREAM=none oomkilld", *NO_PRIVILEGE),
    command("unset $(compgen -e); oomkilld", *NO_PRIVILEGE),
    command("LANG=none oomkilld --bogus", *usage("unrecognized arguments: --bogus")),
    command("TMPDIR=/none HOME= oomkilld --show-config", 0, "", printed="[capture]"),
    command("PYTHONHOME=/none PYTHONPATH=/none PYTHONIOENCODING=none oomkilld --version", 0, "", printed="oomkilld "),
    command(
        "echo 'raise SystemExit(3)' >/run/argparse.py; PYTHONPATH=/run oomkilld --version", 0, "", printed="oomkilld "
    ),
]
LIMITS = [
    *(
        command(
            f"ulimit -n {files}; oomkilld",
            *limited(f"{files} files open at a time", 64, "NOFILE", "n"),
        )
        for files in (20, 22, 24, 26, 28, 63)
    ),
    *(
        command(
            f"ulimit -v $((BASE + {more})); oomkilld {option}",
            *limited("{number} bytes of address space", 67108864, "AS", "v"),
        )
        for more in (3000, 20000, 40000)
        for option in ("", "--show-config")
    ),
    command("ulimit -d 20000; oomkilld", *limited("20480000 bytes of data", 33554432, "DATA", "d")),
    command("ulimit -d 10000; oomkilld --show-config", *limited("10240000 bytes of data", 33554432, "DATA", "d")),
    command("ulimit -f 0; oomkilld", *limited("0 bytes in a file", 1048576, "FSIZE", "f")),
    command("ulimit -f 100; oomkilld", *limited("102400 bytes in a file", 1048576, "FSIZE", "f")),
    command("ulimit -s 64; oomkilld", *limited("65536 bytes of stack", 1048576, "STACK", "s")),
    command("ulimit -c 0 -l 0 -q 0; oomkilld", *NO_PRIVILEGE),
]
RUN = [
    command("touch /run/oomkilld; oomkilld", *IS_NO_DIRECTORY),
    command("mkfifo /run/oomkilld; oomkilld", *IS_NO_DIRECTORY),
    command("ln -s none /run/oomkilld; oomkilld", *IS_NO_DIRECTORY),
    command("ln -s oomkilld /run/oomkilld; oomkilld", *IS_NO_DIRECTORY),
    command("mkdir /run/real; ln -s real /run/oomkilld; oomkilld", *IS_NO_DIRECTORY),
    command("mkdir /run/oomkilld; mount -t tmpfs -o ro none /run/oomkilld; oomkilld", *IS_READ_ONLY),
    command("mount -o remount,bind,ro /run; oomkilld", *IS_READ_ONLY),
    command("mkdir /run/oomkilld; mount -o remount,bind,ro /run; oomkilld", *IS_READ_ONLY),
    command("mkdir /run/oomkilld; mount -t tmpfs -o nr_inodes=1 none /run/oomkilld; oomkilld", *IS_FULL),
    command(
        "mkdir /run/oomkilld; mount -t tmpfs -o size=4k none /run/oomkilld; echo >/run/oomkilld/x; oomkilld", *IS_FULL
    ),
    command("mkdir -p /run/oomkilld/instance; mount -t tmpfs none /run/oomkilld/instance; oomkilld", *IS_BUSY),
    command("mkdir -p /run/oomkilld/headers; mount -t tmpfs none /run/oomkilld/headers; oomkilld", *IS_BUSY),
    command("mkdir -p /run/oomkilld/instance/x/y; oomkilld", *NO_PRIVILEGE),
    command("mkdir /run/oomkilld; mkfifo /run/oomkilld/instance; oomkilld", *NO_PRIVILEGE),
    command("mkdir /run/oomkilld; ln -s /none /run/oomkilld/headers; oomkilld", *NO_PRIVILEGE),
]
SYSTEM = [
    command(
        "mount -t tmpfs none /proc; oomkilld",
        69,
        "/proc/self/status cannot be used: No such file or directory",
        NOT_MOUNTED,
    ),
    command("mount -t tmpfs none /proc; oomkilld --show-config", 0, "", printed="[capture]"),
    command("mount --bind /dev/null /proc/sys/kernel/perf_event_paranoid; oomkilld", *NO_PRIVILEGE),
    command("mount --bind /dev/null /proc/kallsyms; oomkilld", *NO_PRIVILEGE),
    command("mount --bind /dev/null /proc/vmstat; oomkilld", *NO_PRIVILEGE),
    command("mount -t tmpfs none /sys; oomkilld", *NO_PRIVILEGE),
    command("mount -t tmpfs none /dev; oomkilld", *NO_PRIVILEGE),
    command(f"{GONE}; oomkilld", *NO_PRIVILEGE),
    command(f"{GONE}; oomkilld --show-config", 0, "", printed="[capture]"),
    command(
        f"{GONE}; oomkilld --check-config some.toml",
        78,
        "some.toml: cannot be read: No such file or directory",
        CORRECT,
    ),
]

CONFIGURATIONS = [*CONTENTS, *CLOSED, *OF_OTHERS]
TABLE = [*CONFIGURATIONS, *COMMAND_LINES, *FILES, *VARIABLES, *LIMITS, *RUN, *SYSTEM]
