# SPDX-License-Identifier: Apache-2.0
"""The manual page says of the command what the command says of itself."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.ctl import options, output
from oomkilld.ctl.coverage.finding import Verdict
from oomkilld.ctl.failures import STATUSES
from tests.unit.ctl.samples import ctl
from tests.unit.test_documents import READER, plain

OPTIONS = {option.flags: option for _title, group in options.GROUPS.items() for option in group}
EVERY, READING = (vars(options)[name] for name in ("_EVERY", "READING"))


def section(name: str) -> str:
    """The source of a section."""
    return READER.read_text().partition(f"\n.SH {name}\n")[2].partition("\n.SH ")[0]


def heads(text: str) -> list[str]:
    """The terms that are explained."""
    found = re.findall(r"^\.TP\n(.*)$", text, re.MULTILINE)
    # The last word of `.BR a b` is joined to the first; `\fB` and its like only change the font.
    return [_plain(head) for head in found]


def _plain(line: str) -> str:
    line = re.sub(r"\\f.", "", line).replace("\\-", "-").replace("\\[u2026]", "…")
    macro, words = line[1:].split(" ", 1)
    joint = "" if len(macro) == 2 else " "
    return joint.join(quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', words))


def shown(option: options.Option) -> str:
    """As the page writes an option."""
    value = option.settings.get("metavar", "")
    form = "[={}]" if "nargs" in option.settings else "={}" if value else ""
    return ", ".join(option.flags) + form.format(value)


def explained() -> Iterator[tuple[str, str]]:
    """Each option, and its text."""
    for item in section("OPTIONS").split("\n.TP\n")[1:]:
        head, _newline, text = item.partition("\n")
        yield _plain(head), text.partition("\n.SS ")[0]


def test_every_option_is_explained_in_the_order_of_the_help() -> None:
    assert [head for head, _text in explained()] == [shown(option) for option in OPTIONS.values()]
    groups = [title.lower() for title in re.findall(r"^\.SS (.*)$", section("OPTIONS"), re.MULTILINE)]
    assert groups == list(options.GROUPS)


def test_every_option_names_its_verbs_unless_all_that_read_the_journal_have_it() -> None:
    texts = dict(explained())
    for option in OPTIONS.values():
        (named,) = re.findall(r"^For (.*)\.$", texts[shown(option)], re.MULTILINE) or ["list, info, follow, stats"]
        assert named == ("every verb" if option.verbs == EVERY else ", ".join(option.verbs)), option.flags
    assert 'is for\n.BR list ", " info ", " follow " and " stats .\n' in section("OPTIONS")
    assert READING == ("list", "info", "follow", "stats")


def test_every_verb_is_explained() -> None:
    assert heads(section("VERBS")) == list(EVERY)


def test_every_exit_status_is_explained() -> None:
    assert heads(section("EXIT STATUS")) == re.findall(r"^  (\d)  ", STATUSES, re.MULTILINE)


@pytest.mark.parametrize("flag", ["--event", "--source", "--by", "--json", "--color"])
def test_every_word_that_an_option_takes_is_named(flag: str) -> None:
    said = ctl("stats" if flag == "--by" else "list", flag, "?").err
    words = re.findall(r"[a-z]{3,}", said.partition("expected one of ")[2].partition("\n")[0])
    (text,) = (text for head, text in explained() if head.startswith(f"{flag}="))
    listed = [line for line in text.splitlines() if re.match(r"\.BR? [^(]*$", line)]
    assert re.findall(r"[a-z]{3,}", re.sub(r'" (?:or|and) "', " ", " ".join(listed))) == words
    assert len(words) > 2


def test_a_verb_that_refuses_a_form_of_json_is_named() -> None:
    refusing = [verb for verb in READING if ctl(verb, "--json=pretty", "--file=/dev/null").status == 2]
    assert refusing == ["follow"]
    assert re.search(r"follow, which never ends, refuses it", re.sub(r"\s+", " ", plain(READER)))


def test_every_verdict_of_the_check_is_explained() -> None:
    (check,) = re.findall(r"^\.B check\n(.*?)^\.TP$", section("VERBS"), re.MULTILINE | re.DOTALL)
    explained_verdicts = re.findall(r"\\\(dq(.*?)\\\(dq", check)
    assert sorted(explained_verdicts) == sorted(verdict.value for verdict in Verdict if verdict is not Verdict.OK)


def test_every_column_of_the_list_is_explained(web1: Path, tmp_path: Path) -> None:
    (tmp_path / "remote-web1.journal").symlink_to(next(web1.iterdir()))
    assert heads(section("COLUMNS")) == ctl("-D", tmp_path).out.splitlines()[0].split()


def test_every_name_in_json_that_is_no_field_is_explained(web1: Path, tmp_path: Path) -> None:
    text = plain(READER).partition("prints one object per line")[2]
    rows = [json.loads(line) for line in ctl("-D", web1, "stats", "-j").out.splitlines()]
    names = {name for row in rows for name in row} - {"unit"}
    (tmp_path / "remote-web9.journal").symlink_to(next(web1.iterdir()))
    received = json.loads(ctl("-D", tmp_path, "-1", "-j").out)
    names |= {name for name in received if name.startswith("__")}
    assert len(names) == 8
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_every_variable_that_decides_about_the_output_is_explained() -> None:
    read = re.findall(r'environ\.get\(\s*"(\w+)"', Path(output.__file__).read_text())
    assert set(re.findall(r"\$(\w+)", section("ENVIRONMENT"))) == set(read)
    assert len(read) > 5


def test_every_example_is_a_valid_command(web1: Path) -> None:
    examples = [head.partition(" |")[0] for head in heads(section("EXAMPLES"))]
    fleet = re.findall(r"^(oomkillctl .*)$", section("FLEET").replace("\\-", "-"), re.MULTILINE)
    assert (len(examples), len(fleet)) == (11, 3)
    for example in (*examples, *fleet):
        words = [web1 if word.startswith("/") else word for word in example.split()[1:]]
        if "info" in words and "info" not in options.VERBS:
            continue
        where = [] if "-D" in words else ["--file", f"{web1}/*"]
        ran = ctl(*(word for word in words if word not in ("-m", "-b")), *where)
        assert ran.status in (0, 1), (example, ran.err)


def test_the_page_tells_the_command_from_oomctl() -> None:
    said = re.sub(r"\s+", " ", plain(READER))
    assert "oomctl(1) is another command" in said
