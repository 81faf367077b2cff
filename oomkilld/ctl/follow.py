# SPDX-License-Identifier: Apache-2.0
"""The verb ``follow``: lists kills as they happen, each process on a line of its own. A signal ends it."""

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice

from oomkilld.ctl.entries import Reading
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.failures import NoJournal
from oomkilld.ctl.match import Query, query
from oomkilld.ctl.options import ALL
from oomkilld.ctl.output import Output, end_unless_read
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.say import warn
from oomkilld.ctl.selection import say_aside
from oomkilld.ctl.source import Part, Source
from oomkilld.ctl.table import Table, oneline, row_of
from oomkilld.ctl.times import Clock
from oomkilld.errors import WrongArguments
from oomkilld.lighttyping import NoReturn

_FIRST_LINES = 10  # as journalctl -f, unless --since says where to begin
_WAIT_USEC = 1_000_000
_PAUSE_SECONDS = 0.2
# sd_journal takes a file for read if it looks while an entry is counted there, but not indexed yet: until another one
# is added, it finds neither. From the place of the last entry, it looks at every file again.
_RESUME_SECONDS = 1.0


# Changes whenever the file does; of one that is not there, it is empty.
_Stamp = tuple[int, ...]
_NO_FILE: _Stamp = ()


class Tail:
    """One machine's files, read up to a place. ``cursor``: the last entry that was read; None: none was there yet."""

    def __init__(self, host: str | None, reader: Reader) -> None:
        self.host = host
        self.cursor: str | None = None
        self.use(reader)

    def use(self, reader: Reader) -> None:
        """Go on from the place with this reader."""
        self.reader = reader
        self._resume_at = 0.0

    def to_end(self) -> bool:
        """Go to the last entry, and take it for the place; whether there is one."""
        self.reader.to_end()
        is_there = self.reader.previous()
        if is_there:
            self.note()
        return is_there

    def next(self) -> bool:
        """Go to the entry after the place; whether there is one."""
        now = time.monotonic()
        if now < self._resume_at:
            return self.reader.next()
        self._resume_at = now + _RESUME_SECONDS
        return self._resume()

    def _resume(self) -> bool:
        if self.cursor is None:
            self.reader.to_begin()
            return self.reader.next()
        self.reader.to_cursor(self.cursor)
        # The entry itself may be gone from the journal; then the first one that is left is new.
        return self.reader.next() and (not self.reader.is_at(self.cursor) or self.reader.next())

    def note(self) -> None:
        """The entry at the reader's position has been read."""
        self.cursor = self.reader.cursor()


class Follower:
    """Reads what is new, also in files that journald or a receiver begins meanwhile.

    ``set_aside``: takes the number of kills without an entry that may, or may not, be wanted ones.
    """

    def __init__(self, source: Source, reading: Reading, wanted: Query, set_aside: Callable[[int], None]) -> None:
        self._source = source
        self._reading = reading
        self._query = wanted
        self._set_aside = set_aside
        self._aside = 0
        self._tails: dict[str | None, Tail] = {}
        # Of each machine: what the files were like that could not be read; None: it was read.
        self._files: dict[str | None, dict[str, _Stamp | None]] = {}
        for part, reader in reading.readers():
            self._tails[part.host] = Tail(part.host, reader)
            self._files[part.host] = {file: _NO_FILE if file in source.unreadable else None for file in part.files}

    def newest(self, count: int) -> list[Entry]:
        """The newest ``count``, in the order in which they were received."""
        # All ends first: what comes meanwhile is new.
        at_end = [tail for tail in self._tails.values() if tail.to_end()]
        merged = merge(*map(self._backward, at_end), key=lambda entry: -entry.received_usec)
        return [*islice(merged, min(count, ALL))][::-1]

    def _backward(self, tail: Tail) -> Iterator[Entry]:
        is_there = True
        while is_there:
            yield from self._wanted(tail)
            is_there = self._reading.moves(tail.reader.previous)

    def new(self) -> Iterator[Entry]:
        """Without end."""
        while True:
            for tail in self._tails.values():
                yield from self._unread(tail)
            self._wait()
            self._open_new_files()

    def _unread(self, tail: Tail) -> Iterator[Entry]:
        while self._reading.moves(tail.next):
            tail.note()
            yield from self._wanted(tail)

    def _wanted(self, tail: Tail) -> Iterator[Entry]:
        """The entry at the reader's position, if it is listed."""
        entry = self._reading.entry(tail.reader, tail.host)
        if entry is None or not self._reading.wanted(entry):
            return
        if entry.event == "missed" and not self._query.holds(entry.text):
            self._aside += entry.number("OOM_MISSED") or 0
        else:
            yield entry

    def _wait(self) -> None:
        self._set_aside(self._aside)
        self._aside = 0
        end_unless_read()
        if len(self._tails) == 1:
            (tail,) = self._tails.values()
            tail.reader.wait(_WAIT_USEC)
        else:
            time.sleep(_PAUSE_SECONDS)

    def _open_new_files(self) -> None:
        """Open the files of each machine anew whose files are others than before, or can be read only now."""
        for part in self._parts():
            if self._is_as_before(part):
                continue
            # Before they are opened: what changes meanwhile, such as a file that is being made, is new the next time.
            stamps = {file: _stamp(file) for file in part.files}
            unreadable = self._source.unreadable
            unreadable.clear()
            reader = self._reading.reader(part)
            self._files[part.host] = {file: stamps[file] if file in unreadable else None for file in part.files}
            if reader is not None:
                self._tails.setdefault(part.host, Tail(part.host, reader)).use(reader)

    def _is_as_before(self, part: Part) -> bool:
        files = self._files.get(part.host, {})
        return files.keys() == {*part.files} and all(
            stamp is None or stamp == _stamp(file) for file, stamp in files.items()
        )

    def _parts(self) -> list[Part]:
        try:
            return self._source.parts()
        except NoJournal:  # somebody is just deleting the files
            return []


def _stamp(file: str) -> _Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return _NO_FILE
    return found.st_ino, found.st_size, found.st_ctime_ns


def run(options: Namespace) -> NoReturn:
    """Print the newest lines, and then what comes. Ends by a signal."""
    if options.json == "pretty":
        raise WrongArguments("--json=pretty has no meaning for follow", "use --json=short: one object a line")
    source = Source(options)
    wanted = query(options)
    follower = Follower(source, Reading(source, wanted, warn), wanted, lambda kills: say_aside(options, kills))
    count = options.lines
    if count is None:
        count = _FIRST_LINES if options.since is None else ALL
    with Output(options, live=True) as output:
        newest = follower.newest(count)
        line_of = _line_of(options, output, source)
        for entry in newest:
            output.line(line_of(entry))
        for entry in follower.new():
            output.line(line_of(entry))
    raise AssertionError("the last loop has no end")


def _line_of(options: Namespace, output: Output, source: Source) -> Callable[[Entry], str]:
    if options.json == "short":
        from oomkilld.ctl import jsonform

        return lambda entry: jsonform.encoded(jsonform.fields(entry))
    if options.oneline:
        clock = Clock(utc=options.utc)
        return lambda entry: oneline(entry, clock)
    table = Table(options, output, hosts=source.names_machines())
    if not options.no_legend:
        output.line(table.header())
    return lambda entry: table.line(row_of(entry))
