# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl follow``: prints what comes, also after a rotation and from a new sender."""

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support import pace
from tests.support.journals import exported, write, writing
from tests.unit.ctl.conftest import shown
from tests.unit.ctl.samples import PYTHON, Sent, ctl, environment_of, kill, missed

PATIENCE_SECONDS = 20
LEGEND = "--no-legend"


class Following:
    """The running command, and the lines that it has printed."""

    def __init__(self, *words: str | Path, program: tuple[str, ...] = ("-m", "oomkilld.ctl")) -> None:
        self.process = subprocess.Popen(
            [PYTHON, *program, "follow", *words],
            env=environment_of(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self._printed = b""

    def lines(self, count: int) -> list[str]:
        """All lines, as soon as there are ``count``; fails if these do not come."""
        assert self.process.stdout
        until = time.monotonic() + PATIENCE_SECONDS * pace.patience()
        while self._printed.count(b"\n") < count and time.monotonic() < until:
            self._printed += self.process.stdout.read() or b""
            time.sleep(0.02)
        lines = self._printed.decode().splitlines()
        assert len(lines) == count, (lines, self.process.poll())
        return lines

    def ids(self, count: int) -> list[str]:
        return [line[:8] for line in self.lines(count)]


@pytest.fixture
def follow() -> Iterator[type[Following]]:
    """Starts the command; at the end it is stopped."""
    started: list[Following] = []

    class Started(Following):
        def __init__(self, *words: str | Path, program: tuple[str, ...] = ("-m", "oomkilld.ctl")) -> None:
            super().__init__(*words, program=program)
            started.append(self)

    yield Started
    for each in started:
        each.process.kill()
        each.process.wait()
        for stream in (each.process.stdout, each.process.stderr):
            if stream:
                stream.close()


class Receiver(writing):
    """Adds entries to a file while somebody reads it."""

    def __enter__(self) -> Self:  # type: ignore[override]
        self._stream = super().__enter__()
        return self

    def add(self, *entries: Sent) -> None:
        for fields, at_usec in entries:
            self._stream.write(exported(fields, at_usec))
        self._stream.flush()


def test_the_newest_lines_come_first_and_then_what_is_new(tmp_path: Path, follow: type[Following]) -> None:
    file = write(tmp_path / "system.journal", (kill(number, number) for number in range(1, 15)))
    with Receiver(file) as receiver:
        following = follow("-D", tmp_path, LEGEND)
        assert following.ids(10) == [shown(number) for number in range(5, 15)]
        receiver.add(kill(15, 20), kill(15, 20), kill(16, 21, _UID="1000"), missed(2, 22), kill(17, 23))
        assert following.ids(13)[10:] == [shown(15), "-       ", shown(17)]


def test_kills_of_unknown_processes_are_said_beside_a_selection(tmp_path: Path, follow: type[Following]) -> None:
    """As in a list, they are no lines of it."""
    file = write(tmp_path / "system.journal", [kill(1), missed(2, 1), missed(3, 2)])
    with Receiver(file) as receiver:
        following = follow("-D", tmp_path, LEGEND, "victim", "-n", "1")
        assert following.ids(1) == [shown(1)]
        receiver.add(missed(4, 3), kill(5, 4))
        assert following.ids(2) == [shown(1), shown(5)]
        quiet = follow("-D", tmp_path, LEGEND, "victim", "-q")
        assert quiet.ids(2) == [shown(1), shown(5)]
        unselected = follow("-D", tmp_path, LEGEND)
        assert unselected.ids(5)[1] == "-       "
        time.sleep(0.5)
    for each in (following, quiet, unselected):
        each.process.kill()
    assert following.process.stderr
    said = following.process.stderr.read().decode().splitlines()
    assert sum(int(line.split()[1]) for line in said) == 9
    assert said[-1] == "oomkillctl: 4 kills of unknown processes have no entry"
    for each in (quiet, unselected):
        assert each.process.stderr
        assert each.process.stderr.read() == b""


FIRST = [
    ([], 10),
    (["-n", "0"], 0),
    (["-n1"], 1),
    (["-n", "all"], 13),
    (["-n", "9223372036854775808"], 13),
    (["-S", "@1795785813"], 12),
]


@pytest.mark.parametrize(("words", "count"), FIRST)
def test_how_many_lines_come_first(tmp_path: Path, follow: type[Following], words: list[str], count: int) -> None:
    file = write(tmp_path / "system.journal", [kill(number, number - 1) for number in range(1, 14)])
    following = follow("-D", tmp_path, *words)
    assert following.ids(count + 1)[1:] == [shown(number) for number in range(14 - count, 14)]
    with Receiver(file) as receiver:
        receiver.add(kill(14, 13))
        assert following.ids(count + 2)[-1] == shown(14)


def test_nothing_is_lost_or_doubled_when_the_file_is_rotated(tmp_path: Path, follow: type[Following]) -> None:
    file = write(tmp_path / "system.journal", [kill(1)])
    following = follow("-D", tmp_path, LEGEND)
    following.ids(1)
    # As journald does: the old file gets another name, and a new one takes its place.
    file.rename(tmp_path / "system@0d0a5dd30dfa4246b251d1e79a918b27-1-2.journal")
    write(file, (kill(number, number) for number in range(2, 6)))
    assert following.ids(5) == [shown(number) for number in range(1, 6)]


# From journal-file.h of systemd: where the header has its own size, and an object its size and number of entries.
HEADER_SIZE_AT, OBJECT_SIZE_AT, ENTRIES_AT, DATA = 88, 8, 56, 1


def places_of_indexes(file: Path) -> Iterator[int]:
    """Where the file has the number of entries of each field's value, if more than one entry has it."""
    raw = file.read_bytes()

    def number(at: int) -> int:
        return int.from_bytes(raw[at : at + 8], "little")

    at = number(HEADER_SIZE_AT)
    while size := number(at + OBJECT_SIZE_AT):
        if raw[at] == DATA and number(at + ENTRIES_AT) > 1:
            yield at + ENTRIES_AT
        at += size + -size % 8


def set_entries(file: Path, places: list[int], count: int) -> None:
    """As journald does: a file has changed once it has been cut to the size that it has."""
    with file.open("r+b") as stream:
        for place in places:
            stream.seek(place)
            stream.write(count.to_bytes(8, "little"))
        stream.truncate(file.stat().st_size)


def test_an_entry_is_printed_that_was_counted_before_it_was_indexed(tmp_path: Path, follow: type[Following]) -> None:
    """As every entry is for some microseconds."""
    file = write(tmp_path / "system.journal", [kill(1), kill(2, 1)])
    places = [*places_of_indexes(file)]
    set_entries(file, places, 1)
    following = follow("-D", tmp_path, LEGEND, program=("-c", COUNTED))
    assert following.ids(1) == [shown(1)]
    await_noted(following, "~{2}")
    set_entries(file, places, 2)
    assert following.ids(2) == [shown(1), shown(2)]


def test_a_file_that_is_being_made_is_read_once_it_is_complete(tmp_path: Path, follow: type[Following]) -> None:
    write(tmp_path / "system@0d0a5dd30dfa4246b251d1e79a918b27-1-2.journal", [kill(1)])
    following = follow("-D", tmp_path, LEGEND)
    following.ids(1)
    (tmp_path / "system.journal").touch()
    time.sleep(2.5)
    write(tmp_path / "elsewhere/made.journal", [kill(2, 1)]).rename(tmp_path / "system.journal")
    assert following.ids(2) == [shown(1), shown(2)]


DAMAGE = b"no journal" * 1000
# Marks on stderr whenever files are opened, and at each turn.
COUNTED = """
import os, sys
from oomkilld.ctl.follow import Follower
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.main import main
def noted(mark, function):
    def called(*arguments):
        os.write(2, mark)
        return function(*arguments)
    return called
Reader.__init__ = noted(b"#", Reader.__init__)
Follower._wait = noted(b"~", Follower._wait)
main(sys.argv[1:])
"""


def await_noted(following: Following, pattern: str) -> None:
    """Read what is noted from now on until it matches; fails if 40 turns were too few for that."""
    assert following.process.stderr
    stderr = following.process.stderr.fileno()
    noted = ""
    while not re.search(pattern, noted):
        assert noted.count("~") < 40, noted
        assert select.select([stderr], [], [], PATIENCE_SECONDS * pace.patience())[0], noted
        noted += re.sub("[^#~]", "", os.read(stderr, 1).decode())  # without what is said about the file


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "meanwhile"])
@pytest.mark.parametrize("name", ["bad.journal", "remote-web9.journal", "link.journal"])
def test_a_damaged_file_is_opened_again_only_when_it_changes(
    tmp_path: Path, follow: type[Following], name: str, is_first: bool
) -> None:
    file = tmp_path / name

    def damage() -> None:
        if name == "link.journal":
            file.symlink_to("none")
        else:
            file.write_bytes(DAMAGE)

    write(tmp_path / "system.journal", [kill(1)])
    if is_first:
        damage()
    following = follow("-D", tmp_path, LEGEND, program=("-c", COUNTED))
    following.ids(1)
    if not is_first:
        damage()
    # Once more, and then no more; a link to nothing has not changed since the start.
    await_noted(following, "^#+~{5}" if is_first and name == "link.journal" else "^#+~+#+~{5}")
    with file.open("ab") as stream:
        stream.write(DAMAGE)
    await_noted(following, "#+~{5}")


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "meanwhile"])
@pytest.mark.parametrize("how", ["in place", "by another"])
@pytest.mark.parametrize("name", ["bad.journal", "remote-web9.journal"])
def test_a_damaged_file_that_can_be_read_after_all_is_followed(
    tmp_path: Path, follow: type[Following], name: str, how: str, is_first: bool
) -> None:
    write(tmp_path / "system.journal", [kill(1)])
    good = write(tmp_path / "elsewhere/made.journal", [kill(2, 1)])
    bad = tmp_path / name
    if is_first:
        bad.write_bytes(DAMAGE)
    following = follow("-D", tmp_path, LEGEND)
    following.ids(1)
    if not is_first:
        bad.write_bytes(DAMAGE)
    time.sleep(2.5)
    if how == "in place":
        bad.write_bytes(good.read_bytes())
    else:
        good.rename(bad)
    assert following.ids(2) == [shown(1), shown(2)]
    with Receiver(bad) as receiver:
        receiver.add(kill(3, 2))
        assert following.ids(3)[-1] == shown(3)


def test_a_machine_that_begins_to_send_is_followed(tmp_path: Path, follow: type[Following]) -> None:
    file = write(tmp_path / "remote-web1.journal", [kill(1)])
    following = follow("-D", tmp_path, LEGEND)
    following.ids(1)
    write(tmp_path / "remote-web2.journal", [kill(2, 1), missed(3, 2)])
    assert following.ids(3) == [shown(1), shown(2), "-       "]
    with Receiver(file) as receiver:
        for number in range(4, 9):
            receiver.add(kill(number, number))
            assert following.ids(number)[-1] == shown(number)
            time.sleep(0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_silence(tmp_path: Path, follow: type[Following], number: signal.Signals) -> None:
    write(tmp_path / "system.journal", [kill(1)])
    following = follow("-D", tmp_path, LEGEND)
    following.lines(1)
    following.process.send_signal(number)
    assert following.process.wait(PATIENCE_SECONDS) == -number
    assert following.process.stderr
    assert following.process.stderr.read() == b""


def test_the_forms_of_a_list_are_there_but_for_an_array(tmp_path: Path, follow: type[Following]) -> None:
    write(tmp_path / "system.journal", [kill(1)])
    assert follow("-D", tmp_path, "-j").lines(1)[0].startswith('{"__REALTIME_TIMESTAMP": ')
    assert follow("-D", tmp_path, "--oneline").lines(1)[0].startswith("13:23:32 Triggered by PID 4240 ")
    assert follow("-D", tmp_path).lines(2)[0].startswith("ID       TIME")
    assert ctl("-D", tmp_path, "follow", "--json=pretty").status == 2
    assert ctl("-D", tmp_path, "follow", "-U", "now").status == 2


@pytest.mark.parametrize("machines", [1, 2])
def test_nobody_reads_on_and_nothing_happens(tmp_path: Path, follow: type[Following], machines: int) -> None:
    """As in `oomkillctl follow | grep -m1 NAME`."""
    for number in range(machines):
        write(tmp_path / f"remote-web{number}.journal", [kill(1, number)])
    following = follow("-D", tmp_path, LEGEND)
    following.lines(machines)
    assert following.process.stdout
    following.process.stdout.close()
    assert following.process.wait(PATIENCE_SECONDS) == -signal.SIGPIPE
    assert following.process.stderr
    assert following.process.stderr.read() == b""


def test_nobody_reads_on(tmp_path: Path, follow: type[Following]) -> None:
    file = write(tmp_path / "system.journal", [kill(1)])
    following = follow("-D", tmp_path, LEGEND)
    following.lines(1)
    assert following.process.stdout
    following.process.stdout.close()
    with Receiver(file) as receiver:
        receiver.add(kill(2, 1))
        assert following.process.wait(PATIENCE_SECONDS) == -signal.SIGPIPE
    assert following.process.stderr
    assert following.process.stderr.read() == b""
