# SPDX-License-Identifier: Apache-2.0
"""The part of a command line that an entry shows."""

import pytest

from oomkilld.record.cmdline.commandlines import CommandLines
from oomkilld.record.cmdline.redact import Redactor
from tests.unit.records import kill_of, raw_cmdline

FULL = CommandLines(Redactor(["token *", "://*:*@"]), only_first=False)
FIRST = CommandLines(Redactor(["token *", "://*:*@"]), only_first=True)


@pytest.mark.parametrize(
    ("text", "whole", "full", "first"),
    [
        (b"java\0-Xmx1g\0Main\0", None, b"java -Xmx1g Main", b"java -Xmx1g"),
        (b"java\0", None, b"java", b"java"),
        (b"a\0--token\0b\0c\0", None, b"a --token *** c", b"a --token"),
        (b"a\0--token=b\0c\0", None, b"a --token=*** c", b"a --token=***"),
        (b"a\0\0b\0\0", None, b"a  b", b"a"),
        (b"\0\0", None, None, None),
        # Cut off, even within a secret whose end is missing.
        (b"a\0b\0c", 4096, b"a b c\xe2\x80\xa6", b"a b"),
        (b"a\0b\0", 4096, b"a b\xe2\x80\xa6", b"a b"),
        (b"a\0b", 4096, b"a b\xe2\x80\xa6", b"a b\xe2\x80\xa6"),
        (b"a\0http://u:sec", 4096, b"a http://u:***\xe2\x80\xa6", b"a http://u:***\xe2\x80\xa6"),
        # A title that the process set itself.
        (b"postgres: joe db SELECT", None, b"postgres: joe db SELECT", b"postgres: joe"),
        (b"postgres: joe db SELECT\0\0\0", None, b"postgres: joe db SELECT", b"postgres: joe"),
        (b"x --token=b c", None, b"x --token=***", b"x --token=***"),
    ],
)
def test_it_shows_as_much_as_wanted(text: bytes, whole: int | None, full: bytes | None, first: bytes | None) -> None:
    kill = kill_of(cmdline=raw_cmdline(text, whole), trigger_pid=4242)
    assert FULL.shown(kill) == (full, full)
    assert FIRST.shown(kill) == (first, first)


def test_the_triggers_is_the_victims_only_if_both_are_one_process() -> None:
    kill = kill_of(cmdline=raw_cmdline(b"asker\0"))
    assert FULL.shown(kill) == (b"asker", None)


def test_a_command_line_that_was_not_read_is_absent() -> None:
    assert FULL.shown(kill_of(trigger_pid=4242)) == (None, None)
