# SPDX-License-Identifier: Apache-2.0
"""The tables of the shells' completions; run as a module, it writes them into the files of packaging/completions.

The files themselves hold only how each shell completes.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from oomkilld.ctl import options
from oomkilld.ctl.options import Option
from oomkilld.schema import FIELDS

ROOT = Path(__file__).parents[2]
FILES = ROOT / "packaging/completions"
BEGIN, END = "# tables: written by tests/support/completions.py", "# end of tables"
VERBS = dict(vars(options)["_ALL_VERBS"])
OPTIONS: tuple[Option, ...] = options.OPTIONS
READING: tuple[str, ...] = options.READING
# What journald adds, and a person looks for.
_TRUSTED = ("_BOOT_ID", "_HOSTNAME", "_MACHINE_ID")
# Options whose values are in the journal: of which field.
SEEN = {
    "--unit": "OOM_VICTIM_UNIT",
    "--user-unit": "OOM_VICTIM_USER_UNIT",
    "--slice": "OOM_VICTIM_SLICE",
    "--container": "OOM_VICTIM_CONTAINER_NAME",
    "--pod": "OOM_VICTIM_POD_NAME",
}
WORDS = ("--by", "--source", "--json", "--color")
LISTS = ("--event",)
DIRECTORIES = ("--directory", "--root")


def words_of(flag: str) -> list[str]:
    """The words that an option takes: the command names them if it gets another one."""
    verb = "stats" if flag == "--by" else "list"
    command = ["/usr/bin/python3", "-m", "oomkilld.ctl", verb, flag, "?"]
    said = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stderr
    return re.findall(r"[a-z]{3,}", said.partition("expected one of ")[2].partition("\n")[0])


def fields() -> list[str]:
    """The names of fields that are completed."""
    return sorted({field.name for field in FIELDS} | {*_TRUSTED})


def kind(option: Option) -> str:
    """What the option's value is, and words or a field for it."""
    flag = option.flags[-1]
    if flag in SEEN:
        return f"seen {SEEN[flag]}"
    if flag in WORDS:
        return f"word {' '.join(words_of(flag))}"
    if flag in LISTS:
        return f"list {' '.join(words_of(flag))}"
    if flag in DIRECTORIES:
        return "directory"
    return {"--file": "file", "--field": "field"}.get(flag, "other")


def _said(option: Option) -> str:
    return str(option.settings["help"])


def _quoted(text: str) -> str:
    """For bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def bash() -> Iterator[str]:
    """Variables of the function that completes."""
    yield f"\tlocal verbs='{' '.join(VERBS)}' reading='{' '.join(READING)}'"
    yield "\tlocal -A flags_of=("
    for verb in VERBS:
        flags = [flag for option in OPTIONS if verb in option.verbs for flag in option.flags]
        yield f"\t\t[{verb}]='{' '.join(flags)}'"
    yield "\t)"
    yield "\tlocal -A kind_of=("
    for option in OPTIONS:
        if option.takes_value:
            yield from (f"\t\t[{flag}]='{kind(option)}'" for flag in option.flags)
    yield "\t)"
    yield f"\tlocal fields='{' '.join(fields())}'"


def zsh() -> Iterator[str]:
    """Specifications for _arguments."""
    yield "\treading=(" + " ".join(READING) + ")"
    yield "\tverbs=("
    yield from (f"\t\t{_quoted(f'{name}:{verb.text}')}" for name, verb in VERBS.items())
    yield "\t)"
    yield f"\tvalued=({' '.join(flag for option in OPTIONS if option.takes_value for flag in option.flags)})"
    for option in OPTIONS:
        yield f"\tif [[ -z $verb || $verb == ({'|'.join(option.verbs)}) ]]; then"
        yield "\t\tspecs+=(" + " ".join(_quoted(_spec(option, flag)) for flag in option.flags) + ")"
        yield "\tfi"
    yield f"\tfields=({' '.join(fields())})"


def _spec(option: Option, flag: str) -> str:
    said = re.sub(r"([\[\]:\\])", r"\\\1", _said(option))
    is_repeated = option.settings.get("action") == "append"
    before = "*" if is_repeated else f"({' '.join(option.flags)})"
    if "metavar" not in option.settings:
        return f"{before}{flag}[{said}]"
    what, _blank, rest = kind(option).partition(" ")
    actions = {
        "seen": f"_oomkillctl_seen {rest}",
        "word": f"({rest})",
        "list": f"_sequence compadd - {rest}",
        "directory": "_directories",
        "file": "_files",
        "field": "_oomkillctl_fields",
    }
    value = f"{option.settings['metavar']}:{actions.get(what, ' ')}"
    return f"{before}{flag}{'=' if flag.startswith('--') else '+'}[{said}]{':' if option.takes_value else '::'}{value}"


def fish() -> Iterator[str]:
    """Commands."""
    yield f"set -g __oomkillctl_verbs {' '.join(VERBS)}"
    yield f"set -g __oomkillctl_reading {' '.join(READING)}"
    yield "set -g __oomkillctl_valued " + " ".join(flag for each in OPTIONS if each.takes_value for flag in each.flags)
    yield f"set -g __oomkillctl_fields {' '.join(fields())}"
    for name, verb in VERBS.items():
        yield f"complete -c oomkillctl -n __oomkillctl_is_first -a {name} -d {_in_fish(verb.text)}"
    for option in OPTIONS:
        flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
        is_for = f"-n '__oomkillctl_is {' '.join(option.verbs)}'"
        yield f"complete -c oomkillctl {is_for} {flags} {_value_in_fish(option)}-d {_in_fish(_said(option))}"


def _value_in_fish(option: Option) -> str:
    if not option.takes_value:
        return ""
    what, _blank, rest = kind(option).partition(" ")
    form = {
        "seen": f"-x -a '(__oomkillctl_seen {rest})' ",
        "word": f"-x -a '{rest}' ",
        "list": f"-x -a '(__fish_append , {rest})' ",
        "directory": "-x -a '(__fish_complete_directories)' ",
        "file": "-r -F ",
        "field": "-x -a '$__oomkillctl_fields' ",
    }
    return form.get(what, "-x ")


def _in_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


TABLES: dict[str, Callable[[], Iterator[str]]] = {"oomkillctl.bash": bash, "_oomkillctl": zsh, "oomkillctl.fish": fish}


def written(name: str) -> str:
    """The text that the file should have."""
    lines = list(TABLES[name]())
    indent = "\t" if lines[0].startswith("\t") else ""
    before, rest = (FILES / name).read_text().split(f"{indent}{BEGIN}\n")
    return "\n".join((f"{before}{indent}{BEGIN}", *lines, f"{indent}{END}{rest.split(END)[1]}"))


if __name__ == "__main__":
    for each in TABLES:
        (FILES / each).write_text(written(each))
